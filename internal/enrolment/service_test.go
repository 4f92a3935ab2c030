package enrolment_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/enrolment"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

var noon = time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)

// world is an installation with one issuer, "ca", whose authority keeps its records in the store.
type world struct {
	*guardtest.World
	svc   *enrolment.Service
	certs *cert.Service
	ca    *internalca.CA
	admin *guard.Caller
	now   *clock.Manual
	id    string
	// fails decides about each commit of the store: nil lets it be.
	fails atomic.Pointer[func(after bool) error]
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{now: clock.NewManual(noon)}
	hook := func(after bool) func() error {
		return func() error {
			if f := w.fails.Load(); f != nil {
				return (*f)(after)
			}
			return nil
		}
	}
	w.World = guardtest.New(t, guardtest.Options{Clock: w.now, Faults: sqlite.Faults{BeforeCommit: hook(false), AfterCommit: hook(true)}})
	keys, err := key.New(key.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler)})
	w.do(err)
	secrets, err := secret.New(secret.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock})
	w.do(err)
	w.certs, err = cert.New(cert.Config{Guard: w.Guard, Store: w.Store, Sealing: w.Keys, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler), Keys: keys, Secrets: secrets, Issuers: w})
	w.do(err)
	w.svc, err = enrolment.New(enrolment.Config{Guard: w.Guard, Store: w.Store, Sealing: w.Keys, Clock: w.Clock, Certificates: w.certs})
	w.do(err)
	w.admin = w.Caller(authz.VaultAdministrator)
	root := newKey(t)
	own, err := internalca.SelfSign(internalca.Root{Subject: pkix.Name{CommonName: "Root"}, NotBefore: noon.Add(-time.Hour), NotAfter: noon.AddDate(10, 0, 0)}, root)
	w.do(err)
	w.id = string(vault.NewVersionID(noon))
	records, err := internalca.NewStored(internalca.StoredConfig{Store: w.Store, Clock: w.Clock, Authority: store.Authority{ID: w.id, Tenant: w.Vault.Tenant, Vault: w.Vault.ID, NameKey: "root"}})
	w.do(err)
	w.ca, err = internalca.New(internalca.Config{Certificate: own, Key: root, Profiles: internalca.Profiles(), Default: "server", Records: records, Clock: w.now})
	w.do(err)
	provider := "CA"
	_, err = w.certs.SetIssuer(w.Ctx, w.Call(w.admin), "ca", cert.SettingsChange{Provider: &provider, Options: map[string]string{cert.AuthorityOption: "root"}})
	w.do(err)
	return w
}

// Issuer implements cert.Issuers.
func (w *world) Issuer(_ context.Context, o cert.Order) (issuer.Issuer, error) {
	if o.Settings == nil || o.Settings.Provider != "CA" {
		return nil, fault.New(fault.Invalid, "there is no such provider")
	}
	return w.ca, nil
}

