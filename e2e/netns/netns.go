package netns

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Spec says what the namespace offers. The zero Spec is a private mount table on the machine's own network.
type Spec struct {
	// Network gives a network stack of its own, with nothing but a loopback interface.
	Network bool
	// Addresses are further IPv4 addresses of the loopback interface, such as "169.254.169.254", each a /32.
	// They need Network.
	Addresses []string
	// Hosts is the content of /etc/hosts inside; empty keeps the machine's.
	Hosts string
	// ResolvConf is the content of /etc/resolv.conf inside; empty keeps the machine's.
	ResolvConf string
}

// initName is the name (argument zero) of the copy of this program that prepares the namespace; its only argument is
// the plan. The environment is left to the caller: the command may need a clean one.
const initName = "netns-init"

// plan is what Init in the new namespaces is told: the spec and the command to become.
type plan struct {
	Spec Spec
	// Path is the program to execute; empty ends the copy after the preparation, for Available.
	Path string
	Args []string
}

// Command is like exec.CommandContext, but the command will run in new namespaces. The caller may set everything of
// the result but Path, Args and the namespace fields of SysProcAttr.
func (s Spec) Command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	if err := Available(s.Network); err != nil {
		return nil, err
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	return s.command(ctx, direct(s.Network), path, append([]string{name}, args...))
}

func (s Spec) command(ctx context.Context, attr *syscall.SysProcAttr, path string, args []string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program's own file: %w", err)
	}
	encoded, err := json.Marshal(plan{Spec: s, Path: path, Args: args})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Args = []string{initName, string(encoded)}
	cmd.SysProcAttr = attr
	return cmd, nil
}

// direct gives the flags that work on this machine, as Available found out.
func direct(network bool) *syscall.SysProcAttr {
	return attributes(network, os.Geteuid() != 0)
}

func attributes(network, userNamespace bool) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if network {
		attr.Cloneflags |= syscall.CLONE_NEWNET
	}
	if userNamespace {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attr
}

var probes [2]struct {
	once sync.Once
	err  error
}

// Available makes a namespace of the kind, with or without a network of its own, prepares it, drops it, and returns
// nil, or an error that says why this machine does not allow it and what would. The answer is kept.
func Available(network bool) error {
	probe := &probes[0]
	if network {
		probe = &probes[1]
	}
	probe.once.Do(func() { probe.err = try(network) })
	return probe.err
}

func try(network bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	spec := Spec{Network: network, Hosts: "127.0.0.1 localhost\n"}
	if network {
		spec.Addresses = []string{"169.254.169.254"}
	}
	cmd, err := spec.command(ctx, direct(network), "", nil)
	if err != nil {
		return err
	}
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	what := "a mount namespace"
	if network {
		what = "a mount and network namespace"
	}
	advice := "run as root, or allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, " +
		"kernel.apparmor_restrict_unprivileged_userns=0)"
	if os.Geteuid() == 0 {
		advice = "this root may not: in a container, give it CAP_SYS_ADMIN"
	}
	reason := err.Error()
	if text := strings.TrimSpace(string(out)); text != "" {
		reason = text
	}
	if errors.Is(err, syscall.EPERM) {
		reason = "the kernel answered: operation not permitted"
	}
	return fmt.Errorf("%s of its own cannot be made here (%s); %s", what, reason, advice)
}
