package rotation_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
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
	owner := w.owner()
	if err := s.Resume(w.Ctx, w.Call(owner), "it looks right"); !fault.Is(err, fault.Conflict) || paused() != 0 {
		t.Errorf("resuming what is not paused: %v", err)
	}
	e.MoveClock(time.Hour)
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

// What one tenant takes for right stays in doubt for the others.
func TestResumingIsForOneTenant(t *testing.T) {
	w := newWorld(t)
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
	e := w.newEngineAt(time.Now())
	e.MoveClock(time.Hour)
	must(t, e.Tick(w.Ctx))
	must(t, w.service(e).Resume(w.Ctx, w.Call(w.owner()), "it is right"))
	must(t, e.Tick(w.Ctx))
	if !waits() || e.ClockMoved() != time.Hour {
		t.Errorf("another tenant's schedules went on; the clock is said to be %s off", e.ClockMoved())
	}
	e.MoveClock(-time.Hour)
	must(t, w.service(e).Resume(w.Ctx, w.Call(w.owner()), "it is right again"))
	must(t, e.Tick(w.Ctx))
	if waits() || e.ClockMoved() != 0 {
		t.Errorf("the schedules stand still by a clock that is back; it is said to be %s off", e.ClockMoved())
	}
}

// A restart proves nothing about the date: it neither ends a pause nor undoes what somebody made sure of.
func TestPauseSurvivesRestarts(t *testing.T) {
	w := newWorld(t)
	p := policyFor(rotator.Alternating)
	p.Schedule = "every 60s"
	w.database("db", p)
	restarted := func() *rotation.Engine {
		c := w.newEngineAt(time.Now().Add(2 * time.Minute)).Config
		c.Node, c.Machine = vault.NewGUID(), "m1"
		e, err := rotation.New(c)
		must(t, err)
		return e
	}
	e := restarted()
	e.MoveClock(time.Hour)
	must(t, e.Tick(w.Ctx))
	e = restarted()
	must(t, e.Tick(w.Ctx))
	if by, err := w.service(e).Paused(w.Ctx, w.Call(w.caller)); by != time.Hour || err != nil || len(w.runs(store.RunQuery{})) != 0 {
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
