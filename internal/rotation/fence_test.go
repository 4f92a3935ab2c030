package rotation_test

import (
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
)

// A worker that was held up past the end of its lease comes back to a run that another has finished: it may write nothing any more.
func TestHeldUpWorkerWritesNothing(t *testing.T) {
	for _, point := range []rotation.Point{"before commit of setting", "before commit of testing", "before commit of awaiting", "before commit of confirming"} {
		t.Run(string(point), func(t *testing.T) {
			w := newWorld(t)
			w.database("db", policyFor(rotator.Alternating))
			var held, back atomic.Bool
			done := make(chan struct{})
			slow := w.newEngine(func(p rotation.Point) error {
				if p == point && !held.Swap(true) {
					<-done
					back.Store(true)
				}
				return nil
			})
			w.rotate("db")
			w.start(slow)
			w.eventually("the worker being held up", held.Load)
			w.start(w.newEngine(nil))
			w.eventually("the other worker finishing", w.closed)
			before := revisions(w)
			close(done)
			w.eventually("the worker coming back", back.Load)
			time.Sleep(100 * time.Millisecond)
			if after := revisions(w); !maps.Equal(before, after) {
				t.Errorf("the runs were %v and are %v", before, after)
			}
		})
	}
}

func revisions(w *world) map[store.RunID]int64 {
	m := map[store.RunID]int64{}
	for _, r := range w.runs(store.RunQuery{}) {
		m[r.ID] = r.Revision
	}
	return m
}

// Many runs at once keep the caps, and an urgent one does not wait behind them.
func TestCapsAndUrgency(t *testing.T) {
	w := newWorld(t)
	const secrets = 12
	var names []string
	for i := range secrets {
		name := "db" + string(rune('a'+i))
		p := policyFor(rotator.Single)
		p.Accounts = []string{"acc-" + name}
		w.target.mu.Lock()
		w.target.accounts["acc-"+name] = []string{"password-of-" + name}
		w.target.mu.Unlock()
		w.put(name, "acc-"+name, "password-of-"+name, p)
		names = append(names, name)
	}
	var now, most atomic.Int32
	w.target.before = func(string) error {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(time.Millisecond)
		return nil
	}
	w.target.after = func(string) error { now.Add(-1); return nil }
	for _, name := range names[1:] {
		w.rotate(name)
	}
	urgent, err := w.service(w.engine).Run(w.Ctx, w.Call(w.caller), names[0], rotation.Start{Cause: rotation.Emergency})
	must(t, err)
	w.start(w.engine)
	w.eventually("the end of all runs", w.closed)
	if most.Load() > 3 { // two, and the one that is kept for emergencies
		t.Errorf("%d calls at once at one target", most.Load())
	}
	first := w.run(urgent.ID).Ended
	before := 0
	for _, r := range w.runs(store.RunQuery{Kind: store.RotationRun}) {
		if r.State != rotation.Done {
			t.Errorf("%s ended as %s", r.NameKey, r.State)
		}
		if r.Ended.Before(first) {
			before++
		}
	}
	if before > 2 {
		t.Errorf("%d runs ended before the emergency", before)
	}
}
