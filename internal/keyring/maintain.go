package keyring

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

const (
	// needsKept is how long needs are remembered that have ended. Nothing asks for them; but a need that is gone for good because a clock was wrong for an hour would let
	// something be destroyed too early once it is right again.
	needsKept = 30 * 24 * time.Hour
	// sweepEvery is how often they are looked for, which is a look at all needs; needsAtOnce bounds those that one transaction removes.
	sweepEvery  = 12 * time.Hour
	needsAtOnce = 256
)

// Maintenance says what Maintain did.
type Maintenance struct {
	// Moved counts keys wrapped under a newer parent, Resealed versions, Retired keys that were deleted.
	Moved, Resealed, Retired int
}

// rotatedSetting is written with every rotation, so that all nodes hear of it.
const rotatedSetting = "keyring-rotated"

// Maintainer is set once, before Maintain is called first. fence fails in a transaction when it is another node's turn to maintain; destroyed commits the
// destruction of keys with its audit record. Either may be nil.
func (k *Keyring) Maintainer(fence func(context.Context, store.Tx) error, destroyed func(purpose store.KeyPurpose, owner string, ids []string) With) {
	k.fence, k.destroyed = fence, destroyed
}

// Woken hears when something was rotated, on whichever node.
func (k *Keyring) Woken() <-chan struct{} { return k.woken }

func (k *Keyring) wake() {
	select {
	case k.woken <- struct{}{}:
	default: // somebody will come anyway
	}
}

// maintaining commits a step of maintenance while it is this node's turn.
func (k *Keyring) maintaining(ctx context.Context, fn func(store.Tx, store.Op) error) (store.Op, error) {
	return k.update(ctx, func(tx store.Tx, op store.Op) error {
		if k.fence != nil {
			if err := k.fence(ctx, tx); err != nil {
				return err
			}
		}
		return fn(tx, op)
	})
}

// Maintain finishes rotations: it moves what decrypt-only keys of the root, tenants and vaults still protect to the newest
// ones, and retires those that protect nothing and have been decrypt-only for longer than the grace. It is safe to run at
// any time, on several nodes, and again after an error; one owner's trouble does not keep it from the others.
func (k *Keyring) Maintain(ctx context.Context) (done Maintenance, err error) {
	k.busy.Add(1)
	defer k.busy.Add(-1)
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
	return done, errors.Join(err, k.sweepNeeds(ctx))
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
	n, err = k.retireBackupKeys(ctx, tenant)
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
	if slices.ContainsFunc(rows, toEmpty) {
		n, err := k.ResealVault(ctx, tenant, id)
		done.Resealed += n
		if err != nil {
			return err
		}
	}
	n, err := k.retireVault(ctx, id)
	done.Retired += n
	return err
}

func (k *Keyring) retireVault(ctx context.Context, id vault.ID) (int, error) {
	return k.retire(ctx, store.VaultKey, string(id), func(ctx context.Context, tx store.Tx, used map[string]bool) error {
		_, err := walkVersions(ctx, tx, id, new(position), func(_ *vault.Object, v *vault.Version) bool {
			used[v.Value.Key] = true
			return true
		})
		return err
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
	var unused, again []string
	err := k.store.View(ctx, func(tx store.Tx) error {
		unused, again = nil, nil
		old, err := k.pastGrace(ctx, tx, purpose, owner)
		if err != nil || len(old) == 0 {
			return err
		}
		used := make(map[string]bool)
		if err := mark(ctx, tx, used); err != nil {
			return err
		}
		for _, id := range old {
			if used[id] {
				again = append(again, id)
			} else {
				unused = append(unused, id)
			}
		}
		return nil
	})
	if err == nil && purpose == store.VaultKey && len(again) > 0 {
		err = k.notEmpty(ctx, again)
	}
	if err != nil || len(unused) == 0 {
		return 0, err
	}
	retired := 0
	err = k.destroy(ctx, purpose, owner, unused, func(tx store.Tx, _ store.Op) error {
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
	k.gone.Add(uint64(retired))
	k.forget(unused)
	return retired, nil
}

// notEmpty takes back that nothing is under vault keys any more: a node that learned late of their successor used them behind the walk, which is due again.
func (k *Keyring) notEmpty(ctx context.Context, ids []string) error {
	_, err := k.maintaining(ctx, func(tx store.Tx, _ store.Op) error {
		for _, id := range ids {
			row, err := tx.WrappedKey(ctx, id)
			if fault.Is(err, fault.NotFound) {
				continue
			}
			if err != nil {
				return err
			}
			c := *row
			c.Emptied = time.Time{}
			if err := tx.PutWrappedKey(ctx, &c); err != nil {
				return err
			}
		}
		return nil
	})
	k.forget(ids)
	k.wake()
	return err
}

// destroy commits the destruction of keys, with its audit record where there is one.
func (k *Keyring) destroy(ctx context.Context, purpose store.KeyPurpose, owner string, ids []string, fn func(store.Tx, store.Op) error) error {
	fenced := func(tx store.Tx, op store.Op) error {
		if k.fence != nil {
			if err := k.fence(ctx, tx); err != nil {
				return err
			}
		}
		return fn(tx, op)
	}
	var with With
	if k.destroyed != nil {
		with = k.destroyed(purpose, owner, ids)
	}
	return k.commit(ctx, with, fenced)
}

func (k *Keyring) pastGrace(ctx context.Context, tx store.Tx, purpose store.KeyPurpose, owner string) (ids []string, err error) {
	rows, err := tx.WrappedKeys(ctx, purpose, owner)
	for _, row := range rows {
		if row.State == store.KeyDecryptOnly && k.clock.Now().Sub(row.Updated) > k.grace && (purpose != store.VaultKey || !toEmpty(row)) {
			ids = append(ids, row.ID)
		}
	}
	return ids, err
}

// sweepNeeds removes needs that ended long ago: of backups that are over, and of holds.
func (k *Keyring) sweepNeeds(ctx context.Context) error {
	now := k.clock.Now()
	if last := k.swept.Load(); last != 0 && now.Sub(time.Unix(last, 0)) < sweepEvery {
		return nil
	}
	before := now.Add(-needsKept)
	for {
		var ended []*store.KeyNeed
		if err := k.store.View(ctx, func(tx store.Tx) (err error) {
			ended, err = tx.EndedKeyNeeds(ctx, before, needsAtOnce)
			return err
		}); err != nil {
			return err
		}
		if len(ended) == 0 {
			k.swept.Store(now.Unix())
			return nil
		}
		_, err := k.maintaining(ctx, func(tx store.Tx, _ store.Op) error {
			for _, n := range ended {
				if err := tx.DropEndedKeyNeed(ctx, n, before); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("removing needs of keys that have ended: %w", err)
		}
	}
}
