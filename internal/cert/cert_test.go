package cert_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/external"
	"github.com/keywright/keywright/internal/issuer/selfsigned"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store/sqlite"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

// world is an installation with the service of certificates, those below it, and a caller who may do everything in the vault.
type world struct {
	*guardtest.World
	svc     *cert.Service
	keys    *key.Service
	secrets *secret.Service
	admin   *guard.Caller
	now     *clock.Manual
	// issuers answer for the names of a vault's issuers, and prepare, when not nil, looks at their settings before.
	issuers map[string]issuer.Issuer
	prepare func(cert.Order) error
	// asked, when not nil, is called whenever an issuer is wanted.
	asked func()
	// errors are what the service of certificates logged as such.
	errors bytes.Buffer
	// lost is how many commits the store loses next.
	lost atomic.Int64
}

func newWorld(t testing.TB) *world { t.Helper(); return newWorldWith(t, nil) }

// newWorldWith binds the keys to a token, unless it is nil.
func newWorldWith(t testing.TB, token key.Token) *world {
	t.Helper()
	w := &world{now: clock.NewManual(noon), issuers: map[string]issuer.Issuer{}}
	w.World = guardtest.New(t, guardtest.Options{Clock: w.now, Faults: sqlite.Faults{BeforeCommit: w.lose}})
	var err error
	w.bind(token)
	w.secrets, err = secret.New(secret.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock})
	w.do(err)
	w.open()
	w.Watch(w.keys.Changed)
	w.Watch(w.secrets.Changed)
	w.Watch(w.svc.Changed)
	w.admin = w.Caller(authz.VaultAdministrator)
	return w
}

// lose is what happens before commits.
func (w *world) lose() error {
	if w.lost.Add(-1) >= 0 {
		return errors.New("the disk is gone")
	}
	return nil
}

// bind makes the service of keys.
func (w *world) bind(token key.Token) {
	w.T.Helper()
	var err error
	w.keys, err = key.New(key.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler), Token: token})
	w.do(err)
}

// open makes the service of certificates.
func (w *world) open() {
	w.T.Helper()
	var err error
	w.svc, err = cert.New(cert.Config{Guard: w.Guard, Store: w.Store, Sealing: w.Keys, Clock: w.Clock,
		Logger: slog.New(slog.NewTextHandler(&w.errors, &slog.HandlerOptions{Level: slog.LevelError})), Keys: w.keys, Secrets: w.secrets, Issuers: w})
	w.do(err)
}

// Issuer implements cert.Issuers.
func (w *world) Issuer(_ context.Context, o cert.Order) (issuer.Issuer, error) {
	if w.asked != nil {
		w.asked()
	}
	switch {
	case o.Ref.Is(cert.SelfIssuer):
		return selfsigned.New(selfsigned.Config{Clock: w.now, Signer: func(ctx context.Context, _ issuer.Request) (crypto.Signer, error) { return o.Signer(ctx) }})
	case o.Ref.Is(cert.UnknownIssuer):
		return external.New(external.Config{Clock: w.now})
	}
	if i := w.issuers[o.Settings.Provider]; i != nil {
		return i, nil
	}
	return nil, fault.New(fault.Invalid, "there is no provider %q", o.Settings.Provider)
}

// Prepare implements cert.Preparer.
func (w *world) Prepare(_ context.Context, o cert.Order) error {
	if w.prepare == nil {
		return nil
	}
	return w.prepare(o)
}

