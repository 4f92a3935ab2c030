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

// With commits a change of keys, so that the caller's audit record and events are part of its transaction; it resolves an ambiguous answer. nil commits the
// change alone.
type With func(ctx context.Context, change func(store.Tx, store.Op) error) error

func (k *Keyring) commit(ctx context.Context, with With, change func(store.Tx, store.Op) error) error {
	if with != nil {
		return with(ctx, change)
	}
	_, err := k.update(ctx, change)
	return err
}

// movedPerUpdate bounds how many rows one transaction rewraps, so that other writers never wait long.
const movedPerUpdate = 64

// RotateVaultKey makes a new key for the vault and returns its id. What older keys sealed still opens; ResealVault moves it.
func (k *Keyring) RotateVaultKey(ctx context.Context, tenant vault.TenantID, id vault.ID, with With) (string, error) {
	return k.rotateVault(ctx, tenant, id, false, with)
}

// rotateVault makes a new key for the vault. With renew, what the older ones protect gets fresh data keys when it is moved.
func (k *Keyring) rotateVault(ctx context.Context, tenant vault.TenantID, id vault.ID, renew bool, with With) (string, error) {
	old, err := k.newest(ctx, store.VaultKey, string(id))
	if err != nil {
		return "", err
	}
	if err := checkOwner(old, tenant, string(id)); err != nil {
		return "", err
	}
	fresh, err := k.NewVaultKey(ctx, tenant, id, k.clock.Now())
	if err != nil {
		return "", err
	}
	still := func(store.Tx) error { return nil }
	if renew {
		still = func(tx store.Tx) error { return markRenew(ctx, tx, id) }
	}
	return fresh.ID, k.succeedIf(ctx, []*store.WrappedKey{fresh}, with, still)
}

// markRenew says of all present keys of a vault that data keys under them are renewed.
func markRenew(ctx context.Context, tx store.Tx, id vault.ID) error {
	rows, err := tx.WrappedKeys(ctx, store.VaultKey, string(id))
	for _, row := range rows {
		c := *row
		c.Renew = true
		if err := tx.PutWrappedKey(ctx, &c); err != nil {
			return err
		}
	}
	return err
}

// RotateTenantKeys makes new keys for the tenant, one of each purpose, moves what the old tenant key wraps under the new one,
// and returns the new tenant key's id. When it returns an id and an error, the new keys are in use and Maintain does the rest.
func (k *Keyring) RotateTenantKeys(ctx context.Context, tenant vault.TenantID, with With) (string, error) {
	fresh, err := k.NewTenantKeys(ctx, tenant, k.clock.Now())
	if err != nil {
		return "", err
	}
	if err := k.succeed(ctx, fresh, with); err != nil {
		return "", err
	}
	_, err = k.moveTenant(ctx, tenant)
	return fresh[0].ID, err
}

// RotateRoot makes a new root key and a new key for the installation's audit records, moves every tenant key under it, and returns the
// root's id. When it returns an id and an error, the new key is in use and Maintain does the rest.
func (k *Keyring) RotateRoot(ctx context.Context, with With) (string, error) {
	id, err := k.rotateRoot(ctx, with)
	if err == nil {
		_, err = k.moveRootChildren(ctx)
	}
	return id, err
}

func (k *Keyring) rotateRoot(ctx context.Context, with With) (string, error) {
	if k.locked.Load() {
		return "", errLocked
	}
	rows, err := k.settledRoots(ctx)
	if err != nil {
		return "", err
	}
	fresh, err := k.newRoot(ctx, k.clock.Now())
	if err != nil {
		return "", err
	}
	if err := k.succeedIf(ctx, fresh, with, func(tx store.Tx) error {
		there, err := tx.WrappedKeys(ctx, store.RootKey, installation)
		if err == nil && !sameWraps(there, rows) {
			err = fault.New(fault.Conflict, "the root keys changed meanwhile: try again")
		}
		return err
	}); err != nil {
		return "", err
	}
	return fresh[0].ID, nil
}

// settledRoots refuses to make a root key that other nodes, or the next start, could not open: while the installation moves to another seal, and on a
// node that was not told that it did. It returns the root keys of which that is true.
func (k *Keyring) settledRoots(ctx context.Context) ([]*store.WrappedKey, error) {
	rows, err := k.rootRows(ctx)
	if err != nil {
		return nil, err
	}
	s, err := k.sealState(ctx, rows)
	switch {
	case err != nil:
		return nil, err
	case s.Moving():
		return nil, fault.New(fault.Conflict, "the installation is moving to the seal %q: finish that or give it up, and then rotate the root key", s.Next).Because("SealMoving")
	case !s.Opens:
		return nil, fault.New(fault.Conflict, "the root key is wrapped by the seal %q now, as this node does not have it: configure it, and start the node again", s.Seal).
			Because("SealNotConfigured")
	}
	return rows, nil
}

// succeed commits keys as the active ones of their purposes and owners; those before them become decrypt-only. It never
// gives a key to an owner who has none: whoever destroyed them meant it.
func (k *Keyring) succeed(ctx context.Context, fresh []*store.WrappedKey, with With) error {
	return k.succeedIf(ctx, fresh, with, func(store.Tx) error { return nil })
}

// succeedIf is succeed under a condition, which is looked at in the transaction.
func (k *Keyring) succeedIf(ctx context.Context, fresh []*store.WrappedKey, with With, still func(store.Tx) error) error {
	var changed []string
	err := k.commit(ctx, with, func(tx store.Tx, op store.Op) error {
		changed = changed[:0]
		if err := still(tx); err != nil {
			return err
		}
		if err := checkParent(ctx, tx, fresh[0]); err != nil {
			return err
		}
		for _, row := range fresh {
			ids, err := succeedRow(ctx, tx, op, row)
			if err != nil {
				return err
			}
			changed = append(changed, ids...)
		}
		// Whichever node moves what the old keys protect hears of it.
		return tx.PutSetting(ctx, rotatedSetting, []byte(op.ID))
	})
	k.forget(changed)
	k.wake()
	return err
}

