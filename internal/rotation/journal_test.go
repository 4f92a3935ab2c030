package rotation_test

import (
	"errors"
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
)

// Before the target hears of a change, the journal says that it is about to.
func TestJournalBeforeEffect(t *testing.T) {
	for _, s := range strategies {
		t.Run(string(s), func(t *testing.T) {
			w := newWorld(t)
			w.database("db", policyFor(s))
			var seen atomic.Int32
			about := map[string]rotation.State{"set": rotation.Setting, "revoke": rotation.Revoking}
			w.target.before = func(verb string) error {
				want, changes := about[verb]
				if !changes {
					return nil
				}
				seen.Add(1)
				for _, r := range w.runs(store.RunQuery{Open: true}) {
					if r.State == want && (verb == "revoke" || r.Sent && r.Pending != "") {
						return nil
					}
				}
				t.Errorf("%s reached the target before the journal", verb)
				return nil
			}
			w.rotate("db")
			w.start(w.engine)
			w.eventually("the end of all runs", w.closed)
			if seen.Load() == 0 {
				t.Error("nothing changed")
			}
		})
	}
}

// When the outcome of a change is unknown, the target is asked, and hears of the value a second time only when it does not have it.
func TestDoubtIsProbed(t *testing.T) {
	for name, doubt := range map[string]error{"a lost reply": errors.New("the connection was reset"), "a crash": errDied} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.database("db", policyFor(rotator.Dual))
			var sets atomic.Int32
			var died atomic.Bool
			w.target.after = func(verb string) error {
				if verb == "set" && sets.Add(1) == 1 {
					return doubt
				}
				return nil
			}
			first := w.newEngine(func(p rotation.Point) error {
				if errors.Is(doubt, errDied) && p == "after call of setting" {
					died.Store(true)
				}
				if died.Load() {
					return errDied
				}
				return nil
			})
			run := w.rotate("db")
			w.start(first)
			if errors.Is(doubt, errDied) {
				w.eventually("the crash", died.Load)
				first.Stop(w.Ctx) // a dead process does not come back for its lease
				w.start(w.newEngine(nil))
			}
			w.eventually("the end of all runs", w.closed)
			if r := w.run(run.ID); r.State != rotation.Done || sets.Load() != 1 {
				t.Errorf("the run ended as %s after %d sets, want done after 1", r.State, sets.Load())
			}
		})
	}
}

// racesEnv is how many rotations three workers race for.
const racesEnv = "KEYWRIGHT_ROTATION_RACES"

func races(t *testing.T) int {
	t.Helper()
	text := os.Getenv(racesEnv)
	if text == "" {
		return 10
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a positive number", racesEnv, text)
	}
	return n
}
