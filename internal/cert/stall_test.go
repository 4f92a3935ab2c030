package cert_test

import (
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key/keytest"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// A renewal that cannot begin, because somebody disabled its issuer, is told at once and every day, is to be seen, and begins when it can.
func TestARenewalThatCannotBeginIsTold(t *testing.T) {
	w := newWorld(t)
	got := w.takesLetters()
	w.do(w.svc.SetContacts(w.Ctx, w.call(), []cert.Contact{{Email: "ops@example.org"}}))
	a := w.newAuthority()
	a.steps = []step{a.issue}
	w.create("web", policy("slow", func(p *cert.Policy) { p.Actions = []cert.Action{{DaysBefore: 30, Do: cert.AutoRenew}} }))
	w.due()
	first, _, _ := w.get("web")
	if tr, err := w.svc.Troubled(w.Ctx); err != nil || tr != (cert.Troubled{}) {
		t.Errorf("%+v, %v", tr, err)
	}
	off := false
	_, err := w.svc.UpdateIssuer(w.Ctx, w.call(), "slow", cert.SettingsChange{Enabled: &off})
	w.do(err)
	w.now.Advance((first.Version.Attributes.Expires.Add(-30 * day)).Sub(w.now.Now()))
	began := w.now.Now()
	for range 2*24 + 1 {
		w.due()
		w.now.Advance(time.Hour)
	}
	failures := w.failures()
	if len(failures) != 3 || len(*got) != 3 {
		t.Fatalf("told %d times in two days, by %d letters", len(failures), len(*got))
	}
	if f := failures[0]; !f.Stalled || f.Final || f.Version != "" || f.Current != first.Version.ID || !strings.Contains(f.Message, "disabled") || f.Issuer != "slow" {
		t.Errorf("%+v", f)
	}
	if l := (*got)[0]; !strings.Contains(l.Subject, "cannot begin") || !strings.Contains(l.Text, "cert pending show web") {
		t.Errorf("%+v", l)
	}
	op := w.operation("web")
	if op.Status != cert.Completed || op.Stalled == nil || op.Stalled.Tries != 49 || !op.Stalled.Since.Equal(began) || !strings.Contains(op.Stalled.Message, "disabled") {
		t.Errorf("%+v, %+v", op, op.Stalled)
	}
	if tr, err := w.svc.Troubled(w.Ctx); err != nil || tr != (cert.Troubled{Stalled: 1}) {
		t.Errorf("%+v, %v", tr, err)
	}

	on := true
	_, err = w.svc.UpdateIssuer(w.Ctx, w.call(), "slow", cert.SettingsChange{Enabled: &on})
	w.do(err)
	a.steps = append(a.steps, a.issue)
	w.now.Advance(time.Hour)
	w.due()
	w.due()
	if op := w.operation("web"); op.Status != cert.Completed || op.Stalled != nil || op.Version == first.Version.ID {
		t.Errorf("when the issuer is back: %+v, %+v", op, op.Stalled)
	}
	if n := len(w.failures()); n != 3 {
		t.Errorf("told %d times", n)
	}
}

// What may pass by itself is told after a while, and of an imported certificate, which has no operation, the stall is one.
func TestARenewalThatWaitsForTheToken(t *testing.T) {
	token := keytest.NewToken(true)
	w := newWorldWith(t, token)
	w.create("web", policy("Self", inHardware("EC-HSM"), func(p *cert.Policy) { p.Actions = []cert.Action{{DaysBefore: 30, Do: cert.AutoRenew}} }))
	it, _, _ := w.get("web")
	token.Away(true)
	w.now.Advance((it.Version.Attributes.Expires.Add(-30 * day)).Sub(w.now.Now()))
	for hour := range 25 {
		w.due()
		if n := len(w.failures()); hour < 24 && n != 0 || hour == 24 && n != 1 {
			t.Fatalf("told %d times after %d hours", n, hour)
		}
		w.now.Advance(time.Hour)
	}
	token.Away(false)
	w.due()
	if op := w.operation("web"); op.Stalled != nil || op.Version == it.Version.ID {
		t.Errorf("when the token is back: %+v, %+v", op, op.Stalled)
	}

	w.newAuthority()
	_, _, err := w.imports("brought", cert.File{Value: pfxOf(t, w.brought(ecKey(t)), "")}, cert.Input{Policy: policy("slow", func(p *cert.Policy) {
		p.Actions = []cert.Action{{Percentage: 50, Do: cert.AutoRenew}}
	})})
	w.do(err)
	_, err = w.svc.DeleteIssuer(w.Ctx, w.call(), "slow")
	w.do(err)
	brought, _, _ := w.get("brought")
	w.now.Advance((brought.Version.Attributes.Expires.Add(-time.Hour)).Sub(w.now.Now()))
	w.due()
	op := w.operation("brought")
	if op.Status != cert.Failed || !op.Renewal || op.Code == "" || op.Stalled == nil {
		t.Errorf("%+v", op)
	}
	_, _, err = w.svc.DeleteOperation(w.Ctx, w.call(), "brought")
	w.fails(err, fault.NotFound, cert.NoOperation)
}

// Whoever watches where a certificate is presented looks soon after it was made anew, and not later than planned.
func TestANewVersionIsLookedForSoon(t *testing.T) {
	w := newWorld(t)
	put := func(id, certificate string, at time.Time) {
		w.Change(func(tx store.Tx) error {
			return tx.PutEndpoint(w.Ctx, &store.Endpoint{ID: id, Tenant: w.Vault.Tenant, Vault: w.Vault.ID, Name: id, Certificate: vault.NameKey(certificate), NextAt: at, Doc: []byte("{}")})
		})
	}
	later := noon.Add(time.Hour)
	put("1", "Web", later)
	put("2", "other", later)
	put("3", "web", noon.Add(time.Second))
	w.create("web", policy("Self"))
	want := map[string]time.Time{"1": noon.Add(30 * time.Second), "2": later, "3": noon.Add(time.Second)}
	look := func() {
		t.Helper()
		w.do(w.Store.View(w.Ctx, func(tx store.Tx) error {
			for id, at := range want {
				e, err := tx.Endpoint(w.Ctx, id)
				if err != nil {
					return err
				}
				if !e.NextAt.Equal(at) {
					t.Errorf("the endpoint %s is looked at at %s, not at %s", id, e.NextAt, at)
				}
			}
			return nil
		}))
	}
	look()
	w.now.Advance(5 * time.Second)
	_, _, err := w.imports("other", cert.File{Value: pfxOf(t, w.brought(ecKey(t)), "")}, cert.Input{})
	w.do(err)
	want["2"] = noon.Add(35 * time.Second)
	look()
}
