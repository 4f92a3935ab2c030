package object

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Lifecycle is what doors can do with the objects of every kind in the same way. Its methods authorise and record. A service embeds it.
type Lifecycle struct{ objects *Objects }

// Lifecycle returns the part of a service that is the same for every kind.
func (s *Objects) Lifecycle() Lifecycle { return Lifecycle{s} }

// Changed replaces or drops what a commit made stale. It belongs to the store's watchers, so that a writer reads its own write.
func (l Lifecycle) Changed(c *store.Commit) { l.objects.changed(c) }

// Flush drops everything that is kept in memory: for a node that may have missed commits.
func (l Lifecycle) Flush() { l.objects.cache.dropVault("") }

// CacheStats returns the present numbers of the versions that are kept in memory.
func (l Lifecycle) CacheStats() CacheStats { return l.objects.cache.stats() }

func (l Lifecycle) need(a authz.Action, name string) guard.Need {
	return guard.Need{Action: a, Kind: l.objects.Kind.Kind, Name: name}
}

// List returns a page of live objects with their current versions, in the order of their names.
func (l Lifecycle) List(ctx context.Context, call *guard.Call, p Page) (Listing, error) {
	return l.objects.List(ctx, call, l.need(l.objects.Kind.List, ""), p, false)
}

// ListDeleted returns a page of deleted objects, like List.
func (l Lifecycle) ListDeleted(ctx context.Context, call *guard.Call, p Page) (Listing, error) {
	return l.objects.List(ctx, call, l.need(l.objects.Kind.List, ""), p, true)
}

// Versions returns a page of a live object's versions in ascending order of their ids. Versions that the object hides are left out. An unknown name has none.
func (l Lifecycle) Versions(ctx context.Context, call *guard.Call, name string, p Page) (Listing, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Listing{}, err
	}
	return l.objects.Versions(ctx, call, l.need(l.objects.Kind.List, name), name, p)
}

// GetDeleted returns a deleted object with its current version.
func (l Lifecycle) GetDeleted(ctx context.Context, call *guard.Call, name string) (item Item, err error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Item{}, err
	}
	need := l.need(l.objects.Kind.GetDeleted, name)
	err = l.objects.Guard.Read(ctx, call, &need, func() error {
		return l.objects.Store.View(ctx, func(tx store.Tx) error {
			o, err := l.objects.deleted(ctx, tx, call.Vault.Vault.ID, name)
			if err != nil {
				return err
			}
			item, err = withCurrent(ctx, tx, o)
			return err
		})
	})
	return item, err
}

// Delete soft-deletes an object with all of its versions; it can be recovered until the vault's retention is over.
func (l Lifecycle) Delete(ctx context.Context, call *guard.Call, name string) (Item, error) {
	return l.move(ctx, call, name, l.objects.Kind.Delete, l.objects.Live, func(o *vault.Object, op store.Op) (*vault.Object, error) {
		return o.Delete(op.At, call.Vault.Vault.Retention())
	})
}

// Recover brings a deleted object back with all of its versions, unchanged, until its retention is over.
func (l Lifecycle) Recover(ctx context.Context, call *guard.Call, name string) (Item, error) {
	return l.move(ctx, call, name, l.objects.Kind.Recover, l.objects.deleted, func(o *vault.Object, op store.Op) (*vault.Object, error) {
		return o.Recover(op.At)
	})
}

type finder func(ctx context.Context, tx store.Tx, v vault.ID, name string) (*vault.Object, error)

// move changes the state of one object: find it, make the move, store it.
func (l Lifecycle) move(ctx context.Context, call *guard.Call, name string, action authz.Action, find finder,
	change func(*vault.Object, store.Op) (*vault.Object, error)) (Item, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Item{}, err
	}
	s, need := l.objects, l.need(action, name)
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	var item Item
	err := s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		o, err := find(ctx, tx, v.ID, name)
		if err == nil {
			err = s.unmanaged(o)
		}
		if err != nil {
			return err
		}
		if o, err = change(o, op); err != nil {
			return err
		}
		if err = tx.PutObject(ctx, o); err != nil {
			return err
		}
		if item, err = withCurrent(ctx, tx, o); err != nil {
			return err
		}
		return s.settled(ctx, tx, v, item)
	})
	return item, err
}

// Purge destroys a deleted object for good. A vault with purge protection refuses it until the retention is over.
func (l Lifecycle) Purge(ctx context.Context, call *guard.Call, name string) error {
	if err := vault.CheckObjectName(name); err != nil {
		return err
	}
	s, need := l.objects, l.need(l.objects.Kind.Purge, name)
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		o, err := s.deleted(ctx, tx, v.ID, name)
		if err == nil {
			err = s.unmanaged(o)
		}
		if err != nil {
			return err
		}
		// Not the request's view of the vault: what was protected since is not destroyed.
		stored, err := tx.Vault(ctx, v.ID)
		if err != nil {
			return err
		}
		if err := o.CheckPurge(op.At, stored.PurgeProtection); err != nil {
			return err
		}
		if err := CheckHeld(ctx, tx, stored, o, op.At); err != nil {
			return err
		}
		if s.Purged != nil {
			if err := s.Purged(ctx, tx, v, o, op.At); err != nil {
				return err
			}
		}
		return tx.DeleteObject(ctx, o, op.At)
	})
}
