// Package guardtest is an installation for tests of the guard and of what stands on it: a real store, a real keyring, a
// tenant with one vault, and an audit log that remembers what it was told.
package guardtest

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// VaultName is the name of the vault.
const VaultName = "Shop"

// Options change an installation. The zero value is the usual one.
type Options struct {
	Clock  clock.Clock
	Limits guard.Limits
	Faults sqlite.Faults
	// CachedKeys is the keyring's; 0 means its default.
	CachedKeys int
	// Customers are the keyring's; nil for none.
	Customers keyring.Customers
	// Wrap, when not nil, stands between the guard and the store.
	Wrap func(store.Store) store.Store
}

// World is the installation.
type World struct {
	T     testing.TB
	Ctx   context.Context
	Store store.Store
	Keys  *keyring.Keyring
	Guard *guard.Guard
	Audit *Log
	Clock clock.Clock
	// Vault is the vault as it was made.
	Vault *vault.Vault
}

// New makes an installation that ends with the test. The keyring and the guard follow the store's commits.
func New(t testing.TB, o Options) *World {
	t.Helper()
	dir := t.TempDir()
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	opened, err := sqlite.Open(sqlite.Config{Dir: filepath.Join(dir, "store"), Faults: o.Faults})
	must(t, err)
	t.Cleanup(func() { must(t, opened.Close()) })
	w := &World{T: t, Ctx: context.Background(), Store: opened, Clock: o.Clock, Audit: &Log{}}
	if o.Wrap != nil {
		w.Store = o.Wrap(opened)
	}
	key := filepath.Join(dir, "seal.key")
	must(t, keyfile.Create(key))
	s, err := keyfile.New(keyfile.Config{Files: []string{key}})
	must(t, err)
	w.Keys, err = keyring.Open(w.Ctx, keyring.Config{Store: opened, Seal: s, Clock: o.Clock, CachedKeys: o.CachedKeys, Customers: o.Customers})
	must(t, err)
	w.Guard, err = guard.New(guard.Config{Store: w.Store, Audit: w.Audit, Clock: o.Clock, Logger: slog.New(slog.DiscardHandler), Limits: o.Limits})
	must(t, err)
	w.Watch(w.Keys.Changed)
	w.Watch(w.Guard.Changed)
	w.makeVault()
	return w
}

// Watch hooks a cache to the store's commits.
func (w *World) Watch(changed func(*store.Commit)) { w.T.Cleanup(w.Store.Watch(changed)) }

func (w *World) makeVault() {
	op := w.op()
	tenant := vault.NewTenantID()
	keys, err := w.Keys.NewTenantKeys(w.Ctx, tenant, op.At)
	must(w.T, err)
	w.Change(func(tx store.Tx) error {
		for _, k := range keys {
			if err := tx.PutWrappedKey(w.Ctx, k); err != nil {
				return err
			}
		}
		return tx.PutTenant(w.Ctx, &vault.Tenant{ID: tenant, Name: "Contoso", Created: op.At})
	})
	w.Vault = w.AddVault(tenant, vault.NewSubscriptionID(), VaultName)
}

// AddVault makes a vault, and its subscription where it is new.
func (w *World) AddVault(tenant vault.TenantID, subscription vault.SubscriptionID, name string) *vault.Vault {
	op := w.op()
	v := &vault.Vault{ID: vault.NewID(op.At), Tenant: tenant, Subscription: subscription, ResourceGroup: "Group", Name: name,
		Location: "local", Access: vault.AccessByRole, Network: vault.OpenNetwork(), RetentionDays: 90, Created: op.At, Updated: op.At}
	key, err := w.Keys.NewVaultKey(w.Ctx, v.Tenant, v.ID, op.At)
	must(w.T, err)
	w.Change(func(tx store.Tx) error {
		return errors.Join(
			tx.PutSubscription(w.Ctx, &vault.Subscription{ID: v.Subscription, Tenant: tenant, Name: "Production", Created: op.At}),
			tx.PutResourceGroup(w.Ctx, &vault.ResourceGroup{Subscription: v.Subscription, Name: v.ResourceGroup, Location: "local", Created: op.At}),
			tx.PutVault(w.Ctx, v), tx.PutWrappedKey(w.Ctx, key))
	})
	return w.ReadVault(v.ID)
}

// ReadVault reads the vault as it is now.
func (w *World) ReadVault(id vault.ID) (v *vault.Vault) {
	must(w.T, w.Store.View(w.Ctx, func(tx store.Tx) (err error) {
		v, err = tx.Vault(w.Ctx, id)
		return err
	}))
	return v
}

