package rotation_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock/clocktest"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// owner may do everything in the tenant.
func (w *world) owner() *guard.Caller {
	c := w.Caller()
	w.Grant(c, authz.Owner, func(g *principal.Grant) { g.Scope = "/" })
	return c
}

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
		return by.Round(time.Second)
	}
	owner := w.owner()
	if err := s.Resume(w.Ctx, w.Call(owner), "it looks right"); !fault.Is(err, fault.Conflict) || paused() != 0 {
		t.Errorf("resuming what is not paused: %v", err)
	}
	machine.Step(time.Hour)
	for range 3 {
		must(t, e.Tick(w.Ctx))
	}
	if n := w.events(string(rotation.SchedulePaused)); n != 1 || paused() != time.Hour || len(w.runs(store.RunQuery{})) != 0 {
		t.Fatalf("%d events, paused because of %s, %d runs", n, paused(), len(w.runs(store.RunQuery{})))
	}
	// Who may do everything in one vault must not start what is due in all others.
	for _, role := range []string{authz.SecretsUser, authz.VaultAdministrator, authz.KeywrightRotationOperator} {
		if err := s.Resume(w.Ctx, w.Call(w.Caller(role)), "I want to"); !fault.Is(err, fault.Forbidden) || paused() == 0 {
			t.Errorf("somebody with %s on a vault resumed: %v", role, err)
		}
	}
	if err := s.Resume(w.Ctx, w.Call(owner), ""); !fault.Is(err, fault.Invalid) || paused() == 0 {
		t.Errorf("resuming without a reason: %v", err)
	}
	must(t, s.Resume(w.Ctx, w.Call(owner), "the time server says so too"))
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

// What one tenant takes for right stays in doubt for the others.
func TestResumingIsForOneTenant(t *testing.T) {
	var machine clocktest.Stepped
	w := newWorldWith(t, guardtest.Options{Clock: &machine})
	other := vault.NewTenantID()
	keys, err := w.Keys.NewTenantKeys(w.Ctx, other, time.Now())
	must(t, err)
	w.Change(func(tx store.Tx) error {
		for _, k := range keys {
			if err := tx.PutWrappedKey(w.Ctx, k); err != nil {
				return err
			}
		}
		return tx.PutTenant(w.Ctx, &vault.Tenant{ID: other, Name: "Fabrikam", Created: time.Now()})
	})
	theirs := w.AddVault(other, vault.NewSubscriptionID(), "theirs")
	due := &store.Policy{Object: vault.NewObjectID(time.Now()), Tenant: other, Vault: theirs.ID, Kind: vault.Secret, NameKey: "db", DueAt: time.Now().Add(-time.Minute), Doc: []byte(`{}`)}
	w.Change(func(tx store.Tx) error { return tx.PutPolicy(w.Ctx, due) })
	waits := func() (waits bool) {
		must(t, w.Store.View(w.Ctx, func(tx store.Tx) error {
			p, err := tx.Policy(w.Ctx, due.Object)
			waits = err == nil && !p.DueAt.IsZero()
			return err
		}))
		return waits
	}
	e := w.newEngine(nil)
	_, err = e.Paused(w.Ctx, other) // sees the clock as it was
	must(t, err)
	machine.Step(time.Hour)
	must(t, e.Tick(w.Ctx))
	must(t, w.service(e).Resume(w.Ctx, w.Call(w.owner()), "it is right"))
	must(t, e.Tick(w.Ctx))
	if !waits() || e.ClockMoved().Round(time.Second) != time.Hour {
		t.Errorf("another tenant's schedules went on; the clock is said to be %s off", e.ClockMoved())
	}
	machine.Step(-time.Hour)
	must(t, w.service(e).Resume(w.Ctx, w.Call(w.owner()), "it is right again"))
	must(t, e.Tick(w.Ctx))
	if waits() || e.ClockMoved() != 0 {
		t.Errorf("the schedules stand still by a clock that is back; it is said to be %s off", e.ClockMoved())
	}
}

