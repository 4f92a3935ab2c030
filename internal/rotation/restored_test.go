package rotation_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
)

// This server comes back from a copy that was taken in the midst of a run, and the target has other values by then, which no version here holds; of the two that it
// accepts at once, the current one may still be known. Wherever the copy ends: nothing that the target accepts is overwritten or revoked.
func TestStoreIsRestoredInMidRun(t *testing.T) {
	type restore struct {
		name     string
		strategy rotator.Strategy
		point    rotation.Point
		others   func(tg *target, user, pass string)
	}
	rotations, revocations := rotation.Points(store.RotationRun), rotation.Points(store.RevocationRun)
	var all []restore
	for _, s := range strategies {
		for _, point := range slices.Concat(rotations, revocations) {
			all = append(all, restore{"", s, point, lostDays(s)})
		}
		for _, point := range revocations {
			if s != rotator.Single && !slices.Contains(rotations, point) {
				all = append(all, restore{", the current value still accepted", s, point, besideCurrent})
			}
		}
	}
	if os.Getenv(everyCrash) != "all" {
		const sample = 40 // a run comes by at about half of the points
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:sample]
	}
	var reached atomic.Int32
	t.Run("points", func(t *testing.T) {
		for _, r := range all {
			t.Run(fmt.Sprintf("%s/%s%s", r.strategy, r.point, r.name), func(t *testing.T) {
				t.Parallel()
				if restoredAt(t, r.strategy, r.point, r.others) {
					reached.Add(1)
				}
			})
		}
	})
	if n := reached.Load(); n < 5 {
		t.Errorf("%d copies were taken: the points have other names now", n)
	}
}

const lost = "what-the-lost-days-had-set"

// lostDays leaves nothing at the target of what a copy knows.
func lostDays(s rotator.Strategy) func(*target, string, string) {
	return func(tg *target, _, _ string) {
		tg.give("app_a", lost)
		if s == rotator.Alternating {
			tg.give("app_b", lost+"-too")
		}
	}
}

// besideCurrent leaves the current value, and has another where the old one was.
func besideCurrent(tg *target, user, pass string) {
	if user == "app_b" {
		tg.give("app_b", pass)
		tg.give("app_a", lost)
		return
	}
	tg.give("app_a", pass, lost)
}

// restoredAt has the process die at a point, and another begin on what is stored when the target is another. It returns false where no process comes by.
func restoredAt(t *testing.T, s rotator.Strategy, point rotation.Point, others func(tg *target, user, pass string)) bool {
	t.Helper()
	w := newWorld(t)
	w.database("db", policyFor(s))
	w.target.before = func(verb string) error { // as every rotator's preflight does
		user, pass, _ := w.read("db")
		if verb == "preflight" && !w.target.accepts(user, pass) {
			return rotator.Fail(rotator.Misconfigured, nil, "the present password is refused")
		}
		return nil
	}
	var died atomic.Bool
	dead := w.newEngine(func(p rotation.Point) error {
		if p == point || died.Load() {
			died.Store(true)
			return errors.New("the process died")
		}
		return nil
	})
	w.rotate("db")
	w.start(dead)
	w.eventually("the end of the process, or of all runs", func() bool { return died.Load() || w.closed() })
	if !died.Load() {
		return false
	}
	dead.Stop(w.Ctx)
	user, pass, _ := w.read("db")
	others(w.target, user, pass)
	w.target.mu.Lock()
	before := cloneAccounts(w.target.accounts)
	w.target.mu.Unlock()
	next := w.newEngine(nil)
	w.start(next)
	w.eventually("that nothing goes on by itself", func() bool {
		for _, r := range w.runs(store.RunQuery{Open: true}) {
			if r.State != rotation.Stuck {
				return false
			}
		}
		return true
	})
	w.target.mu.Lock()
	defer w.target.mu.Unlock()
	if !maps.EqualFunc(before, w.target.accounts, slices.Equal[[]string]) {
		t.Errorf("the target accepted %v and accepts %v now", before, w.target.accounts)
	}
	return true
}

func cloneAccounts(m map[string][]string) map[string][]string {
	c := make(map[string][]string, len(m))
	for k, v := range m {
		c[k] = slices.Clone(v)
	}
	return c
}
