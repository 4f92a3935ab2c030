package cluster_test

import (
	"os"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/program"
)

// timeEnv is how long the run lasts; without it each fault comes once.
const timeEnv = "KEYWRIGHT_CLUSTER_TIME"

var keywright = program.Program{Variable: "KEYWRIGHT_CLUSTER_PROGRAM", Root: "../.."}

func TestMain(m *testing.M) {
	netns.Init()
	code := m.Run()
	keywright.Remove()
	os.Exit(code)
}

// plan is how long things last.
type plan struct {
	// lasts is how long faults go on; one round of them when 0.
	lasts time.Duration
	// lease is how long leases of rotations live.
	lease time.Duration
	// stopped is how long a node stands still, cut how long a cable is out, down how long a killed process is away, calm the time between two faults.
	stopped, cut, down, calm time.Duration
	// briefFor is how stale the vault brief may be: for less than a cable is out.
	briefFor time.Duration
	// pause is what clients wait between two reads.
	pause time.Duration
}

func planned(t testing.TB) plan {
	text := os.Getenv(timeEnv)
	if text == "" {
		return plan{lease: 2 * time.Second, stopped: 4 * time.Second, cut: 3500 * time.Millisecond, down: 200 * time.Millisecond,
			calm: 300 * time.Millisecond, briefFor: 1500 * time.Millisecond, pause: 60 * time.Millisecond}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("%s=%s is no duration", timeEnv, text)
	}
	// Longer than leases and turns (six seconds) live, and than a node is believed to be alive that is silent (ten).
	return plan{lasts: d, lease: 5 * time.Second, stopped: 12 * time.Second, cut: 8 * time.Second, down: 2 * time.Second, calm: 3 * time.Second,
		briefFor: 4 * time.Second, pause: 25 * time.Millisecond}
}

// must stops the test.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
