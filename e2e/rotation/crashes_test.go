package rotation_test

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotation/rotationtest"
	"github.com/keywright/keywright/internal/rotator"
)

// The environment asks for more than the sample: how many crashes for each rotator and strategy, or "all", with which seed. leaseEnv is how long leases are, half
// of which a call may take: a machine of its own does with a second.
const (
	crashesEnv = "KEYWRIGHT_ROTATION_CRASHES"
	seedEnv    = "KEYWRIGHT_ROTATION_SEED"
	leaseEnv   = "KEYWRIGHT_ROTATION_LEASE"
)

// busyLease is for a machine that runs other tests beside these: a login can take longer than half a second there, for as long as they run.
const busyLease = 4 * time.Second

// leaseFor is how long the leases of a system's cases are.
func (s *system) leaseFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv(leaseEnv)
	if text == "" {
		return max(busyLease, s.lease)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return max(d, s.lease)
}

// crashOptions is a sample of a few, or what the environment says.
func crashOptions(t *testing.T) rotationtest.Options {
	t.Helper()
	o := rotationtest.Options{Sample: 4, Stories: 4, Seed: rand.Uint64()}
	if text := os.Getenv(seedEnv); text != "" {
		var err error
		if o.Seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	switch text := os.Getenv(crashesEnv); text {
	case "":
	case "all":
		o.Sample, o.Stories = 0, 0
	default:
		o.Stories = 0
		var err error
		if o.Sample, err = strconv.Atoi(text); err != nil || o.Sample < 1 {
			t.Fatalf("%s=%q: want a positive number, or all", crashesEnv, text)
		}
	}
	return o
}

// notHere are the states that no run at these targets comes by: the value is made here, and no person sets it. The fake targets of the engine's own tests come by
// them.
var notHere = []rotation.State{rotation.Listing, rotation.Creating, rotation.Finding, rotation.Taking, rotation.Discarding, rotation.Asked}

// TestCrashes goes through the crash matrix with every rotator and strategy.
func TestCrashes(t *testing.T) {
	t.Parallel()
	o := crashOptions(t)
	t.Logf("%s=%d repeats the choice of crashes", seedEnv, o.Seed)
	for name, start := range systems {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			var reached []rotation.Point
			for _, strategy := range s.strategies {
				t.Run(string(strategy), func(t *testing.T) {
					points := rotationtest.Run(t, rotationtest.Subject{Name: name + "/" + string(strategy), Rotator: s.rotator, Admin: s.admin, TTL: s.leaseFor(t), SideBySide: 16,
						Make: func(t testing.TB) (rotation.Policy, rotator.Credential) { return s.accounts(t, strategy) }, Login: s.login}, o)
					t.Logf("%d crashes", len(points))
					reached = append(reached, points...)
				})
			}
			if o.Sample == 0 {
				requireReached(t, s.rotator, reached)
			}
		})
	}
}

func requireReached(t *testing.T, r rotator.Rotator, reached []rotation.Point) {
	t.Helper()
	here := make(map[rotation.Point]bool)
	without := notHere
	if _, ok := r.(rotator.Terminator); !ok {
		without = append(slices.Clip(without), rotation.Terminating)
	}
	for _, s := range without {
		for _, p := range []string{"before commit of ", "after commit of ", "before call of ", "after call of "} {
			here[rotation.Point(p+string(s))] = true
		}
	}
	for _, p := range rotationtest.Unreached(reached...) {
		if !here[p] {
			t.Errorf("no process died %s", p)
		}
	}
}
