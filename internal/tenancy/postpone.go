package tenancy

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// postponeKey puts off the purge of a deleted key that somebody needs, and reports whether it did. The key can be recovered until then: whoever needs it
// finds out when it is deleted, and may take longer to say so than its retention is.
func (s *Service) postponeKey(ctx context.Context, v *vault.Vault, o *vault.Object) (bool, error) {
	until, why, err := s.neededUntil(ctx, v, o)
	if err != nil || why == nil {
		return false, err
	}
	op := store.NewOp(s.Clock.Now())
	call := guard.System(v.Tenant, "KeyPurgePostpone", op.At).About(v)
	need := guard.Need{Action: authz.KeyPurge, Kind: o.Kind, Name: o.Name, Reason: string(key.KeyNeeded), Detail: fault.As(why).Message}
	return true, s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		found, err := tx.Object(ctx, o.Vault, o.Kind, o.Name)
		if fault.Is(err, fault.NotFound) || err == nil && (found.ID != o.ID || found.Deleted == nil || found.Deleted.PurgeAt.After(op.At)) {
			return guard.ErrAgain
		}
		if err != nil {
			return err
		}
		c := *found
		c.Deleted = &vault.Deletion{At: found.Deleted.At, PurgeAt: until}
		return tx.PutObject(ctx, &c)
	})
}

// postponeVault is postponeKey for a deleted vault with a key that somebody needs.
func (s *Service) postponeVault(ctx context.Context, v *vault.Vault) (bool, error) {
	until, why, err := s.neededUntil(ctx, v, nil)
	if err != nil || why == nil {
		return false, err
	}
	op := store.NewOp(s.Clock.Now())
	need := guard.Need{Action: authz.DeletedVaultPurge, Scope: authz.VaultScope(v).String(), Reason: string(key.KeyNeeded), Detail: fault.As(why).Message}
	return true, s.Guard.Commit(ctx, guard.System(v.Tenant, "VaultPurgePostpone", op.At).About(v), need, op, func(tx store.Tx) error {
		found, err := tx.Vault(ctx, v.ID)
		if fault.Is(err, fault.NotFound) || err == nil && (found.Deleted == nil || found.Deleted.PurgeAt.After(op.At)) {
			return guard.ErrAgain
		}
		if err != nil {
			return err
		}
		found = found.Clone()
		found.Deleted.PurgeAt = until
		return tx.PutVault(ctx, found)
	})
}

// neededUntil returns until when a purge has to wait at least, and for whom; why is nil when it has to wait for nobody. Where no end is known, it is looked
// for again after another retention.
func (s *Service) neededUntil(ctx context.Context, v *vault.Vault, o *vault.Object) (until time.Time, why, err error) {
	now := s.Clock.Now()
	err = s.Store.View(ctx, func(tx store.Tx) error {
		until = time.Time{}
		if why = key.Needed(ctx, tx, v, o, now); why == nil || fault.As(why) == nil || fault.As(why).Reason != key.KeyNeeded {
			return why
		}
		var id vault.ObjectID
		if o != nil {
			id = o.ID
		}
		needs, err := tx.KeyNeeds(ctx, v.ID, id)
		for _, n := range needs {
			end := n.Until
			if end.IsZero() {
				end = now.Add(v.Retention())
			}
			if end.After(until) {
				until = end
			}
		}
		return err
	})
	return until, why, err
}

// again is an error of a step that was put off, or guard.ErrAgain, which says that nothing was purged.
func again(err error) error {
	if err == nil {
		return guard.ErrAgain
	}
	return err
}
