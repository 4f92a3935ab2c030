package tenancy

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// kept refuses a purge that a hold forbids, or of a key that somebody needs: of one object, or of a vault with all of them.
func kept(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, at time.Time) error {
	if err := object.CheckHeld(ctx, tx, v, o, at); err != nil {
		return err
	}
	if o != nil && o.Kind != vault.Key {
		return nil
	}
	return key.Needed(ctx, tx, v, o, at)
}

// keeps reports whether the fault says that a purge has to wait.
func keeps(err error) bool {
	e := fault.As(err)
	return e != nil && (e.Reason == key.KeyNeeded || e.Reason == object.Held)
}

// postponeObject puts off the purge of a deleted object that is held, or of a key that somebody needs, and reports whether it did. It can be recovered until
// then: whoever needs it finds out when it is deleted, and may take longer to say so than its retention is.
func (s *Service) postponeObject(ctx context.Context, v *vault.Vault, o *vault.Object) (bool, error) {
	until, why, err := s.neededUntil(ctx, v, o)
	if err != nil || why == nil {
		return false, err
	}
	op := store.NewOp(s.Clock.Now())
	p := purges[o.Kind]
	call := guard.System(v.Tenant, p.operation+"Postpone", op.At).About(v)
	need := guard.Need{Action: p.action, Kind: o.Kind, Name: o.Name, Reason: string(fault.As(why).Reason), Detail: fault.As(why).Message}
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
	need := guard.Need{Action: authz.DeletedVaultPurge, Scope: authz.VaultScope(v).String(), Reason: string(fault.As(why).Reason), Detail: fault.As(why).Message}
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
		if why = kept(ctx, tx, v, o, now); why == nil || !keeps(why) {
			return why
		}
		needs, err := tx.KeyNeeds(ctx, v.ID, "")
		for _, n := range needs {
			if o != nil && n.Key != o.ID && n.Key != "" {
				continue
			}
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
