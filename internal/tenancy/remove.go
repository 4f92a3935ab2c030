package tenancy

import (
	"context"
	"errors"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// DeleteVault soft-deletes a vault and removes every role assignment on it and in it. A vault that is not there is a
// fault.NotFound.
func (s *Service) DeleteVault(ctx context.Context, call *guard.Call, ref VaultRef) error {
	at, err := ref.Scope()
	if err != nil {
		return err
	}
	need := guard.Need{Action: authz.VaultDelete, Scope: at.String()}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	v, err := s.existing(ctx, call, ref)
	if v == nil {
		if err == nil || fault.Is(err, fault.Conflict) {
			err = vaultNotFound(ref)
		}
		return s.Guard.Refuse(ctx, call, need, err)
	}
	op := store.NewOp(s.Clock.Now())
	return s.Guard.Commit(ctx, call.About(v), need, op, func(tx store.Tx) error {
		v, err := named(ctx, tx, call.Caller.Tenant, ref)
		if err != nil {
			return err
		}
		if v == nil {
			return vaultNotFound(ref)
		}
		if err := tx.PutVault(ctx, softDeleted(v, op)); err != nil {
			return err
		}
		return dropGrants(ctx, tx, v.Tenant, at)
	})
}

// softDeleted returns a deleted copy of a live vault.
func softDeleted(v *vault.Vault, op store.Op) *vault.Vault {
	c := v.Clone()
	c.Updated, c.Deleted = op.At, &vault.Deletion{At: op.At, PurgeAt: op.At.Add(v.Retention())}
	return c
}

// RecoverVault brings a deleted vault back into the group that it was in, as it was but for the role assignments. Once its retention
// is over, or its purge has begun, it is a fault.NotFound, whether anything was swept yet or not.
func (s *Service) RecoverVault(ctx context.Context, call *guard.Call, ref VaultRef) (*vault.Vault, error) {
	at, err := ref.Scope()
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.VaultWrite, Scope: at.String()}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	op := store.NewOp(s.Clock.Now())
	var v *vault.Vault
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		old, err := tx.VaultByName(ctx, ref.Name)
		if fault.Is(err, fault.NotFound) || err == nil && (old.Tenant != call.Caller.Tenant || !ref.is(old)) {
			return vaultNotFound(ref)
		}
		if err != nil {
			return err
		}
		if old.Deleted == nil {
			return fault.New(fault.Conflict, "the vault %q is not deleted, so there is nothing to recover", old.Name).Because(VaultAlreadyExists)
		}
		if !op.At.Before(old.Deleted.PurgeAt) {
			return fault.New(fault.NotFound, "the deleted vault %q does not exist any more: its retention ended at %s, or it is being purged", old.Name,
				old.Deleted.PurgeAt.UTC().Format(time.RFC3339)).Because(DeletedVaultNotFound)
		}
		if _, err := group(ctx, tx, ref.GroupRef); err != nil {
			return err
		}
		v = old.Clone()
		v.Deleted, v.Updated = nil, op.At
		return tx.PutVault(ctx, v)
	})
	return v, err
}

// PurgeVault destroys a deleted vault for good. A vault with purge protection refuses it until its retention is over.
func (s *Service) PurgeVault(ctx context.Context, call *guard.Call, id vault.SubscriptionID, location, name string) error {
	need, err := deletedNeed(authz.DeletedVaultPurge, id, name)
	if err != nil {
		return err
	}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	var v *vault.Vault
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		v, err = deletedVault(ctx, tx, call.Caller.Tenant, id, location, name)
		return err
	})
	if err == nil {
		err = checkPurge(v, s.Clock.Now())
	}
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	did, err := s.purge(ctx, call.About(v), need, v.ID)
	if err == nil && !did {
		return s.Guard.Refuse(ctx, call, need, deletedVaultNotFound(name, location))
	}
	return err
}

