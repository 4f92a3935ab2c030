package rotation_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store/sqlite"
)

// sound fails unless one version is current, the target accepts it and nothing else, and no attempt set two values.
func (w *world) sound(name string) {
	w.T.Helper()
	user, pass, _ := w.read(name)
	if !w.target.accepts(user, pass) {
		w.T.Errorf("the current value does not log in")
	}
	w.target.mu.Lock()
	defer w.target.mu.Unlock()
	if n := len(w.target.accounts["app_a"]) + len(w.target.accounts["app_b"]); n != 1 {
		w.T.Errorf("the target accepts %d values, want 1", n)
	}
	for attempt, values := range w.target.set {
		if len(values) > 1 {
			w.T.Errorf("attempt %s set %d values", attempt, len(values))
		}
	}
	if w.target.overlaps > 0 {
		w.T.Errorf("%d calls met at an account", w.target.overlaps)
	}
}

// disk fails commits of a store, by their number since it was armed.
type disk struct {
	mu       sync.Mutex
	armed    bool
	n        int
	from, to int
	// stored commits are reported lost, others are.
	stored bool
}

var errDisk = errors.New("the disk answers with an error")

func (f *disk) faults() sqlite.Faults {
	hit := func(after bool) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.armed {
			return nil
		}
		if !after {
			f.n++
		}
		if after == f.stored && f.n >= f.from && f.n < f.to {
			return errDisk
		}
		return nil
	}
	return sqlite.Faults{BeforeCommit: func() error { return hit(false) }, AfterCommit: func() error { return hit(true) }}
}

// disturbed makes a rotation on a disk that fails, and returns how many commits there were.
func disturbed(t *testing.T, s rotator.Strategy, f *disk) int {
	w := newWorldWith(t, guardtest.Options{Clock: clock.System{}, Faults: f.faults()})
	w.database("db", policyFor(s))
	run := w.rotate("db")
	f.mu.Lock()
	f.armed = true
	f.mu.Unlock()
	w.start(w.engine)
	w.eventually("the end of all runs", w.closed)
	f.mu.Lock()
	f.armed = false
	f.mu.Unlock()
	if r := w.run(run.ID); r.State != rotation.Done {
		t.Errorf("the run ended as %s (%s)", r.State, r.Reason)
	}
	w.sound("db")
	return f.n
}

// The store loses a commit, or says that it did, or takes none for a while: the run goes on from what is stored, and asks the target where it is in doubt.
func TestStoreFailsInMidRun(t *testing.T) {
	const sample = 4
	for _, s := range strategies {
		commits := disturbed(t, s, &disk{})
		for name, f := range map[string]struct {
			commits int
			stored  bool
		}{"a commit is lost": {1, false}, "a commit is reported lost": {1, true}, "read-only for a while": {12, false}} {
			at := rand.Perm(commits)
			if os.Getenv(everyCrash) != "all" {
				at = at[:min(sample, commits)]
			}
			for _, n := range at {
				t.Run(fmt.Sprintf("%s/%s/commit %d", s, name, n+1), func(t *testing.T) {
					t.Parallel()
					disturbed(t, s, &disk{from: n + 1, to: n + 1 + f.commits, stored: f.stored})
				})
			}
		}
	}
}

// The target comes back from a backup that was taken before the rotation, after any of its calls: what it lost is set again, and nobody is left with a value that
// it refuses.
func TestTargetIsRestored(t *testing.T) {
	for _, s := range strategies {
		restored := func(t *testing.T, at int32) (calls int32) {
			w := newWorld(t)
			w.database("db", policyFor(s))
			w.target.mu.Lock()
			backup := maps.Clone(w.target.accounts)
			w.target.mu.Unlock()
			var n atomic.Int32
			w.target.after = func(string) error {
				if n.Add(1) == at {
					w.target.mu.Lock()
					w.target.accounts = maps.Clone(backup)
					w.target.mu.Unlock()
				}
				return nil
			}
			run := w.rotate("db")
			w.start(w.engine)
			w.eventually("the end of all runs", w.closed)
			if r := w.run(run.ID); r.State != rotation.Done {
				t.Errorf("the run ended as %s (%s)", r.State, r.Reason)
			}
			if calls = n.Load(); calls == at {
				return calls // it was the last one: nobody looked any more
			}
			w.sound("db")
			return calls
		}
		calls := restored(t, 0) // on a busy machine one is made twice at times, so a run may have its last one before that
		for at := int32(1); at < calls; at++ {
			t.Run(fmt.Sprintf("%s/after call %d of %d", s, at, calls), func(t *testing.T) {
				t.Parallel()
				restored(t, at)
			})
		}
	}
}

