// Package tenancytest builds a small installation for the tests of what stands on the tenancy service: the embedded store, the
// keyring, the guard, and the services, with an audit log that keeps its records in memory.
package tenancytest

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

// Location is where everything of a world is.
const Location = "local"

// World is an installation whose clock the test moves.
type World struct {
	testing.TB
	Ctx      context.Context
	Clock    *clock.Manual
	Store    *sqlite.Store
	Keys     *keyring.Keyring
	Audit    *Auditor
	Guard    *guard.Guard
	Identity *identity.Service
	Access   *access.Service
	Tenancy  *tenancy.Service
	Secrets  *secret.Service
	// CryptoKeys is the service of keys that vaults hold.
	CryptoKeys *key.Service
	// Home is the first tenant.
	Home *Tenant
}

// Tenant is a tenant with one subscription, the resource group "dev", and an owner of everything in it.
type Tenant struct {
	*World
	ID           vault.TenantID
	Subscription vault.SubscriptionID
	Group        tenancy.GroupRef
	// Owner is Owner at the tenant's own scope.
	Owner *Person
}

// Person is a principal with a client secret.
type Person struct {
	*Tenant
	*principal.Principal
	Secret redact.String
}

// New builds a world.
func New(t testing.TB) *World {
	t.Helper()
	w := &World{TB: t, Ctx: context.Background(), Clock: clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)), Audit: &Auditor{}}
	dir := t.TempDir()
	var err error
	w.Store, err = sqlite.Open(sqlite.Config{Dir: filepath.Join(dir, "store")})
	w.Must(err)
	t.Cleanup(func() { w.Store.Close() })
	file := filepath.Join(dir, "seal.key")
	w.Must(keyfile.Create(file))
	seal, err := keyfile.New(keyfile.Config{Files: []string{file}})
	w.Must(err)
	custody := new(key.Custody)
	w.Keys, err = keyring.Open(w.Ctx, keyring.Config{Store: w.Store, Seal: seal, Clock: w.Clock, Customers: custody})
	w.Must(err)
	w.Guard, err = guard.New(guard.Config{Store: w.Store, Audit: w.Audit, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler)})
	w.Must(err)
	w.Identity, err = identity.New(identity.Config{Store: w.Store, Keys: w.Keys, Auditor: w.Audit, Clock: w.Clock,
		Issuer: func(t vault.TenantID) string { return "https://sts.test/" + string(t) + "/" }})
	w.Must(err)
	w.Access, err = access.New(access.Config{Guard: w.Guard, Store: w.Store, Clock: w.Clock})
	w.Must(err)
	w.Secrets, err = secret.New(secret.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock})
	w.Must(err)
	w.CryptoKeys, err = key.New(key.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler), Custody: custody})
	w.Must(err)
	w.Tenancy, err = tenancy.New(tenancy.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock, Identities: tenancy.FromIdentity(w.Identity),
		Duties: w.Access, Logger: slog.New(slog.DiscardHandler)})
	w.Must(err)
	for _, changed := range []func(*store.Commit){w.Keys.Changed, w.Guard.Changed, w.Identity.Changed, w.Secrets.Changed, w.CryptoKeys.Changed} {
		t.Cleanup(w.Store.Watch(changed))
	}
	w.Home = w.Tenant("home")
	return w
}

// Must fails the test when err is not nil.
func (w *World) Must(err error) {
	w.TB.Helper()
	if err != nil {
		w.TB.Fatal(err)
	}
}

// Reason fails the test unless err has the reason.
func (w *World) Reason(err error, want fault.Reason) {
	w.TB.Helper()
	if e := fault.As(err); e == nil || e.Reason != want {
		w.TB.Fatalf("got %v, want the reason %s", err, want)
	}
}

// Tenant makes another tenant.
func (w *World) Tenant(name string) *Tenant {
	w.TB.Helper()
	made, err := w.Tenancy.FoundTenant(w.Ctx, tenancy.TenantSpec{Name: name})
	w.Must(err)
	sub, err := w.Tenancy.FoundSubscription(w.Ctx, made.ID, "", name)
	w.Must(err)
	t := &Tenant{World: w, ID: made.ID, Subscription: sub.ID, Group: tenancy.GroupRef{Subscription: sub.ID, Group: "dev"}}
	_, err = w.Tenancy.FoundGroup(w.Ctx, t.ID, t.Group, Location)
	w.Must(err)
	w.Must(w.Identity.EnsureKeys(w.Ctx, t.ID))
	t.Owner = t.Person("owner")
	t.Grant(t.Owner, authz.Owner, "/")
	return t
}

