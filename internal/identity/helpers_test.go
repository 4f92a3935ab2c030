package identity_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

const (
	resource = "https://vault.test:8443"
	endpoint = "https://login.test:8443/adfs/oauth2/token"
)

var (
	here  = netip.MustParseAddr("192.0.2.1")
	there = netip.MustParseAddr("198.51.100.7")
)

// world is an installation with one tenant, whose clock the test moves.
type world struct {
	t      testing.TB
	ctx    context.Context
	clock  *clock.Manual
	store  store.Store
	svc    *identity.Service
	audit  *auditor
	tenant vault.TenantID
	vaults *identity.AudienceSet
	// roams makes each request of a person come from another address, for tests of what is right and not of how often.
	roams  bool
	roamed [2]byte
	// forgive is a secret that signInOnce made.
	forgive redact.String
}

type auditor struct {
	mu     sync.Mutex
	events []identity.SignInEvent
	fail   error
	locked []string
}

func (a *auditor) SignIn(_ context.Context, e identity.SignInEvent) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.events = append(a.events, e)
	return a.fail
}

func (a *auditor) last() identity.SignInEvent {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.events[len(a.events)-1]
}

func newWorld(t testing.TB, options ...func(*identity.Config)) *world {
	t.Helper()
	w := &world{t: t, ctx: context.Background(), clock: clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)),
		audit: &auditor{}, tenant: vault.NewTenantID(), vaults: identity.VaultAudiences(resource)}
	var keys identity.Keys
	w.store, keys = openStore(t, w.clock, w.tenant)
	c := identity.Config{Store: w.store, Keys: keys, Auditor: w.audit, Clock: w.clock,
		Issuer: func(t vault.TenantID) string { return "https://sts.test/" + string(t) + "/" },
		Locked: func(kind string) { w.audit.locked = append(w.audit.locked, kind) }}
	for _, o := range options {
		o(&c)
	}
	var err error
	w.svc, err = identity.New(c)
	w.must(err)
	t.Cleanup(w.store.Watch(w.svc.Changed))
	return w
}

// from says where a person's next request comes from.
func (w *world) from() identity.From {
	if w.roams {
		if w.roamed[1]++; w.roamed[1] == 0 {
			w.roamed[0]++
		}
	}
	return identity.From{Address: netip.AddrFrom4([4]byte{203, 0, w.roamed[0], w.roamed[1]})}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) apply(changes ...identity.Change) {
	w.t.Helper()
	w.must(w.svc.Apply(w.ctx, nil, changes...))
}

func (w *world) make(spec identity.Spec) *principal.Principal {
	w.t.Helper()
	spec.Tenant = w.tenant
	if spec.Name == "" {
		spec.Name = "test"
	}
	p, change, err := w.svc.PreparePrincipal(spec)
	w.must(err)
	w.apply(change)
	return p
}

// app makes a service principal with one secret.
func (w *world) app() (*principal.Principal, redact.String) {
	w.t.Helper()
	p := w.make(identity.Spec{Kind: principal.Service})
	return p, w.secret(p)
}

func (w *world) secret(p *principal.Principal) redact.String {
	w.t.Helper()
	value, _, change, err := w.svc.PrepareSecret(w.ctx, w.tenant, p.ID, identity.SecretSpec{})
	w.must(err)
	w.apply(change)
	return value
}

func (w *world) signIn(p *principal.Principal, secret redact.String) *identity.Token {
	w.t.Helper()
	token, err := w.try(p.AppID, secret)
	w.must(err)
	return token
}

func (w *world) try(appID string, secret redact.String) (*identity.Token, error) {
	return w.svc.ClientCredentials(w.ctx, identity.ClientRequest{Tenant: w.tenant, ClientID: appID, Secret: secret,
		Resource: resource, From: identity.From{Address: here}})
}

func (w *world) assert(appID, assertion string, from netip.Addr) (*identity.Token, error) {
	return w.svc.ClientCredentials(w.ctx, identity.ClientRequest{Tenant: w.tenant, ClientID: appID,
		Assertion: redact.String(assertion), Resource: resource, Endpoints: []string{endpoint}, From: identity.From{Address: from}})
}

// reason checks that err has the reason; an empty one wants no error.
func reason(t testing.TB, err error, want fault.Reason) {
	t.Helper()
	var got fault.Reason
	if f := fault.As(err); f != nil {
		got = f.Reason
	}
	if got != want || want == "" && err != nil {
		t.Fatalf("got %v (reason %q), want reason %q", err, got, want)
	}
}

// payload reads the claims of a JWT without checking it.
func payload(t testing.TB, token string) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(unbase64(t, strings.Split(token, ".")[1]), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func selfSigned(t testing.TB, key crypto.Signer, from, to time.Time) []byte {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