// A restart proves nothing about the date: it neither ends a pause nor undoes what somebody made sure of.
func TestPauseSurvivesRestarts(t *testing.T) {
	var machine clocktest.Stepped
	w := newWorldWith(t, guardtest.Options{Clock: &machine})
	p := policyFor(rotator.Alternating)
	p.Schedule = "every 60s"
	w.database("db", p)
	machine.Step(2 * time.Minute)
	restarted := func() *rotation.Engine {
		c := w.newEngine(nil).Config
		c.Node, c.Machine = vault.NewGUID(), "m1"
		e, err := rotation.New(c)
		must(t, err)
		return e
	}
	e := restarted()
	_, err := e.Paused(w.Ctx, w.Vault.Tenant) // sees the clock as it was
	must(t, err)
	machine.Step(time.Hour)
	must(t, e.Tick(w.Ctx))
	e = restarted()
	must(t, e.Tick(w.Ctx))
	if by, err := w.service(e).Paused(w.Ctx, w.Call(w.caller)); by.Round(time.Second) != time.Hour || err != nil || len(w.runs(store.RunQuery{})) != 0 {
		t.Fatalf("after a restart it is paused because of %s (%v), with %d runs", by, err, len(w.runs(store.RunQuery{})))
	}
	if n := w.events(string(rotation.SchedulePaused)); n != 1 {
		t.Errorf("%d events of one pause", n)
	}
	must(t, w.service(e).Resume(w.Ctx, w.Call(w.owner()), "it is right"))
	e = restarted()
	must(t, e.Tick(w.Ctx))
	if len(w.runs(store.RunQuery{})) != 1 {
		t.Error("a restart paused again what somebody resumed")
	}
	// And the machine next to it has a clock of its own.
	c := restarted().Config
	c.Machine = "m2"
	next, err := rotation.New(c)
	must(t, err)
	if by, err := next.Paused(w.Ctx, w.Vault.Tenant); by != 0 || err != nil {
		t.Errorf("another machine is paused because of %s (%v)", by, err)
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
			w.start(w.engine)
			other := w.newEngine(nil) // it would take over what looks abandoned
			w.start(other)
			w.eventually("the promotion", func() bool { return w.run(run.ID).State == rotation.Done })
			if sets.Load() != 1 || w.target.overlaps != 0 {
				t.Errorf("the rotation took %d sets and %d overlaps", sets.Load(), w.target.overlaps)
			}
			must(t, w.engine.Tick(w.Ctx))
			off, err := w.engine.Paused(w.Ctx, w.Vault.Tenant)
			must(t, err)
			if n := w.events(string(rotation.SchedulePaused)); n == 0 || (off-by).Abs() > time.Second {
				t.Errorf("%d events; the engine is paused because of %s", n, off)
			}
			open := func() *rotation.Run {
				t.Helper()
				list := w.runs(store.RunQuery{Open: true})
				if len(list) != 1 || list[0].Kind != store.RevocationRun {
					t.Fatalf("the open runs are %+v", list)
				}
				return list[0]
			}
			w.eventually("a look by the clock from before", func() bool {
				r := open()
				return r.LastError != nil && strings.Contains(r.LastError.Message, "clock")
			})
			if r := open(); r.Forced != "" || r.State != rotation.Awaiting || !w.target.accepts(user, pass) {
				t.Fatalf("the revocation is %s (%s), forced by %q", r.State, r.Reason, r.Forced)
			}
			owner := w.owner()
			// Once a person says that the clock is right, all waits begin anew by it.
			for _, e := range []*rotation.Engine{w.engine, other} {
				must(t, w.service(e).Resume(w.Ctx, w.Call(owner), "the time server says so too"))
			}
			resumed := machine.Now().Round(0)
			w.eventually("a look by the new clock", func() bool {
				r := open()
				next := r.NextAt.Sub(machine.Now().Round(0))
				return r.Reason == rotation.GracePeriod && resumed.Sub(r.Trusted).Abs() < time.Minute && next > 0 && next <= 30*time.Minute
			})
			time.Sleep(50 * time.Millisecond)
			if r := open(); r.Forced != "" || r.State != rotation.Awaiting || !w.target.accepts(user, pass) {
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
	_, err := w.engine.Paused(w.Ctx, w.Vault.Tenant)
	must(t, err)
	said := func() (at time.Time, ok bool) {
		open := w.runs(store.RunQuery{Open: true, Kind: store.RevocationRun})
		if len(open) != 1 || open[0].LastError == nil || !strings.Contains(open[0].LastError.Message, "clock") {
			return at, false
		}
		return open[0].LastError.At, true
	}
	// A look that began by the right clock is over then.
	var first time.Time
	w.eventually("that the run says why it waits", func() (ok bool) {
		first, ok = said()
		return ok
	})
	w.ledger.letGo(v) // a ledger that counts by that clock takes everybody for gone
	w.eventually("another look by that clock", func() bool {
		at, ok := said()
		return ok && at.After(first)
	})
	if !w.target.accepts(user, pass) {
		t.Fatal("the old value was revoked")
	}
	machine.Step(-24 * time.Hour)
	w.eventually("the end of all runs", w.closed)
}
