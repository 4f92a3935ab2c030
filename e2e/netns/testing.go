package netns

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"
)

// insideVariable tells a re-executed test that it runs in the namespace; its value is the test's name.
const insideVariable = "KEYWRIGHT_NETNS_TEST"

// Enter moves a test into a namespace. Outside, it runs this test alone in a copy of the test binary, in the
// namespace, shows its output and takes over its outcome, then returns false: the caller returns. Inside it returns
// true. Where namespaces cannot be made the test is skipped, or fails under CI=true.
//
//	func TestPublicNames(t *testing.T) {
//		if !netns.Enter(t, netns.Spec{Network: true, Hosts: hosts}) {
//			return
//		}
//		…
//	}
//
// Only a top-level test can enter. A sub-test would need its siblings run, too.
func Enter(t *testing.T, spec Spec) bool {
	t.Helper()
	if os.Getenv(insideVariable) == t.Name() {
		return true
	}
	if err := Available(spec.Network); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skip("SKIPPED, NOT PASSED: ", err)
	}
	args := []string{"-test.run=^" + t.Name() + "$", "-test.count=1", "-test.timeout=" + left(t).String()}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd, err := spec.Command(t.Context(), self, args...)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), insideVariable+"="+t.Name())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if testing.Verbose() { // as it comes: it may take long
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	}
	err = cmd.Run()
	if out.Len() > 0 {
		t.Logf("in the namespace:\n%s", &out)
	}
	if err != nil {
		if _, ended := err.(*exec.ExitError); !ended {
			t.Fatal(err)
		}
		t.Fail()
	}
	return false
}

// left is how long the copy may take: as long as the test itself. It ends a little before, so that it tells what it hangs in.
func left(t *testing.T) time.Duration {
	end, ok := t.Deadline()
	if !ok {
		return 0
	}
	return max(time.Until(end)-5*time.Second, time.Second)
}
