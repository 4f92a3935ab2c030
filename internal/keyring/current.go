package keyring

import (
	"context"
	"errors"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// errNoKey is in the chain of errors about keys that the store does not hold.
var errNoKey = errors.New("no such key")

type ownerOf struct {
	purpose store.KeyPurpose
	owner   string
}

// currentKey is the key that seals new things for an owner, as it was at a count of changes.
type currentKey struct {
	key     *key
	changes uint64
}

// newest finds the key that seals new things: the newest active one of the owner.
func (k *Keyring) newest(ctx context.Context, purpose store.KeyPurpose, owner string) (*key, error) {
	if k.locked.Load() {
		return nil, errLocked
	}
	who := ownerOf{purpose, owner}
	before := k.changes.Load()
	if c, ok := k.current.get(who); ok && c.changes == before && c.key.live() {
		return c.key, nil
	}
	row, err := k.newestRow(ctx, purpose, owner)
	if err != nil {
		return nil, err
	}
	n, err := k.key(ctx, row.ID, purpose)
	if err != nil {
		return nil, err
	}
	k.current.put(who, &currentKey{n, before})
	return n, nil
}

func (k *Keyring) newestRow(ctx context.Context, purpose store.KeyPurpose, owner string) (*store.WrappedKey, error) {
	var rows []*store.WrappedKey
	err := k.store.View(ctx, func(tx store.Tx) (err error) {
		rows, err = tx.WrappedKeys(ctx, purpose, owner)
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := len(rows) - 1; i >= 0; i-- {
		if rows[i].State == store.KeyActive {
			return rows[i], nil
		}
	}
	return nil, fault.Wrap(errNoKey, fault.Gone, "there is no %s key of %s: it was destroyed, or never made", purpose, owner)
}

// vaultKey finds the key that seals new values of the vault, and checks that the vault is the tenant's.
func (k *Keyring) vaultKey(ctx context.Context, p Place) (*key, error) {
	n, err := k.newest(ctx, store.VaultKey, string(p.Vault))
	if err != nil {
		return nil, err
	}
	return n, checkOwner(n, p.Tenant, string(p.Vault))
}

// keyOf finds the key that an envelope names, and checks that it is the tenant's and the owner's.
func (k *Keyring) keyOf(ctx context.Context, id string, purpose store.KeyPurpose, tenant vault.TenantID, owner string) (*key, error) {
	n, err := k.key(ctx, id, purpose)
	if err != nil {
		return nil, err
	}
	return n, checkOwner(n, tenant, owner)
}

func checkOwner(n *key, tenant vault.TenantID, owner string) error {
	if n.tenant() != tenant || n.row.Owner != owner {
		return fault.Wrap(ErrDamaged, fault.Internal, "the key %s belongs to another owner than %s of tenant %s: the store was changed from outside; restore it",
			n.row.ID, owner, tenant)
	}
	return nil
}
