package keyring

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// tenantPurposes are the keys that a tenant key wraps and the tenant itself owns.
var tenantPurposes = []store.KeyPurpose{store.AuditKey, store.BackupKey, store.DigestKey, store.ServiceKey}

func newRow(purpose store.KeyPurpose, owner string, now time.Time) store.WrappedKey {
	now = clock.Micro(now)
	return store.WrappedKey{ID: newKeyID(), Purpose: purpose, Owner: owner, State: store.KeyActive, Created: now, Updated: now, Counted: purpose == store.BackupKey}
}

// newRoot makes a root key and, under it, the key of the audit records that are no tenant's.
func (k *Keyring) newRoot(ctx context.Context, now time.Time) ([]*store.WrappedKey, error) {
	raw := newRawKey()
	defer clear(raw[:])
	s := k.sealer()
	row := newRow(store.RootKey, installation, now)
	row.Parent = s.Name()
	var err error
	if row.Wrapped, err = s.Wrap(ctx, raw[:], bindKeyRow(&row)); err != nil {
		return nil, err
	}
	root := &key{row: &row}
	if root.aead, err = raw.aead(); err != nil {
		return nil, err
	}
	return []*store.WrappedKey{&row, newUnder(root, store.AuditKey, installation, now)}, nil
}

// NewTenantKeys makes the keys of a new tenant. The caller puts all of them into the store in the transaction that makes
// the tenant.
func (k *Keyring) NewTenantKeys(ctx context.Context, tenant vault.TenantID, now time.Time) ([]*store.WrappedKey, error) {
	root, err := k.newest(ctx, store.RootKey, installation)
	if err != nil {
		return nil, err
	}
	raw := newRawKey()
	defer clear(raw[:])
	top := &key{row: root.wrap(raw, newRow(store.TenantKey, string(tenant), now)), parent: root}
	if top.aead, err = raw.aead(); err != nil {
		return nil, err
	}
	rows := []*store.WrappedKey{top.row}
	for _, purpose := range tenantPurposes {
		rows = append(rows, newUnder(top, purpose, string(tenant), now))
	}
	return rows, nil
}

// NewVaultKey makes the key of a new vault. The caller puts it into the store in the transaction that makes the vault.
func (k *Keyring) NewVaultKey(ctx context.Context, tenant vault.TenantID, id vault.ID, now time.Time) (*store.WrappedKey, error) {
	top, err := k.newest(ctx, store.TenantKey, string(tenant))
	if err != nil {
		return nil, err
	}
	v, err := k.encryption(ctx, id)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return newUnder(top, store.VaultKey, string(id), now), nil
	}
	raw := newRawKey()
	defer clear(raw[:])
	return k.wrapFor(ctx, top, raw, newRow(store.VaultKey, string(id), now), &v.Encryption.CustomerKey)
}

func newUnder(parent *key, purpose store.KeyPurpose, owner string, now time.Time) *store.WrappedKey {
	raw := newRawKey()
	defer clear(raw[:])
	return parent.wrap(raw, newRow(purpose, owner, now))
}
