// Package workload runs the part of a durability test that is going to be hurt: a process of its own that writes in a
// directory and says, write by write, what is durable by now.
//
// The process is the test program started again, so a workload is a Go function beside its test. Main in TestMain tells
// the two apart.
package workload

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"

	"github.com/keywright/keywright/e2e/machine"
)

// Run is what a workload knows of its run.
type Run struct {
	// Dir is the directory to work in.
	Dir string
	// Variant says how the workload is to be broken; the empty one is sound.
	Variant string

	mu   sync.Mutex
	acks *os.File
}

// Ack says that everything that the line stands for is durable. When it returns, whoever judges the run has the line.
// Safe for concurrent use.
func (r *Run) Ack(format string, args ...any) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := fmt.Fprintf(r.acks, format+"\n", args...)
	return err
}

// A Func writes in run.Dir until it is done or its process is killed.
type Func func(run *Run) error

const (
	nameEnv    = "KEYWRIGHT_WORKLOAD"
	variantEnv = "KEYWRIGHT_WORKLOAD_VARIANT"
	dirEnv     = "KEYWRIGHT_WORKLOAD_DIR"
	acksEnv    = "KEYWRIGHT_WORKLOAD_ACKS"
)

// Main is the TestMain of a package with workloads. In a process that Command described it runs the workload and exits;
// else it runs the tests, in a mount namespace of their own.
func Main(m *testing.M, workloads map[string]Func) {
	name, ok := os.LookupEnv(nameEnv)
	if !ok {
		machine.Private()
		os.Exit(m.Run())
	}
	if err := run(workloads[name]); err != nil {
		fmt.Fprintf(os.Stderr, "workload %s: %v\n", name, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run runs the workload with what the environment says.
func run(workload Func) error {
	if workload == nil {
		return fmt.Errorf("there is no such workload; TestMain lists them")
	}
	acks, err := os.OpenFile(os.Getenv(acksEnv), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	return workload(&Run{Dir: os.Getenv(dirEnv), Variant: os.Getenv(variantEnv), acks: acks})
}

// Command returns the command that runs a workload of Main's in dir; its acknowledgements are lines written to the file
// acks. The process dies with this one.
func Command(name, variant, dir, acks string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), nameEnv+"="+name, variantEnv+"="+variant, dirEnv+"="+dir, acksEnv+"="+acks)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}
