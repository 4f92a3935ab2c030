package process_test

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/process"
)

// patience bounds waits that a busy machine may draw out. It is below the minute that the programs under test sleep.
const patience = 40 * time.Second

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestStopEndsTheWholeGroup(t *testing.T) {
	p, err := process.Start("shell", exec.Command("sh", "-c", "sleep 60 & echo $!; wait"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Await(t.Context(), patience, func() bool { return strings.HasSuffix(p.Tail(), "\n") }); err != nil {
		t.Fatal(err)
	}
	grandchild, err := strconv.Atoi(strings.TrimSpace(p.Tail()))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(syscall.SIGTERM, patience); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(patience)
	for alive(grandchild) && !zombie(grandchild) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d outlived the group it belongs to", grandchild)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err := p.Stop(syscall.SIGTERM, time.Second); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

// zombie reports whether pid has ended and only waits to be reaped by whoever adopted it.
func zombie(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err != nil || strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

func TestStopKillsWhatIgnoresTheSignal(t *testing.T) {
	p, err := process.Start("stubborn", exec.Command("sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Await(t.Context(), patience, func() bool { return p.Tail() == "up\n" }); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(syscall.SIGTERM, 100*time.Millisecond); err == nil {
		t.Error("Stop did not say that it had to kill")
	}
}

func TestAwaitTellsWhatAnEndedProgramPrinted(t *testing.T) {
	p, err := process.Start("failing", exec.Command("sh", "-c", "echo no such thing >&2; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	err = p.Await(t.Context(), patience, func() bool { return false })
	if err == nil || !strings.Contains(err.Error(), "no such thing") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
}

func TestRunStopsWhenToldTo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begin := time.Now()
	if err := process.Run(ctx, "sleeper", exec.Command("sleep", "60"), patience); err == nil {
		t.Error("Run returned no error though it was stopped")
	}
	if took := time.Since(begin); took > patience {
		t.Errorf("stopping took %v", took)
	}
}
