package harden

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const child = "KEYWRIGHT_TEST_HARDEN_CHILD"

// The effect lasts for the life of a process, so it is tried in one of its own.
func TestProcess(t *testing.T) {
	if os.Getenv(child) != "" {
		inChild(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestProcess$", "-test.v")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "PASS: TestProcess") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func inChild(t *testing.T) {
	if err := Process(); err != nil {
		t.Fatal(err)
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 {
		t.Errorf("dumpable = %d, %v", dumpable, err)
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil || limit != (unix.Rlimit{}) {
		t.Errorf("limit of core files = %+v, %v", limit, err)
	}
	if os.Geteuid() != 0 {
		if _, err := os.Open("/proc/self/mem"); !errors.Is(err, os.ErrPermission) {
			t.Errorf("opening the memory of the process: %v", err)
		}
	}
	if err := Process(); err != nil {
		t.Errorf("a second call: %v", err)
	}
}
