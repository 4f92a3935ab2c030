package object

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Backups tells until when backups can bring back something that is purged. Purging destroys the live keys; what is in a backup is gone when the last one that
// holds the key has ended.
type Backups struct {
	// Any says that there are some. Until is when the last one ends; zero when nobody knows.
	Any   bool
	Until time.Time
}

// add counts one that ends then.
func (b *Backups) add(until time.Time) {
	if !b.Any || until.IsZero() || !b.Until.IsZero() && until.After(b.Until) {
		b.Until = until
	}
	b.Any = true
}

// BackupsOf finds the backups that hold an object, which was purged at an instant, or is to be: those of its own, and those of the whole installation from before.
// Those that have ended are none.
func BackupsOf(ctx context.Context, tx store.Tx, v vault.ID, id vault.ObjectID, purged, at time.Time) (b Backups, err error) {
	needs, err := tx.KeyNeeds(ctx, store.BackupsOf(v), id)
	if err != nil {
		return b, err
	}
	for _, n := range needs {
		if !n.Ended(at) {
			b.add(n.Until)
		}
	}
	whole, err := tx.Backups(ctx, store.BackupQuery{Kind: store.FullBackup})
	for _, f := range whole {
		// One that was begun before the purge may hold the object, whenever it ended.
		if !f.Made.After(purged) && (f.Expires.IsZero() || at.Before(f.Expires)) {
			b.add(f.Expires)
		}
	}
	return b, err
}

// Backups tells who may purge a deleted object until when backups of it can bring it back.
func (l Lifecycle) Backups(ctx context.Context, call *guard.Call, name string) (b Backups, err error) {
	if err := vault.CheckObjectName(name); err != nil {
		return b, err
	}
	s, need := l.objects, l.need(l.objects.Kind.Purge, name)
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			o, err := s.deleted(ctx, tx, call.Vault.Vault.ID, name)
			if err != nil {
				return err
			}
			b, err = BackupsOf(ctx, tx, o.Vault, o.ID, call.Started, call.Started)
			return err
		})
	})
	return b, err
}