// succeedRow puts a key in the place of the owner's active one, and returns the ids of what changed.
func succeedRow(ctx context.Context, tx store.Tx, op store.Op, row *store.WrappedKey) (changed []string, err error) {
	before, err := tx.WrappedKeys(ctx, row.Purpose, row.Owner)
	if err != nil {
		return nil, err
	}
	if len(before) == 0 {
		return nil, fault.Wrap(errNoKey, fault.Gone, "there is no %s key of %s to rotate: it was destroyed, or never made", row.Purpose, row.Owner)
	}
	for _, b := range before {
		if b.State == store.KeyDecryptOnly {
			continue
		}
		if (b.Customer == nil) != (row.Customer == nil) {
			return nil, fault.New(fault.Conflict, "what protects the %s key of %s changed meanwhile: try again", row.Purpose, row.Owner)
		}
		old := *b
		old.State, old.Updated = store.KeyDecryptOnly, op.At
		if err := tx.PutWrappedKey(ctx, &old); err != nil {
			return nil, err
		}
		changed = append(changed, old.ID)
	}
	return append(changed, row.ID), tx.PutWrappedKey(ctx, row)
}

// checkParent refuses a row whose wrapping key was retired since the row was prepared: it would never open.
func checkParent(ctx context.Context, tx store.Tx, row *store.WrappedKey) error {
	if row.Purpose == store.RootKey {
		return nil
	}
	_, err := tx.WrappedKey(ctx, row.Parent)
	if fault.Is(err, fault.NotFound) {
		return fault.Wrap(ErrMoved, fault.Conflict, "the keys above the new %s key of %s changed meanwhile: try again", row.Purpose, row.Owner)
	}
	return err
}

// forget is for changes that this keyring made itself, so that it is right even before anything is hooked to the store.
func (k *Keyring) forget(ids []string) {
	for _, id := range ids {
		k.Forget(id)
	}
}

// moveRootChildren wraps every tenant key under the newest root and returns how many keys it moved.
func (k *Keyring) moveRootChildren(ctx context.Context) (int, error) {
	root, err := k.newest(ctx, store.RootKey, installation)
	if err != nil {
		return 0, err
	}
	rows, err := k.snapshot(ctx, keysOfRoot)
	if err != nil {
		return 0, err
	}
	return k.move(ctx, root, rows)
}

// moveTenant wraps everything of the tenant under its newest key and returns how many keys it moved.
func (k *Keyring) moveTenant(ctx context.Context, tenant vault.TenantID) (int, error) {
	top, err := k.newest(ctx, store.TenantKey, string(tenant))
	if err != nil {
		return 0, err
	}
	rows, err := k.snapshot(ctx, keysOfTenant(tenant))
	if err != nil {
		return 0, err
	}
	return k.move(ctx, top, rows)
}

// move wraps rows under parent, in small transactions. Each row is checked again where it is written: it may have been
// moved, changed its state, or been destroyed since it was read.
func (k *Keyring) move(ctx context.Context, parent *key, rows []*store.WrappedKey) (moved int, err error) {
	rows = slices.DeleteFunc(slices.Clone(rows), func(r *store.WrappedKey) bool { return r.Parent == parent.row.ID })
	for part := range slices.Chunk(rows, movedPerUpdate) {
		var from, to []*store.WrappedKey
		for _, row := range part {
			next, e := k.rewrapRow(ctx, parent, row)
			if e != nil { // one bad row must not keep the others where they are
				err = errors.Join(err, fmt.Errorf("moving the %s key %s of %s: %w", row.Purpose, row.ID, row.Owner, e))
				continue
			}
			from, to = append(from, row), append(to, next)
		}
		if len(to) == 0 {
			continue
		}
		changed, e := k.putMoved(ctx, from, to)
		moved += len(changed)
		if e != nil {
			return moved, errors.Join(err, e)
		}
	}
	return moved, err
}

func (k *Keyring) rewrapRow(ctx context.Context, parent *key, row *store.WrappedKey) (*store.WrappedKey, error) {
	old, err := k.key(ctx, row.Parent, parent.row.Purpose)
	if err != nil {
		return nil, err
	}
	if row.Customer != nil {
		return moveCustomerRow(old, parent, row)
	}
	raw, err := openRow(old, row)
	if err != nil {
		return nil, err
	}
	defer clear(raw[:])
	return parent.wrap(raw, *row), nil
}

func (k *Keyring) putMoved(ctx context.Context, from, to []*store.WrappedKey) (changed []string, err error) {
	_, err = k.maintaining(ctx, func(tx store.Tx, _ store.Op) error {
		changed = changed[:0]
		if err := checkParent(ctx, tx, to[0]); err != nil {
			return err
		}
		for i := range to {
			there, err := tx.WrappedKey(ctx, to[i].ID)
			if fault.Is(err, fault.NotFound) || err == nil && there.Parent != from[i].Parent {
				continue
			}
			if err != nil {
				return err
			}
			// Updated stays: it says since when the key has its state, which retirement counts from.
			if !sameWraps([]*store.WrappedKey{there}, from[i:i+1]) {
				continue // a customer's key wrapped it anew meanwhile
			}
			row := *there
			row.Parent, row.Wrapped = to[i].Parent, to[i].Wrapped
			if err := tx.PutWrappedKey(ctx, &row); err != nil {
				return err
			}
			changed = append(changed, row.ID)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	k.moved.Add(uint64(len(changed)))
	k.forget(changed)
	return changed, nil
}