// Person makes a service principal with a client secret.
func (t *Tenant) Person(name string) *Person {
	t.TB.Helper()
	p, create, err := t.Identity.PreparePrincipal(identity.Spec{Tenant: t.ID, Kind: principal.Service, Name: name})
	t.Must(err)
	t.Must(t.Identity.Apply(t.Ctx, nil, create))
	value, _, add, err := t.Identity.PrepareSecret(t.Ctx, t.ID, p.ID, identity.SecretSpec{})
	t.Must(err)
	t.Must(t.Identity.Apply(t.Ctx, nil, add))
	return &Person{Tenant: t, Principal: p, Secret: value}
}

// Other makes a user or group.
func (t *Tenant) Other(kind principal.Kind, name string) *principal.Principal {
	t.TB.Helper()
	spec := identity.Spec{Tenant: t.ID, Kind: kind, Name: name}
	if kind == principal.User {
		spec.UPN = name + "@example.org"
	}
	p, create, err := t.Identity.PreparePrincipal(spec)
	t.Must(err)
	t.Must(t.Identity.Apply(t.Ctx, nil, create))
	return p
}

// Join makes a principal a member of a group.
func (t *Tenant) Join(group *principal.Principal, member principal.ID) {
	t.TB.Helper()
	t.Must(t.Identity.Apply(t.Ctx, nil, t.Identity.PrepareMember(t.ID, group.ID, member, true)))
}

// Grant gives a role without asking anybody.
func (t *Tenant) Grant(to *Person, role, scope string) *principal.Grant {
	t.TB.Helper()
	g := &principal.Grant{ID: vault.NewGUID(), Tenant: t.ID, Scope: scope, Role: role, Principal: to.Principal.ID, PrincipalKind: to.Kind}
	t.Must(t.Store.Update(t.Ctx, store.NewOp(t.Clock.Now()), func(tx store.Tx) error { return tx.PutGrant(t.Ctx, g) }))
	return g
}

// Call returns a call of the person, in the groups that it is in.
func (p *Person) Call(operation string, groups ...principal.ID) *guard.Call {
	return &guard.Call{Caller: &guard.Caller{Principal: p.Principal.ID, Tenant: p.Tenant.ID, Kind: p.Kind, AppID: p.AppID, Groups: groups, Expires: p.Clock.Now().Add(time.Hour)},
		Door: "test", Operation: operation, Correlation: vault.NewGUID(), Started: p.Clock.Now()}
}

// Token signs the person in for a resource.
func (p *Person) Token(resource string) string {
	p.TB.Helper()
	t, err := p.Identity.ClientCredentials(p.Ctx, identity.ClientRequest{Tenant: p.Tenant.ID, ClientID: p.AppID, Secret: p.Secret, Resource: resource,
		From: identity.From{Address: netip.MustParseAddr("192.0.2.1")}})
	p.Must(err)
	return t.Access.Reveal()
}

// Vault names a vault of the tenant's group.
func (t *Tenant) Vault(name string) tenancy.VaultRef {
	return tenancy.VaultRef{GroupRef: t.Group, Name: name}
}

// MakeVault makes a vault that uses roles, as the owner.
func (t *Tenant) MakeVault(name string) *vault.Vault {
	t.TB.Helper()
	v, _, err := t.Tenancy.PutVault(t.Ctx, t.Owner.Call("VaultPut"), t.Vault(name), tenancy.VaultSpec{})
	t.Must(err)
	return v
}

// Auditor keeps audit records in memory.
type Auditor struct {
	// Sealing, when set, runs before the transaction of each change.
	Sealing func(*audit.Record)
	// Refusing, when set, may make a change's record impossible, and with it the change.
	Refusing func(*audit.Record) error

	mu      sync.Mutex
	records []audit.Record
	sealed  int
	refused int
}

// Append implements guard.Auditor.
func (a *Auditor) Append(_ context.Context, r *audit.Record) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.records = append(a.records, *r)
	return nil
}

// Seal implements guard.Auditor. The record is kept at once, although the transaction may fail yet.
func (a *Auditor) Seal(r *audit.Record) ([]byte, error) {
	if a.Sealing != nil {
		a.Sealing(r)
	}
	if a.Refusing != nil {
		if err := a.Refusing(r); err != nil {
			return nil, err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sealed++
	a.records = append(a.records, *r)
	return json.Marshal(r)
}

// Unauthenticated implements guard.Auditor.
func (a *Auditor) Unauthenticated(audit.Refusal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused++
}

// SignIn implements identity.Auditor.
func (a *Auditor) SignIn(context.Context, identity.SignInEvent) error { return nil }

// Records returns the records of an action.
func (a *Auditor) Records(action authz.Action) (found []audit.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.records {
		if r.Action == action.String() {
			found = append(found, r)
		}
	}
	return found
}
