package keyring

import (
	"context"
	"errors"
	"fmt"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Maintenance says what Maintain did.
type Maintenance struct {
	// Moved counts keys wrapped under a newer parent, Resealed versions, Retired keys that were deleted.
	Moved, Resealed, Retired int
}

// Maintain finishes rotations: it moves what decrypt-only keys of the root, tenants and vaults still protect to the newest
// ones, and retires those that protect nothing and have been decrypt-only for longer than the grace. It is safe to run at
// any time, on several nodes, and again after an error; one owner's trouble does not keep it from the others.
func (k *Keyring) Maintain(ctx context.Context) (done Maintenance, err error) {
	var tenants []*vault.Tenant
	done.Moved, err = k.moveRootChildren(ctx)
	if err == nil {
		done.Retired, err = k.retire(ctx, store.RootKey, installation, parentsIn(keysOfRoot))
	}
	err = errors.Join(err, k.store.View(ctx, func(tx store.Tx) (err error) {
		tenants, err = tx.Tenants(ctx)
		return err
	}))
	for _, t := range tenants {
		if e := k.maintainTenant(ctx, t.ID, &done); e != nil {
			err = errors.Join(err, fmt.Errorf("maintaining the keys of tenant %s: %w", t.ID, e))
		}
	}
	return done, err
}

func (k *Keyring) maintainTenant(ctx context.Context, tenant vault.TenantID, done *Maintenance) error {
	moved, err := k.moveTenant(ctx, tenant)
	done.Moved += moved
	if errors.Is(err, errNoKey) {
		return nil // the tenant was shredded, or is being made
	}
	if err != nil {
		return err
	}
	n, err := k.retire(ctx, store.TenantKey, string(tenant), parentsIn(keysOfTenant(tenant)))
	done.Retired += n
	if err != nil {
		return err
	}
	var ids []vault.ID
	err = k.store.View(ctx, func(tx store.Tx) error {
		ids, err = vaultsOf(ctx, tx, tenant)
		return err
	})
	for _, id := range ids {
		if e := k.maintainVault(ctx, tenant, id, done); e != nil {
			err = errors.Join(err, fmt.Errorf("maintaining the keys of vault %s: %w", id, e))
		}
	}
	return err
}

func (k *Keyring) maintainVault(ctx context.Context, tenant vault.TenantID, id vault.ID, done *Maintenance) error {
	rows, err := k.snapshot(ctx, func(ctx context.Context, tx store.Tx) ([]*store.WrappedKey, error) {
		return tx.WrappedKeys(ctx, store.VaultKey, string(id))
	})
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Customer != nil {
			n, err := k.rewrapVault(ctx, tenant, id)
			done.Moved += n
			if err != nil {
				return err
			}
			break
		}
	}
	if len(rows) < 2 {
		return nil
	}
	n, err := k.ResealVault(ctx, tenant, id)
	done.Resealed += n
	if err != nil {
		return err
	}
	n, err = k.retireVault(ctx, id)
	done.Retired += n
	return err
}

func (k *Keyring) retireVault(ctx context.Context, id vault.ID) (int, error) {
	return k.retire(ctx, store.VaultKey, string(id), func(ctx context.Context, tx store.Tx, used map[string]bool) error {
		return eachVersion(ctx, tx, id, func(_ *vault.Object, v *vault.Version) bool {
			used[v.Value.Key] = true
			return true
		})
	})
}

// parentsIn marks the wrapping keys of what list finds.
func parentsIn(list lister) func(context.Context, store.Tx, map[string]bool) error {
	return func(ctx context.Context, tx store.Tx, used map[string]bool) error {
		rows, err := list(ctx, tx)
		for _, row := range rows {
			used[row.Parent] = true
		}
		return err
	}
}

// retire deletes the owner's decrypt-only keys that nothing uses. Looking and deleting are two transactions: a key that has
// been decrypt-only for the whole grace seals nothing any more, so a use that was not there cannot appear in between.
func (k *Keyring) retire(ctx context.Context, purpose store.KeyPurpose, owner string, mark func(context.Context, store.Tx, map[string]bool) error) (int, error) {
	var unused []string
	err := k.store.View(ctx, func(tx store.Tx) error {
		unused = nil
		old, err := k.pastGrace(ctx, tx, purpose, owner)
		if err != nil || len(old) == 0 {
			return err
		}
		used := make(map[string]bool)
		if err := mark(ctx, tx, used); err != nil {
			return err
		}
		for _, id := range old {
			if !used[id] {
				unused = append(unused, id)
			}
		}
		return nil
	})
	if err != nil || len(unused) == 0 {
		return 0, err
	}
	retired := 0
	_, err = k.update(ctx, func(tx store.Tx, _ store.Op) error {
		retired = 0
		for _, id := range unused {
			row, err := tx.WrappedKey(ctx, id)
			if fault.Is(err, fault.NotFound) || err == nil && row.State != store.KeyDecryptOnly {
				continue
			}
			if err == nil {
				err = tx.DeleteWrappedKey(ctx, id)
			}
			if err != nil {
				return err
			}
			retired++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	k.forget(unused)
	return retired, nil
}

func (k *Keyring) pastGrace(ctx context.Context, tx store.Tx, purpose store.KeyPurpose, owner string) (ids []string, err error) {
	rows, err := tx.WrappedKeys(ctx, purpose, owner)
	for _, row := range rows {
		if row.State == store.KeyDecryptOnly && k.clock.Now().Sub(row.Updated) > k.grace {
			ids = append(ids, row.ID)
		}
	}
	return ids, err
}
