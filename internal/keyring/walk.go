package keyring

import (
	"context"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// lister collects wrapped keys in one transaction. One snapshot matters: what is moved or recovered while several are
// taken could be missed by all of them, and a key that is wrongly thought unused is lost.
type lister func(ctx context.Context, tx store.Tx) ([]*store.WrappedKey, error)

func (k *Keyring) snapshot(ctx context.Context, list lister) (rows []*store.WrappedKey, err error) {
	err = k.store.View(ctx, func(tx store.Tx) error {
		rows, err = list(ctx, tx)
		return err
	})
	return rows, err
}

// keysOfRoot lists every key that a root key wraps.
func keysOfRoot(ctx context.Context, tx store.Tx) (rows []*store.WrappedKey, err error) {
	if rows, err = appendKeys(ctx, tx, rows, store.AuditKey, installation); err != nil {
		return nil, err
	}
	tenants, err := tx.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tenants {
		if rows, err = appendKeys(ctx, tx, rows, store.TenantKey, string(t.ID)); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// keysOfTenant lists every key that a key of the tenant wraps.
func keysOfTenant(tenant vault.TenantID) lister {
	return func(ctx context.Context, tx store.Tx) (rows []*store.WrappedKey, err error) {
		for _, purpose := range tenantPurposes {
			if rows, err = appendKeys(ctx, tx, rows, purpose, string(tenant)); err != nil {
				return nil, err
			}
		}
		ids, err := vaultsOf(ctx, tx, tenant)
		if err != nil {
			return nil, err
		}
		for _, id := range ids {
			if rows, err = appendKeys(ctx, tx, rows, store.VaultKey, string(id)); err != nil {
				return nil, err
			}
		}
		return rows, nil
	}
}

func appendKeys(ctx context.Context, tx store.Tx, rows []*store.WrappedKey, purpose store.KeyPurpose, owner string) ([]*store.WrappedKey, error) {
	more, err := tx.WrappedKeys(ctx, purpose, owner)
	return append(rows, more...), err
}

// vaultsOf lists the ids of the tenant's vaults, soft-deleted ones included.
func vaultsOf(ctx context.Context, tx store.Tx, tenant vault.TenantID) (ids []vault.ID, err error) {
	for _, deleted := range []bool{false, true} {
		vaults, err := tx.Vaults(ctx, store.VaultQuery{Tenant: tenant, Deleted: deleted})
		if err != nil {
			return nil, err
		}
		for _, v := range vaults {
			ids = append(ids, v.ID)
		}
	}
	return ids, nil
}

// pageSize bounds what one query brings into memory.
const pageSize = 256