func (w *world) do(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

// client is the register as a client's request sees it.
func (w *world) client() *enrolment.Register {
	w.T.Helper()
	call := w.Call(&guard.Caller{Principal: principal.ID("acme:x"), Tenant: w.Vault.Tenant, Kind: "AcmeAccount"})
	r, err := w.svc.Open(w.Ctx, call, "ca")
	w.do(err)
	return r
}

func (w *world) set(name string, t enrolment.Terms) enrolment.Made {
	w.T.Helper()
	made, err := w.svc.Set(w.Ctx, w.Call(w.admin), "ca", name, t, false)
	w.do(err)
	return made
}

// began is an order that waits for its certificate.
func (w *world) began(n int) (enrolment.Account, enrolment.Order, enrolment.Signing) {
	w.T.Helper()
	public := newKey(w.T).Public()
	a := enrolment.Account{ID: fmt.Sprint("account-", n), Thumbprint: fmt.Sprint("print-", n), Key: &jose.JSONWebKey{Key: public}, Status: enrolment.Valid, Created: noon}
	o := enrolment.Order{ID: string(vault.NewVersionID(noon)), AccountID: a.ID, Status: enrolment.Ready, Expires: noon.Add(time.Hour), Created: noon, Rule: "lab",
		Identifiers: []enrolment.Identifier{{Type: enrolment.DNS, Value: "a.lab.example"}}}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.lab.example"}}, crypto.Signer(newKey(w.T)))
	w.do(err)
	csr, err := x509.ParseCertificateRequest(der)
	w.do(err)
	return a, o, enrolment.Signing{OrderID: o.ID, Account: a, Profile: "server", CSR: csr}
}

var lab = enrolment.Terms{Domains: []string{"lab.example"}, Preauthorized: true}

var errLost = errors.New("lost")

// Every commit of an enrolment is lost, or stored and reported lost. The client asks again, and has one certificate, which everybody knows of.
func TestEveryCommitFailsBothWays(t *testing.T) {
	for _, after := range []bool{false, true} {
		for nth := 1; ; nth++ {
			w := newWorld(t)
			w.set("lab", lab)
			commits, failed := 0, false
			f := func(isAfter bool) error {
				if isAfter != after {
					return nil
				}
				if commits++; commits == nth {
					failed = true
					return errLost
				}
				return nil
			}
			a, o, s := w.began(1)
			w.fails.Store(&f)
			var chain []*x509.Certificate
			for _, step := range []func() error{
				func() error { return w.client().CreateAccount(w.Ctx, a) },
				func() error { return w.client().CreateOrder(w.Ctx, o, nil) },
				func() (err error) { chain, err = w.client().Issue(w.Ctx, s); return err },
			} {
				err := step()
				if err != nil {
					err = step()
				}
				w.do(err)
			}
			w.fails.Store(nil)
			w.issuedOnce(o.ID, chain[0])
			if !failed {
				if nth < 4 {
					t.Errorf("only %d commits failed", nth-1)
				}
				break
			}
		}
	}
}

// issuedOnce fails unless the order, the authority's records and the audit log know this certificate, and the order no other.
func (w *world) issuedOnce(order string, leaf *x509.Certificate) {
	w.T.Helper()
	serial := internalca.SerialText(leaf.SerialNumber)
	o, err := w.client().Order(w.Ctx, order)
	w.do(err)
	if o.Status != enrolment.Valid || o.Serial != serial || o.Authority != w.id || len(o.Chain) == 0 || string(o.Chain[0]) != string(leaf.Raw) {
		w.T.Errorf("the order is %s with %s of %s; want %s", o.Status, o.Serial, o.Authority, serial)
	}
	w.do(w.Store.View(w.Ctx, func(tx store.Tx) error {
		i, err := tx.IssuanceByRequest(w.Ctx, w.id, order)
		if err == nil && i.Serial != serial {
			w.T.Errorf("on record is %s", i.Serial)
		}
		return err
	}))
	told := 0
	for _, e := range w.Changes() {
		if strings.Contains(e.Detail, "order "+order+", certificate ") {
			if told++; !strings.Contains(e.Detail, serial) || e.Reason != "AccessRule" || !strings.HasPrefix(e.Principal, "acme:") {
				w.T.Errorf("the audit log tells of %+v", e)
			}
		}
	}
	if told != 1 {
		w.T.Errorf("the audit log tells of %d certificates", told)
	}
}

// A client that asks several times at once has one certificate.
func TestIssuingTwiceAtOnce(t *testing.T) {
	w := newWorld(t)
	w.set("lab", lab)
	a, o, s := w.began(1)
	w.do(w.client().CreateAccount(w.Ctx, a))
	w.do(w.client().CreateOrder(w.Ctx, o, nil))
	var all sync.WaitGroup
	leaves := make([]*x509.Certificate, 8)
	for i := range leaves {
		r := w.client()
		all.Go(func() {
			chain, err := r.Issue(w.Ctx, s)
			if err != nil {
				t.Error(err)
				return
			}
			leaves[i] = chain[0]
		})
	}
	all.Wait()
	for _, c := range leaves {
		if c == nil || !c.Equal(leaves[0]) {
			t.Fatalf("there are several certificates: %v", leaves)
		}
	}
	w.issuedOnce(o.ID, leaves[0])
}

// Who may not sign with the authority's key lets nobody in.
func TestRulesTakeTheRightToSign(t *testing.T) {
	w := newWorld(t)
	officer := w.Caller(authz.CertificatesOfficer)
	if _, err := w.svc.Set(w.Ctx, w.Call(officer), "ca", "lab", lab, false); !fault.Is(err, fault.Forbidden) {
		t.Errorf("an officer of certificates: %v", err)
	}
	if _, err := w.svc.Open(w.Ctx, w.Call(w.admin), "ca"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an issuer without rules: %v", err)
	}
	for name, c := range map[string]struct {
		issuer, rule string
		kind         fault.Kind
	}{"no issuer": {"nobody", "lab", fault.NotFound}, "no name": {"ca", "a/b", fault.Invalid}, "no issuer's name": {"a/b", "lab", fault.Invalid}, "empty": {"ca", "", fault.Invalid}} {
		if _, err := w.svc.Set(w.Ctx, w.Call(w.admin), c.issuer, c.rule, lab, false); !fault.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A binding is proved by the rule's key alone, and what is not accepted is counted.
func TestBind(t *testing.T) {
	w := newWorld(t)
	made := w.set("lab", lab)
	w.set(enrolment.Anyone, enrolment.Terms{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
	is := func(want redact.String) func([]byte) bool {
		return func(mac []byte) bool { return len(mac) == 32 && want != "" }
	}
	if binding, err := w.client().Bind(w.Ctx, "LAB", is(made.MAC)); err != nil || binding != "lab/"+string(made.Rule.ID) {
		t.Errorf("%q, %v", binding, err)
	}
	for name, keyID := range map[string]string{"unknown": "nobody", "anyone's": enrolment.Anyone, "anyone's in capitals": "Anyone", "none": "", "strange": "a/b"} {
		if _, err := w.client().Bind(w.Ctx, keyID, func([]byte) bool { return true }); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.client().Bind(w.Ctx, "lab", func([]byte) bool { return false }); !fault.Is(err, fault.Unauthenticated) || fault.As(err).Reason != enrolment.WrongBinding {
		t.Errorf("a wrong MAC: %v", err)
	}
	ended := lab
	ended.Expires = noon.Add(time.Hour)
	w.set("lab", ended)
	w.now.Advance(time.Hour)
	if _, err := w.client().Bind(w.Ctx, "lab", is(made.MAC)); !fault.Is(err, fault.Forbidden) {
		t.Errorf("a rule that has ended: %v", err)
	}
}

// An order that replaces a certificate is the only one that does, unless it comes to nothing.
func TestReplacing(t *testing.T) {
	w := newWorld(t)
	w.set("lab", lab)
	a, o, s := w.began(1)
	w.do(w.client().CreateAccount(w.Ctx, a))
	w.do(w.client().CreateOrder(w.Ctx, o, nil))
	chain, err := w.client().Issue(w.Ctx, s)
	w.do(err)
	again := func() (enrolment.Order, error) {
		_, next, _ := w.began(1)
		next.Replaces = internalca.SerialText(chain[0].SerialNumber)
		next.Expires = w.now.Now().Add(time.Hour)
		return next, w.client().CreateOrder(w.Ctx, next, nil)
	}
	first, err := again()
	w.do(err)
	if _, err := again(); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second one: %v", err)
	}
	_, err = w.client().UpdateOrder(w.Ctx, first.ID, func(o *enrolment.Order) error { o.Status = enrolment.Invalid; return nil })
	w.do(err)
	if _, err := again(); err != nil {
		t.Errorf("after one that came to nothing: %v", err)
	}
	w.now.Advance(2 * time.Hour)
	if _, err := again(); err != nil {
		t.Errorf("after one that was never completed: %v", err)
	}
}

// What nobody asks for any more goes; what counts stays.
func TestExpire(t *testing.T) {
	w := newWorld(t)
	w.set("lab", lab)
	a, open, s := w.began(1)
	w.do(w.client().CreateAccount(w.Ctx, a))
	w.do(w.client().CreateOrder(w.Ctx, open, []enrolment.Authorization{{ID: "proof", AccountID: a.ID, OrderID: open.ID, Status: enrolment.Pending, Expires: open.Expires}}))
	_, done, s2 := w.began(1)
	s2.Account = s.Account
	w.do(w.client().CreateOrder(w.Ctx, done, nil))
	chain, err := w.client().Issue(w.Ctx, s2)
	w.do(err)
	w.now.Advance(8 * 24 * time.Hour)
	w.do(w.svc.Expire(w.Ctx))
	if _, err := w.client().Order(w.Ctx, open.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("an order that was never completed: %v", err)
	}
	if _, err := w.client().Authorization(w.Ctx, "proof"); !fault.Is(err, fault.NotFound) {
		t.Errorf("its authorization: %v", err)
	}
	l, err := w.svc.Orders(w.Ctx, w.Call(w.admin), "ca", object.Page{Limit: 10})
	if err != nil || len(l.Orders) != 1 || l.Orders[0].Serial != internalca.SerialText(chain[0].SerialNumber) || l.Next != "" {
		t.Errorf("%+v, %v", l, err)
	}
	if _, err := w.client().Account(w.Ctx, a.ID); err != nil {
		t.Error(err)
	}
}
