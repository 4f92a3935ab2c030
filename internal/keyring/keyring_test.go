package keyring_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

var ctx = context.Background()

const grace = time.Hour

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// world is a keyring on a real store, hooked to it as the server does.
type world struct {
	*keyring.Keyring
	store store.Store
	clock *clock.Manual
	seal  seal.Seal
}

func newSeal(t testing.TB) seal.Seal {
	t.Helper()
	path := filepath.Join(t.TempDir(), "seal.key")
	if err := keyfile.Create(path); err != nil {
		t.Fatal(err)
	}
	s, err := keyfile.New(keyfile.Config{Files: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newStore(t testing.TB) store.Store {
	t.Helper()
	s, err := sqlite.Open(sqlite.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{store: newStore(t), seal: newSeal(t), clock: clock.NewManual(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))}
	w.Keyring = w.open(t, w.seal)
	return w
}

// open opens another keyring on the same store, as another node or a restarted one would.
func (w *world) open(t testing.TB, s seal.Seal) *keyring.Keyring {
	t.Helper()
	k, err := keyring.Open(ctx, keyring.Config{Store: w.store, Seal: s, Clock: w.clock, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.store.Watch(k.Changed))
	return k
}

func (w *world) update(t fataler, fn func(store.Tx) error) {
	t.Helper()
	if err := w.store.Update(ctx, store.NewOp(w.clock.Now()), fn); err != nil {
		t.Fatalf("updating the store: %v", err)
	}
}

func (w *world) tenant(t fataler) vault.TenantID {
	t.Helper()
	id := vault.NewTenantID()
	keys, err := w.NewTenantKeys(ctx, id, w.clock.Now())
	if err != nil {
		t.Fatalf("NewTenantKeys: %v", err)
	}
	w.update(t, func(tx store.Tx) error {
		for _, k := range keys {
			if err := tx.PutWrappedKey(ctx, k); err != nil {
				return err
			}
		}
		return tx.PutTenant(ctx, &vault.Tenant{ID: id, Name: "t", Created: w.clock.Now()})
	})
	return id
}

func (w *world) vault(t fataler, tenant vault.TenantID) vault.ID {
	t.Helper()
	id := vault.NewID(w.clock.Now())
	k, err := w.NewVaultKey(ctx, tenant, id, w.clock.Now())
	if err != nil {
		t.Fatalf("NewVaultKey: %v", err)
	}
	w.update(t, func(tx store.Tx) error {
		if err := tx.PutWrappedKey(ctx, k); err != nil {
			return err
		}
		return tx.PutVault(ctx, &vault.Vault{ID: id, Tenant: tenant, Name: "v" + string(id[12:32]), RetentionDays: 90})
	})
	return id
}

// secret stores a sealed value and returns where.
func (w *world) secret(t fataler, tenant vault.TenantID, id vault.ID, value string) keyring.Place {
	t.Helper()
	return w.object(t, tenant, id, vault.Secret, value)
}

// object is secret for any kind.
func (w *world) object(t fataler, tenant vault.TenantID, id vault.ID, kind vault.Kind, value string) keyring.Place {
	t.Helper()
	p := keyring.Place{Tenant: tenant, Vault: id, Object: vault.NewObjectID(w.clock.Now()), Version: vault.NewVersionID(w.clock.Now())}
	env, err := w.Seal(ctx, p, []byte(value))
	if err != nil {
		t.Fatalf("Seal: %v", err)
	}
	w.update(t, func(tx store.Tx) error {
		o := &vault.Object{ID: p.Object, Vault: id, Kind: kind, Name: "s" + string(p.Object), Current: p.Version}
		if err := tx.PutObject(ctx, o); err != nil {
			return err
		}
		return tx.AddVersion(ctx, &vault.Version{ID: p.Version, Object: p.Object, Value: env})
	})
	return p
}

func (w *world) envelope(t fataler, p keyring.Place) (env vault.Envelope) {
	t.Helper()
	err := w.store.View(ctx, func(tx store.Tx) error {
		v, err := tx.Version(ctx, p.Object, p.Version)
		if err == nil {
			env = v.Value
		}
		return err
	})
	if err != nil {
		t.Fatalf("reading version: %v", err)
	}
	return env
}

func (w *world) keys(t fataler, purpose store.KeyPurpose, owner string) (rows []*store.WrappedKey) {
	t.Helper()
	err := w.store.View(ctx, func(tx store.Tx) (err error) {
		rows, err = tx.WrappedKeys(ctx, purpose, owner)
		return err
	})
	if err != nil {
		t.Fatalf("listing keys: %v", err)
	}
	return rows
}

func (w *world) destroy(t fataler, purpose store.KeyPurpose, owner string) {
	t.Helper()
	rows := w.keys(t, purpose, owner)
	w.update(t, func(tx store.Tx) error {
		for _, r := range rows {
			if err := tx.DeleteWrappedKey(ctx, r.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

func mustOpen(t fataler, k *keyring.Keyring, p keyring.Place, env vault.Envelope, want string) {
	t.Helper()
	got, err := k.Open(ctx, p, env)
	if err != nil || string(got) != want {
		t.Fatalf("Open = %q, %v; want %q", got, err, want)
	}
}

func TestValuesOpenInTheirPlaceAlone(t *testing.T) {
	w := newWorld(t)
	tenant, other := w.tenant(t), w.tenant(t)
	v1, v2 := w.vault(t, tenant), w.vault(t, tenant)
	p := keyring.Place{Tenant: tenant, Vault: v1, Object: vault.NewObjectID(w.clock.Now()), Version: vault.NewVersionID(w.clock.Now())}
	env, err := w.Seal(ctx, p, []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	mustOpen(t, w.Keyring, p, env, "value")
	mustOpen(t, w.open(t, w.seal), p, env, "value")
	if _, err := w.Seal(ctx, keyring.Place{Tenant: other, Vault: v1, Object: p.Object, Version: p.Version}, nil); !errors.Is(err, keyring.ErrDamaged) {
		t.Errorf("sealing into another tenant's vault: %v", err)
	}

	refuse := func(what string, p keyring.Place, env vault.Envelope) {
		t.Helper()
		if got, err := w.Open(ctx, p, env); err == nil || got != nil {
			t.Errorf("%s: Open = %q, %v", what, got, err)
		}
		if o, err := w.Opener(ctx, p, env); err == nil {
			if got, err := o.Open(nil, env.Ciphertext); !errors.Is(err, keyring.ErrDamaged) || got != nil {
				t.Errorf("%s: Opener.Open = %q, %v", what, got, err)
			}
		}
	}
	moved := map[string]func(*keyring.Place){
		"tenant":  func(p *keyring.Place) { p.Tenant = other },
		"vault":   func(p *keyring.Place) { p.Vault = v2 },
		"object":  func(p *keyring.Place) { p.Object = vault.NewObjectID(w.clock.Now()) },
		"version": func(p *keyring.Place) { p.Version = vault.NewVersionID(w.clock.Now()) },
	}
	for field, move := range moved {
		q := p
		move(&q)
		refuse("another "+field, q, env)
	}
	otherKey := w.keys(t, store.VaultKey, string(v2))[0].ID
	refuse("another vault's key named", p, vault.Envelope{Key: otherKey, WrappedKey: env.WrappedKey, Ciphertext: env.Ciphertext})
	refuse("no key", p, vault.Envelope{})
	second, err := w.Seal(ctx, p, []byte("value"))
	if err != nil || bytes.Equal(second.Ciphertext, env.Ciphertext) || bytes.Equal(second.WrappedKey, env.WrappedKey) {
		t.Fatalf("a second Seal is not fresh: %v", err)
	}
	refuse("another value's data key", p, vault.Envelope{Key: env.Key, WrappedKey: second.WrappedKey, Ciphertext: env.Ciphertext})
	for i := range env.Ciphertext {
		bad := env
		bad.Ciphertext = bytes.Clone(env.Ciphertext)
		bad.Ciphertext[i] ^= 1
		refuse("changed ciphertext", p, bad)
		bad.Ciphertext = env.Ciphertext[:i]
		refuse("cut ciphertext", p, bad)
	}
	for i := range env.WrappedKey {
		bad := env
		bad.WrappedKey = bytes.Clone(env.WrappedKey)
		bad.WrappedKey[i] ^= 0x80
		refuse("changed data key", p, bad)
		bad.WrappedKey = env.WrappedKey[:i]
		refuse("cut data key", p, bad)
	}
}

// A row of the key table that was changed in any field that matters opens nothing.
func TestKeyRowsAreBound(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id, other := w.vault(t, tenant), w.vault(t, tenant)
	p := w.secret(t, tenant, id, "value")
	env := w.envelope(t, p)
	row, foreign := w.keys(t, store.VaultKey, string(id))[0], w.keys(t, store.VaultKey, string(other))[0]
	put := func(change func(*store.WrappedKey)) {
		next := *row
		change(&next)
		w.update(t, func(tx store.Tx) error { return tx.PutWrappedKey(ctx, &next) })
	}
	changes := map[string]func(*store.WrappedKey){
		"wrap of another": func(k *store.WrappedKey) { k.Wrapped = foreign.Wrapped },
		"owner":           func(k *store.WrappedKey) { k.Owner = string(other) },
		"purpose":         func(k *store.WrappedKey) { k.Purpose = store.BackupKey },
		"parent":          func(k *store.WrappedKey) { k.Parent = w.keys(t, store.TenantKey, string(w.tenant(t)))[0].ID },
		"parent itself":   func(k *store.WrappedKey) { k.Parent = k.ID },
	}
	for name, change := range changes {
		put(change)
		if got, err := w.Open(ctx, p, env); err == nil {
			t.Errorf("%s changed: opened %q", name, got)
		}
		put(func(*store.WrappedKey) {})
		mustOpen(t, w.Keyring, p, env, "value")
	}
}

func TestShreddingReachesOpeners(t *testing.T) {
	for _, purpose := range []store.KeyPurpose{store.VaultKey, store.TenantKey} {
		t.Run(string(purpose), func(t *testing.T) {
			w := newWorld(t)
			tenant := w.tenant(t)
			id := w.vault(t, tenant)
			p := w.secret(t, tenant, id, "value")
			env := w.envelope(t, p)
			o, err := w.Opener(ctx, p, env)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := o.Open(nil, env.Ciphertext); err != nil || string(got) != "value" {
				t.Fatalf("Opener.Open = %q, %v", got, err)
			}
			owner := string(id)
			if purpose == store.TenantKey {
				owner = string(tenant)
			}
			w.destroy(t, purpose, owner)
			if got, err := o.Open(nil, env.Ciphertext); !errors.Is(err, keyring.ErrStale) || got != nil || !o.Stale() {
				t.Errorf("a kept opener: %q, %v", got, err)
			}
			if _, err := w.Open(ctx, p, env); !fault.Is(err, fault.Gone) {
				t.Errorf("Open: %v", err)
			}
			if _, err := w.Opener(ctx, p, env); !fault.Is(err, fault.Gone) {
				t.Errorf("Opener: %v", err)
			}
			if _, err := w.Seal(ctx, p, nil); !fault.Is(err, fault.Gone) {
				t.Errorf("Seal: %v", err)
			}
			if _, err := w.RotateVaultKey(ctx, tenant, id, nil); !fault.Is(err, fault.Gone) {
				t.Errorf("RotateVaultKey brought a shredded vault back: %v", err)
			}
		})
	}
}

func TestLock(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	p := w.secret(t, tenant, w.vault(t, tenant), "value")
	env := w.envelope(t, p)
	o, err := w.Opener(ctx, p, env)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := w.SealAudit(nil, string(tenant), []byte("record"), nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Lock()
	calls := map[string]func() error{
		"Open":        func() error { _, err := w.Open(ctx, p, env); return err },
		"Opener":      func() error { _, err := w.Opener(ctx, p, env); return err },
		"Opener.Open": func() error { _, err := o.Open(nil, env.Ciphertext); return err },
		"Seal":        func() error { _, err := w.Seal(ctx, p, nil); return err },
		"Reseal":      func() error { _, err := w.Reseal(ctx, p, env); return err },
		"SealFor":     func() error { _, err := w.SealFor(ctx, tenant, "a", "b", nil); return err },
		"OpenFor":     func() error { _, err := w.OpenFor(ctx, tenant, "a", "b", env); return err },
		"SealAudit":   func() error { _, err := w.SealAudit(nil, string(tenant), nil, nil); return err },
		"OpenAudit":   func() error { _, err := w.OpenAudit(nil, string(tenant), sealed, nil); return err },
		"SealBackup":  func() error { _, err := w.SealBackup(ctx, tenant, "", nil); return err },
		"Digest":      func() error { _, err := w.Digest(ctx, tenant, "a", nil); return err },
		"RotateRoot":  func() error { _, err := w.RotateRoot(ctx, nil); return err },
		"Migrate":     func() error { return w.Migrate(ctx, w.seal, nil) },
		"Maintain":    func() error { _, err := w.Maintain(ctx); return err },
	}
	for name, call := range calls {
		if err := call(); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s on a locked keyring: %v", name, err)
		}
	}
	if !w.Locked() {
		t.Error("Locked is false")
	}
	if err := w.Unlock(ctx); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, w.Keyring, p, env, "value")
	if !o.Stale() {
		t.Error("an opener from before the lock works again")
	}
	if _, err := w.OpenAudit(nil, string(tenant), sealed, nil); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	if _, err := keyring.Open(ctx, keyring.Config{Store: w.store, Seal: newSeal(t)}); !fault.Is(err, fault.Invalid) {
		t.Errorf("with another key file: %v", err)
	}
	if _, err := keyring.Open(ctx, keyring.Config{Store: w.store, Seal: named{w.seal, "other"}}); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "keyfile") {
		t.Errorf("with a seal of another name: %v", err)
	}
	if _, err := keyring.Open(ctx, keyring.Config{Store: w.store}); !fault.Is(err, fault.Invalid) {
		t.Errorf("without a seal: %v", err)
	}
	w.destroy(t, store.RootKey, "installation")
	if _, err := keyring.Open(ctx, keyring.Config{Store: w.store, Seal: w.seal}); err == nil {
		t.Error("a store with tenants but without a root key got a new one")
	}
	if _, err := w.NewTenantKeys(ctx, tenant, w.clock.Now()); !fault.Is(err, fault.Gone) {
		t.Errorf("making keys under a root that is gone: %v", err)
	}
}

type named struct {
	seal.Seal
	name string
}

func (n named) Name() string { return n.name }

func TestNodesAgreeOnTheFirstRoot(t *testing.T) {
	s, sl := newStore(t), newSeal(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := keyring.Open(ctx, keyring.Config{Store: s, Seal: sl}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w := &world{store: s, clock: clock.NewManual(time.Now())}
	if roots := w.keys(t, store.RootKey, "installation"); len(roots) != 1 {
		t.Errorf("%d root keys", len(roots))
	}
	if audit := w.keys(t, store.AuditKey, "installation"); len(audit) != 1 {
		t.Errorf("%d audit keys", len(audit))
	}
}