// EditVault changes the vault.
func (w *World) EditVault(edit func(*vault.Vault)) {
	v := w.ReadVault(w.Vault.ID).Clone()
	edit(v)
	w.Change(func(tx store.Tx) error { return tx.PutVault(w.Ctx, v) })
}

func (w *World) op() store.Op { return store.NewOp(w.Clock.Now()) }

// Change commits fn.
func (w *World) Change(fn func(store.Tx) error) {
	w.T.Helper()
	must(w.T, w.Store.Update(w.Ctx, w.op(), fn))
}

// Caller makes a caller that holds the roles on the vault.
func (w *World) Caller(roles ...string) *guard.Caller {
	c := &guard.Caller{Principal: principal.ID(vault.NewGUID()), Tenant: w.Vault.Tenant, Kind: principal.Service, AppID: vault.NewGUID(),
		Issuer: "https://issuer.test", Expires: w.Clock.Now().Add(1000 * time.Hour)}
	for _, role := range roles {
		w.Grant(c, role, nil)
	}
	return c
}

// Grant gives a caller a role on the vault and returns the grant. edit may change it first.
func (w *World) Grant(c *guard.Caller, role string, edit func(*principal.Grant)) *principal.Grant {
	w.T.Helper()
	op := w.op()
	g := &principal.Grant{ID: vault.NewGUID(), Tenant: w.Vault.Tenant, Scope: w.Vault.Scope(), Role: role, Principal: c.Principal,
		PrincipalKind: c.Kind, Created: op.At, Updated: op.At}
	if edit != nil {
		edit(g)
	}
	w.Change(func(tx store.Tx) error { return tx.PutGrant(w.Ctx, g) })
	return g
}

// Call is a request of the caller to the vault, which begins now.
func (w *World) Call(c *guard.Caller) *guard.Call {
	w.T.Helper()
	view, err := w.Guard.View(w.Ctx, w.Vault.Name)
	must(w.T, err)
	return &guard.Call{Caller: c, Vault: view, Address: netip.MustParseAddr("192.0.2.7"), Door: "test", Operation: "Test",
		Correlation: vault.NewGUID(), Started: w.Clock.Now()}
}

// Entry is the part of an audit record of a change that tests look at.
type Entry struct {
	ID                     string
	Action, Name, Version  string
	Outcome, Reason, Kind  string
	Principal, VaultID     string
	Detail                 string
	Correlation, CallerApp string
}

// EntryOf is what tests look at of a record.
func EntryOf(r *audit.Record) Entry {
	return Entry{ID: r.ID.String(), Action: r.Action, Name: r.ObjectName, Version: r.Version, Outcome: r.Outcome.String(), Reason: r.Reason,
		Kind: r.ObjectKind, Principal: r.Caller.PrincipalID, VaultID: r.VaultID, Correlation: r.CorrelationID, CallerApp: r.Caller.AppID, Detail: r.Detail}
}

// Changes lists the audit records that were committed with changes, in order.
func (w *World) Changes() (list []Entry) {
	w.T.Helper()
	must(w.T, w.Store.View(w.Ctx, func(tx store.Tx) error {
		commits, err := tx.Commits(w.Ctx, 0, 0)
		for _, c := range commits {
			if len(c.Audit) == 0 {
				continue
			}
			var e Entry
			if err := json.Unmarshal(c.Audit, &e); err != nil {
				return err
			}
			list = append(list, e)
		}
		return err
	}))
	return list
}

// Log is an audit log in memory.
type Log struct {
	mu       sync.Mutex
	records  []Entry
	refusals []audit.Refusal
	broken   error
}

// Break makes every later record fail with err; nil mends the log.
func (l *Log) Break(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = err
}

// Append implements guard.Auditor.
func (l *Log) Append(_ context.Context, r *audit.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken == nil {
		l.records = append(l.records, EntryOf(r))
	}
	return l.broken
}

// Seal implements guard.Auditor. Its seal is JSON, so that tests can read it.
func (l *Log) Seal(r *audit.Record) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return nil, l.broken
	}
	return json.Marshal(EntryOf(r))
}

// Unauthenticated implements guard.Auditor.
func (l *Log) Unauthenticated(r audit.Refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusals = append(l.refusals, r)
}

// Take returns the records of reads and refusals since the last call, and forgets them.
func (l *Log) Take() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	records := l.records
	l.records = nil
	return records
}

// Refusals returns the counted refusals since the last call, and forgets them.
func (l *Log) Refusals() []audit.Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	refusals := l.refusals
	l.refusals = nil
	return refusals
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