func (w *world) do(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

func (w *world) call() *guard.Call { w.T.Helper(); return w.Call(w.admin) }

func (w *world) fails(err error, kind fault.Kind, reason fault.Reason) {
	w.T.Helper()
	if !fault.Is(err, kind) || fault.As(err).Reason != reason {
		w.T.Errorf("got %v (%v); want %v with reason %q", err, fault.Of(err), kind, reason)
	}
}

// policy is one for a small key, changed.
func policy(by string, edit ...func(*cert.Policy)) *cert.Policy {
	p := &cert.Policy{Issuer: cert.IssuerRef{Name: by}, X509: cert.X509Props{Subject: "CN=shop.example, O=Shop", DNS: []string{"shop.example"}},
		Key: cert.KeyProps{Kty: "EC"}}
	for _, e := range edit {
		e(p)
	}
	return p
}

func (w *world) create(name string, p *cert.Policy) *cert.Operation {
	w.T.Helper()
	_, op, err := w.svc.Create(w.Ctx, w.call(), name, cert.Input{Policy: p, Tags: map[string]string{"team": "web"}})
	w.do(err)
	return op
}

func (w *world) get(name string) (cert.Item, *cert.Policy, *cert.Facts) {
	w.T.Helper()
	it, p, err := w.svc.Get(w.Ctx, w.call(), cert.Selector{Name: name})
	w.do(err)
	f, err := cert.Describe(it.Version)
	w.do(err)
	return it, p, f
}

func (w *world) operation(name string) *cert.Operation {
	w.T.Helper()
	_, op, err := w.svc.Operation(w.Ctx, w.call(), name, "")
	w.do(err)
	return op
}

// secretOf opens the secret behind a certificate.
func (w *world) secretOf(name string) (secret.Item, []byte) {
	w.T.Helper()
	it, value, err := w.secrets.Get(w.Ctx, w.call(), secret.Selector{Name: name}, nil)
	w.do(err)
	return it, value
}

func TestSelfSignedAtOnce(t *testing.T) {
	w := newWorld(t)
	begun := w.create("web", policy("self"))
	if begun.Status != cert.InProgress || begun.Details == "" || len(begun.CSR) == 0 || begun.Cancelled {
		t.Errorf("what Create returns: %+v", begun)
	}
	if op := w.operation("web"); op.Status != cert.Completed || op.Version != begun.Version {
		t.Errorf("the operation after it: %+v", op)
	}
	it, p, f := w.get("web")
	leaf, err := x509.ParseCertificate(f.Leaf)
	w.do(err)
	if it.Version.ID != begun.Version || leaf.Subject.String() != "CN=shop.example,O=Shop" || leaf.VerifyHostname("shop.example") != nil || it.Version.Tags["team"] != "web" {
		t.Errorf("version %s, subject %s, tags %v", it.Version.ID, leaf.Subject, it.Version.Tags)
	}
	if a := it.Version.Attributes; !a.Expires.Equal(leaf.NotAfter) || !a.NotBefore.Equal(leaf.NotBefore) || !a.Enabled {
		t.Errorf("attributes %+v, validity %s to %s", a, leaf.NotBefore, leaf.NotAfter)
	}
	if p.Issuer.Name != "self" || p.Secret.ContentType != cert.TypePFX || p.Key.Curve != "P-256" {
		t.Errorf("policy %+v", p)
	}
	k, err := w.keys.Get(w.Ctx, w.call(), key.Selector{Name: "web"})
	w.do(err)
	if !k.Object.Managed || k.Version.ID != begun.Version {
		t.Errorf("key %+v %s", k.Object, k.Version.ID)
	}
	s, value := w.secretOf("web")
	if !s.Object.Managed || s.Version.ID != begun.Version || s.Version.ContentType != cert.TypePFX {
		t.Errorf("secret %+v %+v", s.Object, s.Version)
	}
	der, err := base64.StdEncoding.DecodeString(string(value))
	w.do(err)
	b, err := certfile.ReadPFX(der, "", false)
	w.do(err)
	if !bytes.Equal(b.Leaf.Raw, f.Leaf) || b.Key == nil || !certfile.Matches(b.Leaf, b.Key.Public()) {
		t.Error("the secret holds another certificate, or not its key")
	}
}

// What stands behind a certificate changes with it alone.
func TestThreeSidesLiveTogether(t *testing.T) {
	w := newWorld(t)
	w.create("web", policy("Self"))
	_, err := w.secrets.Set(w.Ctx, w.call(), "web", secret.Input{Value: []byte("x"), Enabled: true})
	w.fails(err, fault.Forbidden, "")
	_, err = w.keys.Delete(w.Ctx, w.call(), "web")
	w.fails(err, fault.Forbidden, "")
	_, err = w.keys.Create(w.Ctx, w.call(), "plain", key.Spec{Kty: "EC"}, key.Input{Enabled: true})
	w.do(err)
	_, _, err = w.svc.Create(w.Ctx, w.call(), "plain", cert.Input{Policy: policy("Self")})
	w.fails(err, fault.Conflict, "ObjectAlreadyExists")

	no := false
	_, _, err = w.svc.Update(w.Ctx, w.call(), cert.Selector{Name: "web"}, cert.Change{Enabled: &no, Tags: map[string]string{"a": "b"}})
	w.do(err)
	_, _, err = w.secrets.Get(w.Ctx, w.call(), secret.Selector{Name: "web"}, nil)
	w.fails(err, fault.Forbidden, "SecretDisabled")
	k, err := w.keys.Get(w.Ctx, w.call(), key.Selector{Name: "web"})
	w.do(err)
	if k.Version.Attributes.Enabled || k.Version.Tags["a"] != "b" {
		t.Errorf("the key did not follow: %+v", k.Version)
	}

	_, _, err = w.svc.Delete(w.Ctx, w.call(), "web")
	w.do(err)
	_, err = w.keys.Get(w.Ctx, w.call(), key.Selector{Name: "web"})
	w.fails(err, fault.NotFound, "KeyNotFound")
	gone, err := w.secrets.GetDeleted(w.Ctx, w.call(), "web")
	w.do(err)
	_, _, err = w.svc.Create(w.Ctx, w.call(), "web", cert.Input{Policy: policy("Self")})
	w.fails(err, fault.Conflict, "ObjectIsDeletedButRecoverable")
	_, _, err = w.svc.Recover(w.Ctx, w.call(), "web")
	w.do(err)
	k, err = w.keys.Get(w.Ctx, w.call(), key.Selector{Name: "web"})
	w.do(err)
	if k.Object.Deleted != nil || gone.Object.Deleted == nil {
		t.Errorf("recovered with %+v", k.Object.Deleted)
	}
	_, _, err = w.svc.Delete(w.Ctx, w.call(), "web")
	w.do(err)
	w.do(w.svc.Purge(w.Ctx, w.call(), "web"))
	_, err = w.keys.GetDeleted(w.Ctx, w.call(), "web")
	w.fails(err, fault.NotFound, "KeyNotFound")
	w.create("web", policy("Self"))
}

// Over ten years a certificate is renewed in time, each time once.
func TestRenewalOverTenYears(t *testing.T) {
	w := newWorld(t)
	w.create("web", policy("Self", func(p *cert.Policy) {
		p.X509.Months, p.Actions = 3, []cert.Action{{DaysBefore: 30, Do: cert.AutoRenew}}
	}))
	current, _, _ := w.get("web")
	made, versions := w.now.Now(), 1
	for range 10 * 365 {
		if now := w.now.Now(); now.After(current.Version.Attributes.Expires.Add(-29 * day)) {
			t.Fatalf("at %s version %s still counts, which expires at %s", now, current.Version.ID, current.Version.Attributes.Expires)
		}
		w.now.Advance(day)
		if n, err := w.svc.Due(w.Ctx); err != nil || n == 0 {
			w.do(err)
			continue
		}
		it, _, _ := w.get("web")
		if it.Version.ID == current.Version.ID {
			continue
		}
		if age := w.now.Now().Sub(made); age < 50*day {
			t.Fatalf("renewed at %s, %s after the last time", w.now.Now(), age)
		}
		current, made, versions = it, w.now.Now(), versions+1
	}
	if versions < 55 || versions > 65 {
		t.Errorf("%d versions in ten years of 60 days each", versions)
	}
}
