package main

import (
	"os"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/program"
)

var keywright = program.Program{Variable: "KEYWRIGHT_BENCH_BINARY", Root: ".."}

func TestMain(m *testing.M) {
	code := m.Run()
	keywright.Remove()
	os.Exit(code)
}

// TestOverload is a sample of what bench -part overload measures. Neighbours take the processors away at will, so that it looks at what a second of the
// server's own CPU does, and at what does not depend on speed.
func TestOverload(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED, NOT PASSED: an overload takes ten seconds")
	}
	list, err := processors()
	if err != nil {
		t.Fatal(err)
	}
	keywright.Build(t)
	o := &options{binary: os.Getenv(keywright.Variable), dir: t.TempDir(), secrets: 200, principals: 8, duration: time.Second, flood: 4 * time.Second, flooders: 300}
	seen, err := flooded(o, list[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("peak %.0f/s and %.0f per second of CPU; under a flood %.0f/s and %.0f, %d refused; p99 of reads %s; recovery %s", seen.peak.perSecond, seen.peak.perCPU,
		seen.done.perSecond, seen.done.perCPU, seen.flood.refused, seen.reads.percentile(0.99), seen.recovery)
	if seen.flood.failed+seen.reads.failed > 0 {
		t.Errorf("%d and %d requests failed: %v, %v", seen.flood.failed, seen.reads.failed, seen.flood.last, seen.reads.last)
	}
	if seen.reads.refused > 0 || seen.reads.good == 0 {
		t.Errorf("%d reads were answered and %d refused", seen.reads.good, seen.reads.refused)
	}
	if ratio := seen.done.perCPU / seen.peak.perCPU; ratio < 0.5 {
		t.Errorf("a second of CPU does %.2f of what it does at best", ratio)
	}
	if seen.recovery > mostRecovery {
		t.Errorf("the server was itself again after %s", seen.recovery)
	}
}