func checkPurge(v *vault.Vault, now time.Time) error {
	if v.PurgeProtection && now.Before(v.Deleted.PurgeAt) {
		return fault.New(fault.Forbidden, "the vault %q cannot be purged before %s: it has purge protection", v.Name,
			v.Deleted.PurgeAt.UTC().Format(time.RFC3339)).Because(PurgeProtected)
	}
	return nil
}

// purge destroys a vault whose purge is authorised: first its key, then its objects, then itself. Each step is one
// transaction with its own record; a step that somebody else was quicker with has none. did is false when nothing was left to do.
func (s *Service) purge(ctx context.Context, call *guard.Call, need guard.Need, id vault.ID) (did bool, err error) {
	did, err = stepped(s.destroyKey(ctx, call, need, id))
	for err == nil {
		var step, gone bool
		gone, err = s.purgeBatch(ctx, call, need, id)
		step, err = stepped(err)
		if did = did || step; gone || !step {
			break
		}
	}
	return did, err
}

// stepped reports whether a step was made. One that was not needed any more is no error.
func stepped(err error) (bool, error) {
	if errors.Is(err, guard.ErrAgain) {
		return false, nil
	}
	return err == nil, err
}

// destroyKey destroys the vault's keys and ends its retention. A vault of which both are done, or that is gone, is a guard.ErrAgain.
func (s *Service) destroyKey(ctx context.Context, call *guard.Call, need guard.Need, id vault.ID) error {
	op := store.NewOp(s.Clock.Now())
	return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		v, err := tx.Vault(ctx, id)
		if fault.Is(err, fault.NotFound) {
			return guard.ErrAgain
		}
		if err != nil {
			return err
		}
		if v.Deleted == nil {
			return fault.New(fault.Conflict, "the vault %q was recovered meanwhile, so it was not purged", v.Name)
		}
		if err := checkPurge(v, op.At); err != nil {
			return err
		}
		if err := kept(ctx, tx, v, nil, op.At); err != nil {
			return err
		}
		if err := tx.DropKeyNeeds(ctx, v.ID, store.NeededByVault); err != nil {
			return err
		}
		keys, err := tx.WrappedKeys(ctx, store.VaultKey, string(id))
		if err != nil {
			return err
		}
		over := !v.Deleted.PurgeAt.After(op.At)
		if over && len(keys) == 0 {
			return guard.ErrAgain
		}
		if !over {
			v = v.Clone()
			v.Deleted.PurgeAt = op.At
			if err := tx.PutVault(ctx, v); err != nil {
				return err
			}
		}
		for _, k := range keys {
			if err := tx.DeleteWrappedKey(ctx, k.ID); err != nil {
				return err
			}
		}
		return nil
	})
}

// purgeBatchSize bounds the objects that one transaction removes: other writers wait for it.
const purgeBatchSize = 100

// purgeBatch removes some of the vault's objects or, when there are none, the vault. A vault that is gone is a guard.ErrAgain.
func (s *Service) purgeBatch(ctx context.Context, call *guard.Call, need guard.Need, id vault.ID) (gone bool, err error) {
	op := store.NewOp(s.Clock.Now())
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		left := purgeBatchSize
		for _, q := range everyObject(id) {
			q.Limit = left
			objects, err := tx.Objects(ctx, q)
			if err != nil {
				return err
			}
			for _, o := range objects {
				if err := tx.DeleteObject(ctx, o, op.At); err != nil {
					return err
				}
			}
			if left -= len(objects); left <= 0 {
				return nil
			}
		}
		if left < purgeBatchSize {
			return nil
		}
		err := tx.DeleteVault(ctx, id)
		if gone = err == nil; fault.Is(err, fault.NotFound) {
			return guard.ErrAgain
		}
		return err
	})
	return gone, err
}

// everyObject returns the queries that together find all objects of a vault.
func everyObject(id vault.ID) (queries []store.ObjectQuery) {
	for _, kind := range vault.Kinds() {
		for _, gone := range []bool{false, true} {
			queries = append(queries, store.ObjectQuery{Vault: id, Kind: kind, Deleted: gone})
		}
	}
	return queries
}
