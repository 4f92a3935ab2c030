package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Protection is a prepared change of what wraps a vault's keys. The caller stores it with Put, in the transaction that changes the vault.
type Protection struct {
	vault    vault.ID
	from, to []*store.WrappedKey
	// fresh takes the place of the active key; nil when it stays.
	fresh *store.WrappedKey
}

// Protect prepares to wrap all keys of a vault with a customer's key, beside the tenant's, or with the tenant's alone when customer is nil. The vault
// gets a new key too, because copies of the store that were made before hold the present ones under the tenant's key alone. The customer's key that
// protects the vault now is asked for the last time.
func (k *Keyring) Protect(ctx context.Context, tenant vault.TenantID, id vault.ID, customer *vault.CustomerKey) (*Protection, error) {
	p, top, err := k.planProtection(ctx, tenant, id, customer, func(*store.WrappedKey) bool { return true })
	if err != nil {
		return nil, err
	}
	raw := newRawKey()
	defer clear(raw[:])
	p.fresh, err = k.wrapFor(ctx, top, raw, newRow(store.VaultKey, string(id), k.clock.Now()), customer)
	return p, err
}

// Rewrap prepares to wrap with the version of the customer's key that is meant now what other versions wrapped. It is nil when there is nothing to do.
func (k *Keyring) Rewrap(ctx context.Context, tenant vault.TenantID, v *vault.Vault) (*Protection, error) {
	if v.Encryption == nil {
		return nil, nil
	}
	c, err := k.customer()
	if err != nil {
		return nil, err
	}
	newest, err := c.Newest(ctx, tenant, v.ID, v.Encryption.CustomerKey)
	if err != nil {
		return nil, err
	}
	p, _, err := k.planProtection(ctx, tenant, v.ID, &v.Encryption.CustomerKey, func(row *store.WrappedKey) bool {
		return row.Customer == nil || row.Customer.Key.Key != v.Encryption.Key || row.Customer.Key.Version != newest
	})
	if err != nil || len(p.to) == 0 {
		return nil, err
	}
	return p, nil
}

func (k *Keyring) planProtection(ctx context.Context, tenant vault.TenantID, id vault.ID, customer *vault.CustomerKey, concerns func(*store.WrappedKey) bool) (*Protection, *key, error) {
	top, err := k.newest(ctx, store.TenantKey, string(tenant))
	if err != nil {
		return nil, nil, err
	}
	rows, err := k.snapshot(ctx, func(ctx context.Context, tx store.Tx) ([]*store.WrappedKey, error) {
		return tx.WrappedKeys(ctx, store.VaultKey, string(id))
	})
	if err != nil {
		return nil, nil, err
	}
	if len(rows) == 0 {
		return nil, nil, fault.Wrap(errNoKey, fault.Gone, "there is no vault key of %s: it was destroyed, or never made", id)
	}
	p := &Protection{vault: id}
	for _, row := range rows {
		if !concerns(row) {
			continue
		}
		next, err := k.protectRow(ctx, top, row, customer)
		if err != nil {
			return nil, nil, err
		}
		p.from, p.to = append(p.from, row), append(p.to, next)
	}
	return p, top, nil
}

func (k *Keyring) protectRow(ctx context.Context, top *key, row *store.WrappedKey, customer *vault.CustomerKey) (*store.WrappedKey, error) {
	old, err := k.key(ctx, row.Parent, store.TenantKey)
	if err != nil {
		return nil, err
	}
	if old.row.Owner != top.row.Owner {
		return nil, fault.Wrap(ErrDamaged, fault.Internal, "the vault key %s belongs to another tenant than %s", row.ID, top.row.Owner)
	}
	raw, err := k.unwrapFor(ctx, old, row)
	if err != nil {
		return nil, err
	}
	defer clear(raw[:])
	return k.wrapFor(ctx, top, raw, *row, customer)
}

// ErrMoved says that the keys of a vault, or those above them, are not what a Protection was prepared for: it has to be prepared again.
var ErrMoved = errors.New("the keys changed meanwhile")

// Put stores the change. Keys that were changed since it was prepared are an ErrMoved.
func (p *Protection) Put(ctx context.Context, tx store.Tx, op store.Op) error {
	there, err := tx.WrappedKeys(ctx, store.VaultKey, string(p.vault))
	if err != nil {
		return err
	}
	again := fault.Wrap(ErrMoved, fault.Conflict, "the keys of the vault %s changed while they were wrapped: try again", p.vault)
	byID := make(map[string]*store.WrappedKey, len(there))
	for _, row := range there {
		byID[row.ID] = row
	}
	if p.fresh != nil && len(there) != len(p.from) {
		return again
	}
	if err := checkParent(ctx, tx, p.parent()); err != nil {
		return err
	}
	for i, next := range p.to {
		now := byID[next.ID]
		if now == nil || !sameWraps([]*store.WrappedKey{now}, p.from[i:i+1]) {
			return again
		}
		row := *next
		row.State, row.Updated = now.State, now.Updated
		if p.fresh != nil && row.State == store.KeyActive {
			row.State, row.Updated = store.KeyDecryptOnly, op.At
		}
		if err := tx.PutWrappedKey(ctx, &row); err != nil {
			return err
		}
	}
	if p.fresh == nil {
		return nil
	}
	return tx.PutWrappedKey(ctx, p.fresh)
}

func (p *Protection) parent() *store.WrappedKey {
	if p.fresh != nil {
		return p.fresh
	}
	return p.to[0]
}

// WrappedWith lists the versions of customers' keys that wrap the keys of a vault, each once, those of the oldest keys first.
func (k *Keyring) WrappedWith(ctx context.Context, id vault.ID) (versions []vault.VersionID, err error) {
	rows, err := k.snapshot(ctx, func(ctx context.Context, tx store.Tx) ([]*store.WrappedKey, error) {
		return tx.WrappedKeys(ctx, store.VaultKey, string(id))
	})
	for _, row := range rows {
		if row.Customer != nil && !slices.Contains(versions, row.Customer.Key.Version) {
			versions = append(versions, row.Customer.Key.Version)
		}
	}
	return versions, err
}

// CheckCustomerKey reports what keeps the customer's key of a vault from being used, as Customers says it.
func (k *Keyring) CheckCustomerKey(ctx context.Context, v *vault.Vault) error {
	c, err := k.customer()
	if err != nil || v.Encryption == nil {
		return err
	}
	_, err = c.Newest(ctx, v.Tenant, v.ID, v.Encryption.CustomerKey)
	return err
}

// rewrapVault moves a vault to the newest version of its customer's key and returns how many keys it moved.
func (k *Keyring) rewrapVault(ctx context.Context, tenant vault.TenantID, id vault.ID) (int, error) {
	v, err := k.encryption(ctx, id)
	if err != nil || v == nil {
		return 0, err
	}
	p, err := k.Rewrap(ctx, tenant, v)
	if err != nil || p == nil {
		return 0, err
	}
	if _, err := k.update(ctx, func(tx store.Tx, op store.Op) error { return p.Put(ctx, tx, op) }); err != nil {
		return 0, fmt.Errorf("storing what the customer's key wrapped: %w", err)
	}
	for _, row := range p.to {
		k.Forget(row.ID)
	}
	return len(p.to), nil
}
