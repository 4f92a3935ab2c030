package sqlite

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
	"github.com/keywright/keywright/internal/vault"
)

// How objects that are bare after an upgrade or a load come to carry their current versions: so many in a transaction, of some milliseconds, with a pause
// behind it.
const (
	carryAtOnce = 128
	carryPause  = 20 * time.Millisecond
	// carryRetry is the pause behind a failure.
	carryRetry = 10 * time.Second
)

// anyBare reports whether objects have to be seen to. Whoever loads opens the store anew behind it.
func (s *Store) anyBare() (bool, error) {
	t := s.update(store.Op{}, 0)
	list, err := t.Bare(context.Background(), "", 1)
	return len(list) > 0 && !s.loading, err
}

// runCarry ends when no object is bare. Until then those are read as if none carried anything.
func (s *Store) runCarry() {
	defer s.background.Done()
	for after := vault.ObjectID(""); ; {
		last, err := s.carry(after)
		pause := carryPause
		switch {
		case err != nil:
			pause = carryRetry
		case last == "":
			return
		default:
			after = last
		}
		select {
		case <-s.stop:
			return
		case <-time.After(pause):
		}
	}
}

// carry sees to the next bare objects behind one, and returns the last of them, or "" when there is none.
func (s *Store) carry(after vault.ObjectID) (last vault.ObjectID, err error) {
	ctx := context.Background()
	var list []vault.ObjectID
	err = s.View(ctx, func(t store.Tx) error {
		list, err = t.(*relational.Tx).Bare(ctx, after, carryAtOnce)
		return err
	})
	if err != nil || len(list) == 0 {
		return "", err
	}
	return list[len(list)-1], s.submit(ctx, store.Op{}, func(t store.Tx) error { return t.(*relational.Tx).Carry(ctx, list) })
}
