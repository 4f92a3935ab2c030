package keyring_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// customers is somebody who wraps by adding a version, and unwraps while nobody forbids it.
type customers struct {
	newest vault.VersionID
	broken map[vault.VersionID]error
	// through, when it is set, is asked for each unwrapping, as for a key in a vault that another key protects.
	through       func(ctx context.Context) error
	wraps, opened int
}

func (c *customers) Newest(_ context.Context, _ vault.TenantID, _ vault.ID, key vault.CustomerKey) (vault.VersionID, error) {
	if key.Version != "" {
		return key.Version, nil
	}
	return c.newest, nil
}

func (c *customers) mask(tenant vault.TenantID, by vault.ID, with *store.CustomerWrap, b []byte) []byte {
	pad := []byte(fmt.Sprint(tenant, by, with.Key.Key, with.Key.Version))
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= pad[i%len(pad)]
	}
	return out
}

func (c *customers) Wrap(ctx context.Context, tenant vault.TenantID, by vault.ID, key vault.CustomerKey, plain []byte) ([]byte, store.CustomerWrap, error) {
	c.wraps++
	if key.Version == "" {
		key.Version = c.newest
	}
	with := store.CustomerWrap{Key: key, Algorithm: "XOR"}
	return append([]byte("wrapped"), c.mask(tenant, by, &with, plain)...), with, c.broken[key.Version]
}

