package rotation_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
)

// Nothing is scheduled by a clock that was moved, people are told once, and it goes on when one of them says so, or when the clock is back.
func TestMovedClockPausesTheSchedule(t *testing.T) {
	w := newWorld(t)
	p := policyFor(rotator.Alternating)
	p.Schedule = "every 60s"
	w.database("db", p)
	e := w.newEngineAt(time.Now().Add(2 * time.Minute))
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
	e.MoveClock(time.Hour)
	for range 3 {
		must(t, e.Tick(w.Ctx))
	}
	if n := w.events(string(rotation.SchedulePaused)); n != 1 || paused() != time.Hour || len(w.runs(store.RunQuery{})) != 0 {
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
	e.MoveClock(-time.Hour)
	must(t, e.Tick(w.Ctx))
	before := w.events(string(rotation.SchedulePaused))
	e.MoveClock(time.Hour)
	if paused() != 0 {
		t.Error("it is paused although the clock is back")
	}
	must(t, w.service(e).SetPolicy(w.Ctx, w.Call(w.caller), "db", &p))
	e.MoveClock(-time.Hour)
	must(t, e.Tick(w.Ctx))
	if n := w.events(string(rotation.SchedulePaused)); n != before+1 {
		t.Errorf("%d events after another jump, want %d", n, before+1)
	}
}
