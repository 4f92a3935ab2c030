package powerloss

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/machine"
)

// Run is what a workload knows of its run.
type Run struct {
	// Dir is the directory to work in: the mount's root.
	Dir string
	// Variant says how the workload is to be broken; the empty one is sound.
	Variant string
	mu      sync.Mutex
	control *os.File
}

// Ack says that everything that text stands for is durable. When it returns, the acknowledgement has its place in the
// log. Safe for concurrent use.
func (r *Run) Ack(format string, args ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := fmt.Fprintf(r.control, format+"\n", args...)
	return err
}

// A Workload writes in run.Dir, in a process of its own.
type Workload func(run *Run) error

const (
	workloadEnv = "KEYWRIGHT_POWERLOSS_WORKLOAD"
	variantEnv  = "KEYWRIGHT_POWERLOSS_VARIANT"
	dirEnv      = "KEYWRIGHT_POWERLOSS_DIR"
	// childTimeout bounds a workload. It takes a second or two; a machine may be busy.
	childTimeout = 2 * time.Minute
)

// Main is the TestMain of a package that records workloads. In a child process it runs the workload that Record asked
// for; else it runs the tests in a mount namespace of their own.
func Main(m *testing.M, workloads map[string]Workload) {
	name, ok := os.LookupEnv(workloadEnv)
	if !ok {
		machine.Private()
		os.Exit(m.Run())
	}
	if err := child(workloads[name]); err != nil {
		fmt.Fprintf(os.Stderr, "workload %s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child runs the workload with what the environment says.
func child(workload Workload) error {
	run := &Run{Dir: os.Getenv(dirEnv), Variant: os.Getenv(variantEnv)}
	if workload == nil {
		return fmt.Errorf("there is no such workload; TestMain lists them")
	}
	var err error
	if run.control, err = os.OpenFile(filepath.Join(run.Dir, controlName), os.O_WRONLY, 0); err != nil {
		return err
	}
	return workload(run)
}

// Record runs a workload of Main's in a child process and returns the log. It ends the test if the machine cannot or
// the workload fails.
func Record(t testing.TB, workload, variant string, config Config) *Log {
	t.Helper()
	machine.Require(t, machine.Root, machine.FUSE)
	rec := NewRecorder(t, config)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	cmd := exec.Command(self)
	cmd.Stdout, cmd.Stderr = &output, &output
	// The child does not start inside the mount: this process would have to serve the fork that it is waiting for.
	cmd.Env = append(os.Environ(), workloadEnv+"="+workload, variantEnv+"="+variant, dirEnv+"="+rec.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(childTimeout, func() { _ = cmd.Process.Kill() })
	err = cmd.Wait()
	timer.Stop()
	if err != nil {
		t.Fatalf("workload %s %s: %v\n%s", workload, variant, err, output.Bytes())
	}
	log := rec.Log()
	t.Logf("recorded %s %s: %d operations in %v", workload, variant, len(log.Ops), time.Since(start).Round(time.Millisecond))
	return log
}