func (c *customers) Unwrap(ctx context.Context, tenant vault.TenantID, by vault.ID, with store.CustomerWrap, wrapped []byte) ([]byte, error) {
	c.opened++
	if c.through != nil {
		if err := c.through(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.broken[with.Key.Version]; err != nil {
		return nil, err
	}
	return c.mask(tenant, by, &with, wrapped[len("wrapped"):]), nil
}

var errWithdrawn = fault.New(fault.Forbidden, "the key was withdrawn")

// protected is a world with a vault that a customer's key protects, and a secret in it.
type protected struct {
	*world
	by     *customers
	tenant vault.TenantID
	vault  vault.ID
	row    *vault.Vault
	place  keyring.Place
}

func newProtected(t *testing.T) *protected {
	w := &protected{world: newWorld(t), by: &customers{newest: "v1", broken: map[vault.VersionID]error{}}}
	k, err := keyring.Open(ctx, keyring.Config{Store: w.store, Seal: w.seal, Clock: w.clock, Grace: grace, Customers: w.by})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.store.Watch(k.Changed))
	w.Keyring = k
	w.tenant = w.world.tenant(t)
	w.vault = w.world.vault(t, w.tenant)
	w.place = w.secret(t, w.tenant, w.vault, "value")
	w.protect(t, &vault.Encryption{CustomerKey: vault.CustomerKey{Vault: "customer-vault", Key: "customer-key", Name: "Root"}, BackupDays: 10})
	return w
}

// protect does what the tenancy service does, without its checks.
func (w *protected) protect(t *testing.T, e *vault.Encryption) {
	t.Helper()
	var key *vault.CustomerKey
	if e != nil {
		key = &e.CustomerKey
	}
	p, err := w.Protect(ctx, w.tenant, w.vault, key)
	if err != nil {
		t.Fatal(err)
	}
	w.row = w.stored(t).Clone()
	w.row.Encryption = e
	op := store.NewOp(w.clock.Now())
	if err := w.store.Update(ctx, op, func(tx store.Tx) error {
		if err := p.Put(ctx, tx, op); err != nil {
			return err
		}
		return tx.PutVault(ctx, w.row)
	}); err != nil {
		t.Fatal(err)
	}
	w.row = w.stored(t)
}

func (w *protected) stored(t *testing.T) (v *vault.Vault) {
	t.Helper()
	if err := w.store.View(ctx, func(tx store.Tx) (err error) {
		v, err = tx.Vault(ctx, w.vault)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return v
}

func (w *protected) opens(t *testing.T) {
	t.Helper()
	if got, err := w.Open(ctx, w.place, w.envelope(t, w.place)); err != nil || string(got) != "value" {
		t.Errorf("Open = %q, %v", got, err)
	}
}

func (w *protected) stays(t *testing.T) {
	t.Helper()
	if got, err := w.Open(ctx, w.place, w.envelope(t, w.place)); err == nil {
		t.Errorf("Open = %q", got)
	}
}

// touch is a commit that changes the customer's key.
func (w *protected) touch() {
	w.Changed(&store.Commit{Changes: []store.Change{{Kind: store.ObjectChanged, Vault: "customer-vault", Object: vault.Key, NameKey: "root"}}})
}

func TestACustomersKeyIsNeeded(t *testing.T) {
	w := newProtected(t)
	w.opens(t)
	// The key from before is wrapped too, and does no more than decrypt.
	states := map[store.KeyState]int{}
	for _, row := range w.keys(t, store.VaultKey, string(w.vault)) {
		states[row.State]++
		if row.Customer == nil || row.Customer.Key.Version != "v1" || (row.ID == w.envelope(t, w.place).Key) != (row.State == store.KeyDecryptOnly) {
			t.Errorf("row %+v", row)
		}
	}
	if states[store.KeyActive] != 1 || states[store.KeyDecryptOnly] != 1 {
		t.Errorf("states %v", states)
	}
	o, err := w.Opener(ctx, w.place, w.envelope(t, w.place))
	if err != nil {
		t.Fatal(err)
	}
	// What no commit tells of is noticed within five minutes, and not asked about before.
	asked := w.by.opened
	w.by.broken["v1"] = errWithdrawn
	w.clock.Advance(5*time.Minute - 1)
	w.opens(t)
	if _, err := o.Open(nil, w.envelope(t, w.place).Ciphertext); err != nil || w.by.opened != asked {
		t.Errorf("within its time: %v, asked %d times", err, w.by.opened-asked)
	}
	w.clock.Advance(1)
	w.stays(t)
	if _, err := o.Open(nil, w.envelope(t, w.place).Ciphertext); err != keyring.ErrStale {
		t.Errorf("an opener over its time: %v", err)
	}
	delete(w.by.broken, "v1")
	w.opens(t)
	// What a commit tells of is noticed at once.
	w.by.broken["v1"] = errWithdrawn
	w.opens(t)
	w.touch()
	w.stays(t)
	delete(w.by.broken, "v1")
	w.opens(t)
	w.by.broken["v1"] = errWithdrawn
	w.Changed(&store.Commit{Changes: []store.Change{{Kind: store.VaultChanged, Vault: "customer-vault"}}})
	w.stays(t)
	if _, err := w.Seal(ctx, w.place, nil); !fault.Is(err, fault.Forbidden) {
		t.Errorf("Seal: %v", err)
	}
}

func TestTheKeysAboveChangeWithoutTheCustomers(t *testing.T) {
	w := newProtected(t)
	w.by.broken["v1"] = errWithdrawn
	wraps, opened := w.by.wraps, w.by.opened
	if _, err := w.RotateTenantKeys(ctx, w.tenant, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.RotateRoot(ctx, nil); err != nil {
		t.Fatal(err)
	}
	if w.by.wraps != wraps || w.by.opened != opened {
		t.Error("the customer's key was used")
	}
	delete(w.by.broken, "v1")
	w.opens(t)
	for _, row := range w.keys(t, store.VaultKey, string(w.vault)) {
		if row.Customer == nil {
			t.Error("the customer's key wraps no more")
		}
	}
	// A new vault key is protected as the vault is.
	if _, err := w.RotateVaultKey(ctx, w.tenant, w.vault, nil); err != nil {
		t.Fatal(err)
	}
	for _, row := range w.keys(t, store.VaultKey, string(w.vault)) {
		if row.Customer == nil {
			t.Error("the new key is not protected")
		}
	}
	w.opens(t)
	w.clock.Advance(2 * grace)
	if done, err := w.Maintain(ctx); err != nil || done.Resealed == 0 || done.Retired == 0 {
		t.Errorf("%+v, %v", done, err)
	}
	w.opens(t)
}

func TestMaintainFollowsTheCustomersKey(t *testing.T) {
	w := newProtected(t)
	w.by.newest = "v2"
	if done, err := w.Maintain(ctx); err != nil || done.Moved != 2 {
		t.Fatalf("%+v, %v", done, err)
	}
	if done, err := w.Maintain(ctx); err != nil || done.Moved != 0 {
		t.Fatalf("again: %+v, %v", done, err)
	}
	w.by.broken["v1"] = errWithdrawn
	w.touch()
	w.opens(t)
	w.protect(t, nil)
	w.by.broken["v2"] = errWithdrawn
	w.opens(t)
	if got, err := w.WrappedWith(ctx, w.vault); err != nil || len(got) != 0 {
		t.Errorf("wrapped with %v, %v", got, err)
	}
}

// Nobody with the store and the tenant's key alone takes the customer's key away, or puts another in its place.
func TestTheCustomersKeyIsBound(t *testing.T) {
	for name, tamper := range map[string]func(*store.WrappedKey){
		"taken away":      func(k *store.WrappedKey) { k.Customer = nil },
		"another version": func(k *store.WrappedKey) { k.Customer.Key.Version = "v9" },
		"another key":     func(k *store.WrappedKey) { k.Customer.Key.Key = "other" },
		"another vault":   func(k *store.WrappedKey) { k.Customer.Key.Vault = "other" },
		"algorithm":       func(k *store.WrappedKey) { k.Customer.Algorithm = "none" },
	} {
		w := newProtected(t)
		rows := w.keys(t, store.VaultKey, string(w.vault))
		w.update(t, func(tx store.Tx) error {
			for _, row := range rows {
				c := *row
				with := *row.Customer
				c.Customer = &with
				tamper(&c)
				if err := tx.PutWrappedKey(ctx, &c); err != nil {
					return err
				}
			}
			return nil
		})
		if got, err := w.Open(ctx, w.place, w.envelope(t, w.place)); !fault.Is(err, fault.Internal) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestACustomersKeyThatLoses(t *testing.T) {
	w := newProtected(t)
	w.by.through = func(context.Context) error { return errWithdrawn }
	if _, err := w.Protect(ctx, w.tenant, w.vault, &vault.CustomerKey{Name: "Other", Version: "v1"}); err == nil {
		t.Error("a key that does not open what it wrapped protects a vault")
	}
}

// A store in which vaults protect each other in a circle must not hold up whoever asks.
func TestACircleEnds(t *testing.T) {
	w := newProtected(t)
	w.by.through = func(ctx context.Context) error {
		_, err := w.Open(ctx, w.place, w.envelope(t, w.place))
		return err
	}
	w.touch()
	done := make(chan error, 1)
	go func() {
		_, err := w.Open(ctx, w.place, w.envelope(t, w.place))
		done <- err
	}()
	select {
	case err := <-done:
		if !fault.Is(err, fault.Internal) || !strings.Contains(err.Error(), "circle") {
			t.Errorf("%v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it waits for itself")
	}
}

func TestProtectionNoticesOtherChanges(t *testing.T) {
	w := newProtected(t)
	p, err := w.Protect(ctx, w.tenant, w.vault, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.RotateVaultKey(ctx, w.tenant, w.vault, nil); err != nil {
		t.Fatal(err)
	}
	op := store.NewOp(w.clock.Now())
	if err := w.store.Update(ctx, op, func(tx store.Tx) error { return p.Put(ctx, tx, op) }); !fault.Is(err, fault.Conflict) {
		t.Errorf("%v", err)
	}
	w.opens(t)
}

func TestBackupsNeedTheCustomersKey(t *testing.T) {
	w := newProtected(t)
	w.update(t, func(tx store.Tx) error {
		return tx.PutObject(ctx, &vault.Object{ID: "customer-key", Vault: "customer-vault", Kind: vault.Key, Name: "Root", Created: w.clock.Now()})
	})
	blob, err := w.SealBackup(ctx, w.tenant, w.vault, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	needs := func() (list []*store.KeyNeed) {
		if err := w.store.View(ctx, func(tx store.Tx) (err error) {
			list, err = tx.KeyNeeds(ctx, "customer-vault", "customer-key")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return list
	}
	if list := needs(); len(list) != 1 || list[0].Use != store.NeededByBackups || list[0].Until.Sub(w.clock.Now()) < 10*24*time.Hour {
		t.Errorf("needs %+v", list)
	}
	w.by.newest = "v2"
	w.protect(t, nil)
	if got, err := w.OpenBackup(ctx, w.tenant, blob); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	w.by.broken["v1"] = errWithdrawn
	if got, err := w.OpenBackup(ctx, w.tenant, blob); !fault.Is(err, fault.Forbidden) || got != nil {
		t.Errorf("%q, %v", got, err)
	}
	for i := range blob {
		if got, err := w.OpenBackup(ctx, w.tenant, blob[:i]); !fault.Is(err, fault.Invalid) || got != nil {
			t.Errorf("cut: %q, %v", got, err)
		}
	}
	// A customer's key that was purged makes no backup that nobody can read.
	w.by.broken = map[vault.VersionID]error{}
	w.protect(t, &vault.Encryption{CustomerKey: vault.CustomerKey{Vault: "customer-vault", Key: "another", Name: "Root"}, BackupDays: 10})
	if _, err := w.SealBackup(ctx, w.tenant, w.vault, []byte("content")); !fault.Is(err, fault.Conflict) {
		t.Errorf("%v", err)
	}
}

// FuzzCustomerBackup: what the tenant's backup key opens may still be nonsense inside.
func FuzzCustomerBackup(f *testing.F) {
	f.Add([]byte(`KWC1`))
	f.Add([]byte("KWC1\x00\x00\x00\x02{}rest"))
	f.Add([]byte("KWC1\xff\xff\xff\xff{}"))
	w := newWorld(f)
	id := w.tenant(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		blob, err := w.SealBackup(ctx, id, "", content)
		if err != nil {
			t.Fatal(err)
		}
		got, err := w.OpenBackup(ctx, id, blob)
		if bytes.HasPrefix(content, []byte("KWC1")) {
			if err == nil || got != nil {
				t.Errorf("%q opens", content)
			}
		} else if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// In a row of vaults, what no commit tells of is noticed as soon as in one.
func TestARowOfVaultsIsNotBelievedLonger(t *testing.T) {
	w := newProtected(t)
	second := w.world.vault(t, w.tenant)
	place := w.secret(t, w.tenant, second, "below")
	// The key that protects the second vault is kept in the first.
	direct := w.by.through
	w.by.through = func(ctx context.Context) error {
		if ctx.Value(nested{}) != nil {
			return nil
		}
		_, err := w.Open(context.WithValue(ctx, nested{}, true), w.place, w.envelope(t, w.place))
		return err
	}
	p, err := w.Protect(ctx, w.tenant, second, &vault.CustomerKey{Vault: w.vault, Key: "k", Name: "k", Version: "v1"})
	if err != nil {
		t.Fatal(err)
	}
	op := store.NewOp(w.clock.Now())
	w.update(t, func(tx store.Tx) error { return p.Put(ctx, tx, op) })
	read := func() error {
		_, err := w.Open(ctx, place, w.envelope(t, place))
		return err
	}
	w.opens(t) // the first vault's key is in memory from now on
	w.clock.Advance(4 * time.Minute)
	if err := read(); err != nil {
		t.Fatal(err)
	}
	w.by.broken["v1"] = errWithdrawn
	w.clock.Advance(time.Minute)
	if err := read(); !fault.Is(err, fault.Forbidden) {
		t.Errorf("five minutes after the last look at the first: %v", err)
	}
	w.by.through = direct
}

type nested struct{}
