package cert_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/issuer/internalca/recordstest"
	"github.com/keywright/keywright/internal/redact"
)

// adviser is an authority whose advice the test gives.
type adviser struct {
	*internalca.CA
	window func(leaf *x509.Certificate) (issuer.Window, error)
	asked  int
}

func (a *adviser) RenewalWindow(_ context.Context, leaf *x509.Certificate) (issuer.Window, error) {
	a.asked++
	return a.window(leaf)
}

func (w *world) newAdviser(window func(*x509.Certificate) (issuer.Window, error)) *adviser {
	w.T.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.do(err)
	root, err := internalca.SelfSign(internalca.Root{Subject: pkix.Name{CommonName: "Root"}, NotBefore: noon.Add(-day), NotAfter: noon.AddDate(20, 0, 0)}, key)
	w.do(err)
	ca, err := internalca.New(internalca.Config{Certificate: root, Key: key, Profiles: internalca.Profiles(), Default: "mutual", Records: new(recordstest.Memory), Clock: w.now})
	w.do(err)
	a := &adviser{CA: ca, window: window}
	w.issuers["test"] = a
	provider := "test"
	_, err = w.svc.SetIssuer(w.Ctx, w.call(), "ca", cert.SettingsChange{Provider: &provider})
	w.do(err)
	return a
}

// quarter is a policy that renews certificates of 90 days after 72 of them.
func quarter() *cert.Policy {
	return policy("ca", func(p *cert.Policy) {
		p.X509.Months, p.Actions = 3, []cert.Action{{Percentage: 80, Do: cert.AutoRenew}}
	})
}

// renewals goes over days and returns how many days each version was the current one.
func (w *world) renewals(name string, days int) (ages []int) {
	w.T.Helper()
	it, _, _ := w.get(name)
	last, age := it.Version.ID, 0
	for range days {
		w.now.Advance(day)
		for range 2 { // the background work looks every few seconds
			_, err := w.svc.Due(w.Ctx)
			w.do(err)
		}
		age++
		if it, _, _ := w.get(name); it.Version.ID != last {
			ages, last, age = append(ages, age), it.Version.ID, 0
		}
	}
	return ages
}

func TestAdviceBringsRenewalsForward(t *testing.T) {
	for name, c := range map[string]struct {
		window   func(leaf *x509.Certificate) (issuer.Window, error)
		min, max int
	}{
		"earlier": {func(leaf *x509.Certificate) (issuer.Window, error) {
			return issuer.Window{Start: leaf.NotBefore.Add(30 * day), End: leaf.NotBefore.Add(40 * day)}, nil
		}, 30, 41},
		"at once": {func(*x509.Certificate) (issuer.Window, error) {
			return issuer.Window{Start: noon.Add(-2 * day), End: noon.Add(-day)}, nil
		}, 1, 2},
		// The policy's own limit is never passed, whatever the authority says.
		"later": {func(leaf *x509.Certificate) (issuer.Window, error) {
			return issuer.Window{Start: leaf.NotAfter, End: leaf.NotAfter.Add(day)}, nil
		}, 72, 74},
		"unreachable": {func(*x509.Certificate) (issuer.Window, error) { return issuer.Window{}, errors.New("away") }, 72, 74},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			a := w.newAdviser(c.window)
			w.create("web", quarter())
			ages := w.renewals("web", 80)
			if len(ages) == 0 || a.asked == 0 {
				t.Fatalf("renewed after %v days, asked %d times", ages, a.asked)
			}
			for _, age := range ages {
				if age < c.min || age > c.max {
					t.Errorf("renewed after %v days: want %d to %d", ages, c.min, c.max)
				}
			}
			if a.asked > 81 {
				t.Errorf("asked %d times in 80 days", a.asked)
			}
		})
	}
}

// A certificate that its authority took back is replaced within a day.
func TestRevokedIsReplaced(t *testing.T) {
	w := newWorld(t)
	a := w.newAdviser(nil)
	a.window = func(leaf *x509.Certificate) (issuer.Window, error) { return a.CA.RenewalWindow(t.Context(), leaf) }
	w.create("web", quarter())
	if ages := w.renewals("web", 10); len(ages) != 0 {
		t.Fatalf("a certificate that is good was renewed after %v days", ages)
	}
	_, _, f := w.get("web")
	leaf, err := x509.ParseCertificate(f.Leaf)
	w.do(err)
	w.do(a.Revoke(w.Ctx, leaf, issuer.KeyCompromise))
	if ages := w.renewals("web", 3); len(ages) != 1 || ages[0] > 2 {
		t.Errorf("renewed after %v days", ages)
	}
}

// What is sealed of an issuer is in none of what is shown, and outlives a change of something else.
func TestIssuerSecretsStaySealed(t *testing.T) {
	w := newWorld(t)
	provider, password, account := "test", redact.String("sealed-password"), "me"
	_, err := w.svc.SetIssuer(w.Ctx, w.call(), "ca", cert.SettingsChange{Provider: &provider, Password: &password,
		Options: map[string]string{"dnsSecret": "sealed-option", "zone": "example"}})
	w.do(err)
	_, err = w.svc.UpdateIssuer(w.Ctx, w.call(), "ca", cert.SettingsChange{Account: &account, Options: map[string]string{"zone": "other"}})
	w.do(err)
	shown, err := w.svc.Issuer(w.Ctx, w.call(), "ca")
	w.do(err)
	if len(shown.Secrets) != 0 || shown.Password != "" || len(shown.Options) != 1 || shown.Options["zone"] != "other" || shown.Account != account {
		t.Errorf("shown: %+v", shown)
	}
	next, err := w.svc.UpdateIssuer(w.Ctx, w.call(), "ca", cert.SettingsChange{Account: &account})
	w.do(err)
	if next.Secrets["dnsSecret"].Reveal() != "sealed-option" || next.Password.Reveal() != "sealed-password" {
		t.Error("a change of something else lost what is sealed")
	}
	next, err = w.svc.UpdateIssuer(w.Ctx, w.call(), "ca", cert.SettingsChange{Options: map[string]string{"dnsSecret": ""}})
	w.do(err)
	if len(next.Secrets) != 0 {
		t.Error("an empty secret stays")
	}
}
