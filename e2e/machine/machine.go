// Package machine says what the machine lets an end-to-end test do, and gives the test process a mount namespace of
// its own to do it in.
//
// A test that needs something the machine lacks skips with a loud line on a developer's machine and fails when CI=true:
// there a silent skip would pass for a proof.
package machine

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A Need is something of the machine that a test cannot do without.
type Need struct {
	name string
	// lack returns why the machine does not have it, or "".
	lack func() string
}

// The needs that the suites have so far.
var (
	// Root is the right to mount.
	Root = Need{"root", func() string {
		if os.Geteuid() != 0 {
			return "the test does not run as root"
		}
		return ""
	}}
	// FUSE is a usable /dev/fuse.
	FUSE = Need{"FUSE", func() string {
		fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return "opening /dev/fuse: " + err.Error()
		}
		_ = unix.Close(fd)
		return ""
	}}
	// Loop is what an ext4 in a file needs: loop devices, losetup, mkfs.ext4, mount and umount.
	Loop = Need{"loop devices", func() string {
		for _, tool := range []string{"losetup", "mkfs.ext4", "mount", "umount"} {
			if _, err := exec.LookPath(tool); err != nil {
				return tool + " is not installed (packages mount and e2fsprogs)"
			}
		}
		if _, err := os.Stat("/dev/loop-control"); err != nil {
			return err.Error()
		}
		return ""
	}}
)

// Require ends the test when the machine lacks one of the needs: as a skip, or as a failure when CI=true.
func Require(t testing.TB, needs ...Need) {
	t.Helper()
	for _, need := range needs {
		why := need.lack()
		if why == "" {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("this test needs %s and CI=true forbids skipping it: %s", need.name, why)
		}
		fmt.Fprintf(os.Stderr, "*** SKIPPED %s: it needs %s: %s\n", t.Name(), need.name, why)
		t.Skipf("needs %s: %s", need.name, why)
	}
}

// insideEnv marks a process that Private has already moved.
const insideEnv = "KEYWRIGHT_E2E_MOUNT_NAMESPACE"

// Private makes the test process run in a mount namespace of its own, so that whatever a test leaves mounted is gone
// with the process. A running Go program cannot move all of its threads; Private therefore starts the program again
// with the same arguments, in a new namespace, and exits with its code. In the new process, and when the caller is not
// root, it returns at once. Call it first in TestMain.
func Private() {
	if os.Getenv(insideEnv) != "" || os.Geteuid() != 0 {
		return
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "finding the test program:", err)
		os.Exit(1)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideEnv+"=1")
	// Go makes the whole tree private when it unshares mounts, so nothing travels back to the parent's namespace.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		if strings.Contains(err.Error(), "operation not permitted") {
			return // root without the right to unshare: the tests that mount will say so themselves
		}
		fmt.Fprintln(os.Stderr, "starting the test program in its own mount namespace:", err)
		os.Exit(1)
	}
	err = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		os.Exit(code)
	}
	fmt.Fprintln(os.Stderr, "the test program in its own mount namespace ended:", err)
	os.Exit(1)
}
