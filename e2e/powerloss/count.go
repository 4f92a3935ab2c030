package powerloss

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/machine"
)

const (
	statesEnv = "KEYWRIGHT_POWERLOSS_STATES"
	seedEnv   = "KEYWRIGHT_POWERLOSS_SEED"
)

// States returns how many states a sound workload is checked in: the environment's KEYWRIGHT_POWERLOSS_STATES, else
// Sample(sample).
func States(t testing.TB, sample int) int { return int(number(t, statesEnv, uint64(Sample(sample)))) }

// Sample returns n, or a twentieth of it (at least 20) under the race detector, which slows the SQLite that the checks
// open that much and has nothing to find in it.
func Sample(n int) int {
	if machine.RaceDetector {
		return max(n/20, min(n, 20))
	}
	return n
}

// Seed returns the campaign's seed: the environment's KEYWRIGHT_POWERLOSS_SEED, else one from the clock. It is logged.
// The seed repeats a campaign over the same log; a recording is new each time, because the workload is concurrent.
func Seed(t testing.TB) uint64 {
	t.Helper()
	seed := number(t, seedEnv, uint64(time.Now().UnixNano())%1e9)
	t.Logf("%s=%d", seedEnv, seed)
	return seed
}

func number(t testing.TB, env string, otherwise uint64) uint64 {
	t.Helper()
	text, ok := os.LookupEnv(env)
	if !ok {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		t.Fatalf("%s: %v", env, err)
	}
	return n
}
