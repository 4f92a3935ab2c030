// Package netns runs a command in a mount and network namespace of its own, so that a test or a demonstration can own
// public names, privileged ports and link-local addresses without altering anything of the machine it runs on.
//
// Inside, a hosts file of the caller's choice lies over /etc/hosts, the loopback interface is up and, with Network, is
// the only way to anywhere: 127.0.0.1:443 is free, and a name that the hosts file does not give cannot be looked up.
//
// The program that calls this package prepares the namespace itself: the kernel starts a second copy of it in fresh
// namespaces, [Init] in that copy mounts and configures, then replaces the copy with the command (execve, so the
// process id and the process group stay). Every program that makes commands must therefore call Init first in main,
// every test package first in TestMain.
//
// Root makes the namespaces directly. Anyone else needs a user namespace too, where it appears as root; some machines
// forbid that. [Available] tries it and says why not.
package netns