// This server comes back from a backup, and does not know the value any more that the target accepts: it says so, changes nothing, and keeps every value that it has.
// Whoever knows what to do sends it on.
func TestStoreIsRestored(t *testing.T) {
	for _, s := range []rotator.Strategy{rotator.Single, rotator.Dual} {
		t.Run(string(s), func(t *testing.T) {
			w := newWorld(t)
			p := policyFor(s)
			w.database("db", p)
			_, before, v := w.read("db")
			const lost = "what-the-lost-days-had-set"
			w.target.give("app_a", lost)
			w.target.before = func(verb string) error {
				if verb == "preflight" && !w.target.accepts("app_a", before) {
					return rotator.Fail(rotator.Misconfigured, nil, "the present password is refused")
				}
				return nil
			}
			run := w.rotate("db")
			w.start(w.engine)
			w.eventually("that it is stuck", func() bool { return w.run(run.ID).State == rotation.Stuck })
			if _, pass, now := w.read("db"); pass != before || now != v || !w.target.accepts("app_a", lost) || len(w.target.set) != 0 {
				t.Errorf("something changed: current %s, want %s; %d attempts set a value", now, v, len(w.target.set))
			}
			if n := w.events(string(rotation.RunAlert)); n == 0 {
				t.Error("nobody was told")
			}
			// A person sets at the target what the server has, and lets the run go on.
			w.target.give("app_a", before)
			_, err := w.service(w.engine).Order(w.Ctx, w.Call(w.caller), run.ID, rotation.Order{Kind: rotation.ReplayOrder})
			must(t, err)
			w.eventually("the end of all runs", w.closed)
			w.sound("db")
		})
	}
}

// The reply to a change comes long after the worker's lease ended and another worker finished the run: it changes nothing any more.
func TestReplyAfterTheLease(t *testing.T) {
	for _, verb := range []string{"set", "revoke"} {
		t.Run(verb, func(t *testing.T) {
			w := newWorld(t)
			w.database("db", policyFor(rotator.Dual))
			var calls atomic.Int32
			reply, came := make(chan struct{}), make(chan struct{})
			w.target.after = func(v string) error {
				if v == verb && calls.Add(1) == 1 {
					<-reply // whatever the deadline of the call
					defer close(came)
				}
				return nil
			}
			run := w.rotate("db")
			w.start(w.engine)
			w.eventually("the call", func() bool { return calls.Load() == 1 })
			w.start(w.newEngine(nil))
			w.eventually("the other worker finishing", w.closed)
			w.sound("db")
			before := revisions(w)
			close(reply)
			<-came
			stop(w)
			if after := revisions(w); !maps.Equal(before, after) {
				t.Errorf("the runs were %v and are %v", before, after)
			}
			if r := w.run(run.ID); r.State != rotation.Done || verb == "set" && calls.Load() != 1 {
				t.Errorf("the run ended as %s after %d calls", r.State, calls.Load())
			}
			w.sound("db")
		})
	}
}

// stop waits until the world's engine has come to rest.
func stop(w *world) { w.engine.Stop(w.Ctx) }

// A consumer comes back with the version before the previous one. Its user has another password by now, the login is refused, and what it reads then works. Later
// rotations do not wait for what is dead.
func TestConsumerReturnsWithAnOldVersion(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Alternating))
	user, pass, oldest := w.read("db")
	w.start(w.engine)
	for n := range 3 {
		run := w.rotate("db")
		w.eventually("the end of all runs", w.closed)
		if w.run(run.ID).State != rotation.Done || w.target.accepts(user, pass) {
			t.Fatalf("rotation %d ended as %s; the oldest value is accepted: %v", n+1, w.run(run.ID).State, w.target.accepts(user, pass))
		}
		w.sound("db")
		w.ledger.hold(oldest, "returned") // it is seen with it once more
	}
}

// While the version before the previous one is not gone, since somebody holds it, the user that it belongs to is not changed under him: the rotation waits.
func TestNoRotationOverAHeldVersion(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Alternating))
	user, pass, v := w.read("db")
	w.ledger.hold(v, "laggard")
	w.start(w.engine)
	first := w.rotate("db")
	w.eventually("the promotion", func() bool { return w.run(first.ID).State == rotation.Done })
	next := w.rotate("db")
	w.eventually("that the next one waits", func() bool { return w.run(next.ID).Reason == rotation.AwaitingRevocation })
	if now, _, _ := w.read("db"); now == user || !w.target.accepts(user, pass) {
		t.Error("the user of the held version was changed")
	}
	w.ledger.letGo(v)
	w.eventually("the end of all runs", w.closed)
	w.sound("db")
}

// The event that asks a function is delivered twice. Of two that answer it at once the second is refused before it touches the target; one that comes after the
// first is done is a change like any other.
func TestFunctionIsAskedTwice(t *testing.T) {
	f := newFunctions(t, rotator.Single, nil)
	f.start(f.engine)
	second, err := f.store("second")
	must(t, err)
	if _, err := f.store("second, once more"); !fault.Is(err, fault.Conflict) {
		t.Fatalf("the answer to the same event, while the first is at work: %v", err)
	}
	f.update("second")
	f.eventually("the end of all runs", f.closed)
	if _, _, v := f.read("db"); v != second {
		t.Error("what the first answer stored did not become current")
	}
	third, err := f.store("third")
	must(t, err)
	f.update("third")
	f.eventually("the end of all runs", f.closed)
	if user, pass, v := f.read("db"); v != third || !f.target.accepts(user, pass) {
		t.Error("what the late answer stored is not current, or does not log in")
	}
}
