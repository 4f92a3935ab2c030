package powerloss

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/machine"
	"github.com/keywright/keywright/e2e/workload"
)

// recordTimeout bounds a workload. It takes a second or two; a machine may be busy.
const recordTimeout = 2 * time.Minute

// Record runs a workload in the root of a fresh recorder and returns the log. It ends the test if the machine cannot or
// the workload fails.
func Record(t testing.TB, name, variant string, config Config) *Log {
	t.Helper()
	machine.Require(t, machine.Root, machine.FUSE)
	rec := NewRecorder(t, config)
	// The command does not start inside the mount: this process would have to serve the fork that it is waiting for.
	cmd, err := workload.Command(name, variant, rec.Dir, filepath.Join(rec.Dir, controlName))
	if err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(recordTimeout, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	timer.Stop()
	if err != nil {
		t.Fatalf("workload %s %s: %v\n%s", name, variant, err, output.Bytes())
	}
	log := rec.Log()
	t.Logf("recorded %s %s: %d operations in %v", name, variant, len(log.Ops), time.Since(start).Round(time.Millisecond))
	return log
}
