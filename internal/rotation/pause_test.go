package rotation_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock/clocktest"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
)

// Nothing is scheduled by a clock that was moved, people are told once, and it goes on when one of them says so, or when the clock is back.
func TestMovedClockPausesTheSchedule(t *testing.T) {
	var machine clocktest.Stepped
	w := newWorldWith(t, guardtest.Options{Clock: &machine})
	p := policyFor(rotator.Alternating)
	p.Schedule = "every 60s"
	w.database("db", p)
	machine.Step(2 * time.Minute)
	e := w.newEngine(nil)
	s := w.service(e)
	paused := func() time.Duration {
		t.Helper()
		by, err := s.Paused(w.Ctx, w.Call(w.caller))
		must(t, err)
		return by
	}
	if err := s.Resume(w.Ctx, w.Call(w.caller), "it looks right"); !fault.Is(err, fault.Conflict) || paused() != 0 {
		t.Errorf("resuming what is not paused: %v", err)
	}
	machine.Step(time.Hour)
	for range 3 {
		must(t, e.Tick(w.Ctx))
	}
	if n := w.events(string(rotation.SchedulePaused)); n != 1 || paused().Round(time.Second) != time.Hour || len(w.runs(store.RunQuery{})) != 0 {
		t.Fatalf("%d events, paused because of %s, %d runs", n, paused(), len(w.runs(store.RunQuery{})))
	}
	if err := s.Resume(w.Ctx, w.Call(w.Caller(authz.SecretsUser)), "I want to"); !fault.Is(err, fault.Forbidden) {
		t.Errorf("who may only read secrets resumed: %v", err)
	}
	if err := s.Resume(w.Ctx, w.Call(w.caller), ""); !fault.Is(err, fault.Invalid) || paused() == 0 {
		t.Errorf("resuming without a reason: %v", err)
	}
	must(t, s.Resume(w.Ctx, w.Call(w.caller), "the time server says so too"))
	must(t, e.Tick(w.Ctx))
	if paused() != 0 || len(w.runs(store.RunQuery{})) != 1 {
		t.Errorf("after resuming: paused because of %s, %d runs", paused(), len(w.runs(store.RunQuery{})))
	}
	// The next jump is told of anew, and ends by itself when the clock comes back.
	machine.Step(-time.Hour)
	must(t, e.Tick(w.Ctx))
	before := w.events(string(rotation.SchedulePaused))
	machine.Step(time.Hour)
	if paused() != 0 {
		t.Error("it is paused although the clock is back")
	}
	must(t, w.service(e).SetPolicy(w.Ctx, w.Call(w.caller), "db", &p))
	machine.Step(-time.Hour)
	must(t, e.Tick(w.Ctx))
	if n := w.events(string(rotation.SchedulePaused)); n != before+1 {
		t.Errorf("%d events after another jump, want %d", n, before+1)
	}
}

// A clock that is set in the midst of everything stops nothing that is under way, and lets nothing go that consumers still need.
func TestMovedClockHurtsNobody(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			t.Parallel()
			var machine clocktest.Stepped
			w := newWorldWith(t, guardtest.Options{Clock: &machine})
			p := policyFor(rotator.Alternating)
			p.Grace, p.Deadline, p.Overdue = d(30*time.Minute), d(40*time.Minute), rotation.Overdue{Then: rotation.Force, Approval: false}
			p.Schedule = "every 50m"
			w.database("db", p)
			user, pass, v := w.read("db")
			w.ledger.hold(v, "laggard")
			// The clock is set while the target is being asked to change.
			var sets atomic.Int32
			w.target.before = func(verb string) error {
				if verb == "set" && sets.Add(1) == 1 {
					machine.Step(by)
				}
				return nil
			}
			run := w.rotate("db")
			began := time.Now()
			w.start(w.engine)
			other := w.newEngine(nil) // it would take over what looks abandoned
			w.start(other)
			w.eventually("the promotion", func() bool { return w.run(run.ID).State == rotation.Done })
			if took := time.Since(began); took > 10*time.Second || sets.Load() != 1 || w.target.overlaps != 0 {
				t.Errorf("the rotation took %s, with %d sets and %d overlaps", took, sets.Load(), w.target.overlaps)
			}
			must(t, w.engine.Tick(w.Ctx))
			if n := w.events(string(rotation.SchedulePaused)); n == 0 || (w.engine.Paused()-by).Abs() > time.Second {
				t.Errorf("%d events; the engine is paused because of %s", n, w.engine.Paused())
			}
			open := func() *rotation.Run {
				t.Helper()
				list := w.runs(store.RunQuery{Open: true})
				if len(list) != 1 || list[0].Kind != store.RevocationRun {
					t.Fatalf("the open runs are %+v", list)
				}
				return list[0]
			}
			time.Sleep(50 * time.Millisecond) // ten looks
			if r := open(); r.Forced != "" || r.State != rotation.Awaiting || !w.target.accepts(user, pass) {
				t.Fatalf("the revocation is %s (%s), forced by %q", r.State, r.Reason, r.Forced)
			}
			// Once a person says that the clock is right, all waits begin anew by it.
			for _, e := range []*rotation.Engine{w.engine, other} {
				must(t, w.service(e).Resume(w.Ctx, w.Call(w.caller), "the time server says so too"))
			}
			w.eventually("a look by the new clock", func() bool {
				next := open().NextAt.Sub(machine.Now().Round(0))
				return next > 29*time.Minute && next <= 30*time.Minute
			})
			if r := open(); r.Forced != "" || !w.target.accepts(user, pass) {
				t.Errorf("after resuming, the revocation is %s (%s), forced by %q", r.State, r.Reason, r.Forced)
			}
		})
	}
}

// Without a proof that the old version is not needed, a moved clock proves nothing either.
func TestNothingGoesByAMovedClock(t *testing.T) {
	var machine clocktest.Stepped
	w := newWorldWith(t, guardtest.Options{Clock: &machine})
	w.database("db", policyFor(rotator.Alternating))
	user, pass, v := w.read("db")
	w.ledger.hold(v, "laggard")
	w.rotate("db")
	w.start(w.engine)
	w.eventually("that the laggard is named", func() bool {
		open := w.runs(store.RunQuery{Open: true, Kind: store.RevocationRun})
		return len(open) == 1 && len(open[0].Waiting) == 1
	})
	machine.Step(24 * time.Hour)
	w.engine.Paused()
	w.ledger.letGo(v) // a ledger that counts by that clock takes everybody for gone
	w.eventually("that the run says why it waits", func() bool {
		open := w.runs(store.RunQuery{Open: true, Kind: store.RevocationRun})
		return len(open) == 1 && open[0].LastError != nil && strings.Contains(open[0].LastError.Message, "clock")
	})
	if !w.target.accepts(user, pass) {
		t.Fatal("the old value was revoked")
	}
	machine.Step(-24 * time.Hour)
	w.eventually("the end of all runs", w.closed)
}
