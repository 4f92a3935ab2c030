package cert_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/mail"
	"github.com/keywright/keywright/internal/store"
)

// letters takes what is written to contacts.
func (w *world) takesLetters() *[]mail.Letter {
	var list []mail.Letter
	w.svc.Mail = func(_ context.Context, _ store.Tx, l mail.Letter) error {
		list = append(list, l)
		return nil
	}
	return &list
}

// failures are the events of renewals that did not come through.
func (w *world) failures() (list []cert.RenewalFailure) {
	w.T.Helper()
	w.do(w.Store.View(w.Ctx, func(tx store.Tx) error {
		commits, err := tx.Commits(w.Ctx, 0, 0)
		for _, c := range commits {
			for _, e := range c.Events {
				if e.Type != cert.RenewalFailed {
					continue
				}
				var f cert.RenewalFailure
				if err := json.Unmarshal(e.Data, &f); err != nil {
					return err
				}
				list = append(list, f)
			}
		}
		return err
	}))
	return list
}

// Contacts get a letter when their lifetime action is due: once, and with what to do.
func TestContactsGetLetters(t *testing.T) {
	for name, c := range map[string]struct {
		policy *cert.Policy
		want   string
	}{
		"a person brings the next": {policy(cert.UnknownIssuer), "keywright cert merge web --vault Shop"},
		"nobody renews":            {policy("Self", func(p *cert.Policy) { p.Actions = []cert.Action{{Percentage: 80, Do: cert.EmailContacts}} }), "keywright cert create web --vault Shop"},
		"the policy renews": {policy("Self", func(p *cert.Policy) {
			p.Actions = []cert.Action{{Percentage: 80, Do: cert.EmailContacts}, {Percentage: 90, Do: cert.AutoRenew}}
		}), "Its policy makes it anew at"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			got := w.takesLetters()
			w.do(w.svc.SetContacts(w.Ctx, w.call(), []cert.Contact{{Email: "ops@example.org", Name: "Ops"}, {Email: "not an@ address"}}))
			if c.policy.Issuer.Is(cert.UnknownIssuer) {
				_, _, err := w.imports("web", cert.File{Value: pfxOf(t, w.brought(ecKey(t)), "")}, cert.Input{Policy: c.policy})
				w.do(err)
			} else {
				w.create("web", c.policy)
			}
			it, _, _ := w.get("web")
			for !w.now.Now().After(it.Version.Attributes.Expires.Add(-it.Version.Attributes.Expires.Sub(it.Version.Attributes.NotBefore) / 6)) {
				w.now.Advance(12 * time.Hour)
				w.due()
			}
			if len(*got) != 1 {
				t.Fatalf("%d letters", len(*got))
			}
			l := (*got)[0]
			if len(l.To) != 1 || l.To[0].Address != "ops@example.org" || !strings.Contains(l.Text, c.want) || !strings.Contains(l.Subject, `certificate "web" of the vault "Shop" ends at 20`) {
				t.Errorf("%+v", l)
			}
		})
	}
}

// A renewal that does not come through is told after a day, and when it is given up; while it may pass, and of what a person began, nothing is.
func TestFailedRenewalsAreTold(t *testing.T) {
	w := newWorld(t)
	got := w.takesLetters()
	w.do(w.svc.SetContacts(w.Ctx, w.call(), []cert.Contact{{Email: "ops@example.org"}}))
	a := w.newAuthority()
	a.steps = []step{a.issue}
	slow := policy("slow", func(p *cert.Policy) { p.Actions = []cert.Action{{DaysBefore: 30, Do: cert.AutoRenew}} })
	w.create("web", slow)
	w.due()
	it, _, _ := w.get("web")
	a.steps = []step{refusing(fault.New(fault.Unavailable, "the authority sleeps"))}
	w.now.Advance(60*day + time.Hour)
	began := w.now.Now()
	for w.now.Now().Before(began.Add(9 * day)) {
		w.due()
		switch n, since := len(w.failures()), w.now.Now().Sub(began); {
		case since < 23*time.Hour && n != 0:
			t.Fatalf("told after %s", since)
		case since > 26*time.Hour && since < 6*day && n != 1:
			t.Fatalf("told %d times after %s", n, since)
		}
		w.now.Advance(2 * time.Hour)
	}
	failures := w.failures()
	if len(failures) < 2 || failures[0].Final || !failures[1].Final || failures[0].Current != it.Version.ID || failures[0].Message != "the authority sleeps" || failures[0].Issuer != "slow" ||
		!failures[0].Expires.Equal(it.Version.Attributes.Expires) {
		t.Fatalf("%+v", failures)
	}
	if len(*got) != len(failures) || !strings.Contains((*got)[0].Text, "the authority sleeps") || !strings.Contains((*got)[1].Subject, "could not be made anew") {
		t.Errorf("letters %+v", *got)
	}
	// What a person began is told to that person.
	a.steps = []step{refusing(fault.New(fault.Invalid, "no"))}
	w.create("new", slow)
	w.due()
	if op := w.operation("new"); op.Status != cert.Failed {
		t.Errorf("%+v", op)
	}
	for _, f := range w.failures() {
		if f.ObjectName != "web" {
			t.Errorf("a failure of somebody's own was told: %+v", f)
		}
	}
}
