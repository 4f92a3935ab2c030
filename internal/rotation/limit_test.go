package rotation_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
)

// aged is an engine with a default maximum age, so many days from now.
func (w *world) aged(defaultDays, days int) *rotation.Engine {
	w.T.Helper()
	c := w.newEngineAt(time.Now().AddDate(0, 0, days)).Config
	c.MaxAge = time.Duration(defaultDays) * 24 * time.Hour
	e, err := rotation.New(c)
	must(w.T, err)
	return e
}

func (w *world) age(e *rotation.Engine, name string) *rotation.Age {
	w.T.Helper()
	list, _, err := w.service(e).Ages(w.Ctx, w.Call(w.caller), "", 10)
	must(w.T, err)
	for _, a := range list {
		if a.Name == name {
			return a
		}
	}
	w.T.Fatalf("%q is not in the report", name)
	return nil
}

func (w *world) plain(name string, expires time.Time) {
	w.T.Helper()
	_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), name, secret.Input{Value: []byte("a plain value"), Enabled: true, Expires: expires})
	must(w.T, err)
}

// tag sets the vault's own default.
func (w *world) tag(days string) {
	w.T.Helper()
	must(w.T, w.Store.Update(w.Ctx, store.NewOp(time.Now()), func(tx store.Tx) error {
		v, err := tx.Vault(w.Ctx, w.Vault.ID)
		if err != nil {
			return err
		}
		n := v.Clone()
		n.Tags = map[string]string{rotation.MaxAgeTag: days}
		return tx.PutVault(w.Ctx, n)
	}))
}

// Secrets without an expiry and without a policy have the default of the server or of the vault, and people are told once of each that is older.
func TestDefaultAge(t *testing.T) {
	w := newWorld(t)
	w.plain("plain", time.Time{})
	w.plain("expiring", time.Now().AddDate(1, 0, 0))
	p := policyFor(rotator.Alternating)
	p.MaxAge = d(20 * 24 * time.Hour)
	w.database("db", p)

	off := w.aged(0, 90)
	if a := w.age(off, "plain"); a.LimitBy != "" || a.Over(off.Clock.Now()) {
		t.Errorf("without a default the report says %+v", a)
	}
	if n, err := off.TellAges(w.Ctx); n != 1 || err != nil { // the one with a policy, which rotates nothing in this test
		t.Errorf("%d told without a default (%v), want 1", n, err)
	}
	young, old := w.aged(30, 29), w.aged(30, 31)
	if a := w.age(young, "plain"); a.LimitBy != rotation.LimitByServer || a.Limit != 30*24*time.Hour || a.Policy || a.Over(young.Clock.Now()) {
		t.Errorf("before its limit the report says %+v", a)
	}
	if n, err := young.TellAges(w.Ctx); n != 0 || err != nil {
		t.Errorf("%d told too early (%v)", n, err)
	}
	if a := w.age(old, "plain"); !a.Over(old.Clock.Now()) || !a.OverAt.Before(old.Clock.Now()) {
		t.Errorf("after its limit the report says %+v", a)
	}
	if a := w.age(old, "expiring"); a.LimitBy != rotation.LimitByExpiry || a.Over(old.Clock.Now()) {
		t.Errorf("of what expires the report says %+v", a)
	}
	if a := w.age(old, "db"); a.LimitBy != rotation.LimitByPolicy {
		t.Errorf("of what has a policy the report says %+v", a)
	}
	for range 2 {
		must(t, old.Tick(w.Ctx))
		_, err := old.TellAges(w.Ctx)
		must(t, err)
	}
	if n := w.events(string(rotation.SecretTooOld)); n != 2 {
		t.Errorf("%d events for two secrets", n)
	}
	if _, err := w.service(old).Policy(w.Ctx, w.Call(w.caller), "plain"); !fault.Is(err, fault.NotFound) {
		t.Errorf("the alarm left a policy behind: %v", err)
	}
	if list, _, err := w.service(old).Policies(w.Ctx, w.Call(w.caller), "", 10); err != nil || len(list) != 1 {
		t.Errorf("%d policies (%v), want 1", len(list), err)
	}
	if _, err := w.service(old).Run(w.Ctx, w.Call(w.caller), "plain", rotation.Start{Cause: rotation.OnDemand}); !fault.Is(err, fault.NotFound) {
		t.Errorf("what has no policy was rotated: %v", err)
	}

	w.tag("365")
	if a := w.age(old, "plain"); a.LimitBy != rotation.LimitByVault || a.Over(old.Clock.Now()) {
		t.Errorf("with a longer default of the vault the report says %+v", a)
	}
	w.tag("0")
	if a := w.age(old, "plain"); a.Limit != 0 || a.LimitBy != rotation.LimitByVault {
		t.Errorf("with a vault that limits nothing the report says %+v", a)
	}
	w.tag("soon")
	if a := w.age(old, "plain"); a.LimitBy != rotation.LimitByServer {
		t.Errorf("with a tag that says nothing the report says %+v", a)
	}
}

// An exemption names who answers for it, and ends.
func TestExemption(t *testing.T) {
	w := newWorld(t)
	w.plain("plain", time.Time{})
	e, day := w.aged(30, 31), 24*time.Hour
	s, now := w.service(e), e.Clock.Now()
	for _, bad := range []struct {
		why   string
		until time.Time
	}{{"", now.Add(day)}, {"a vendor's key", now}, {"a vendor's key", time.Time{}}} {
		if err := s.Exempt(w.Ctx, w.Call(w.caller), "plain", bad.why, bad.until); !fault.Is(err, fault.Invalid) {
			t.Errorf("exempting for %q until %s: %v", bad.why, bad.until, err)
		}
	}
	must(t, s.Exempt(w.Ctx, w.Call(w.caller), "plain", "a vendor's key", now.Add(10*day)))
	a := w.age(e, "plain")
	if a.LimitBy != rotation.LimitByExemption || a.Over(now) || a.Exempt == nil || a.Exempt.Why != "a vendor's key" || a.Exempt.By != string(w.caller.Principal) {
		t.Errorf("the report says %+v", a)
	}
	if n, err := e.TellAges(w.Ctx); n != 0 || err != nil {
		t.Errorf("%d told of what is exempted (%v)", n, err)
	}
	later := w.aged(30, 42)
	if a := w.age(later, "plain"); !a.Over(later.Clock.Now()) {
		t.Errorf("after the exemption the report says %+v", a)
	}
	if n, err := later.TellAges(w.Ctx); n != 1 || err != nil {
		t.Errorf("%d told after the exemption (%v)", n, err)
	}
	// A policy that comes and goes leaves the exemption.
	p := policyFor(rotator.Single)
	must(t, s.SetPolicy(w.Ctx, w.Call(w.caller), "plain", &p))
	must(t, s.DeletePolicy(w.Ctx, w.Call(w.caller), "plain"))
	if a := w.age(e, "plain"); a.Exempt == nil || a.Policy {
		t.Errorf("after the policy was deleted the report says %+v", a)
	}
	must(t, s.EndExemption(w.Ctx, w.Call(w.caller), "plain"))
	if a := w.age(e, "plain"); a.Exempt != nil || !a.Over(now) {
		t.Errorf("after the end of the exemption the report says %+v", a)
	}
}
