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

func (s *Store) carry(after vault.ObjectID) (last vault.ObjectID, err error) {
	err = s.submit(context.Background(), store.Op{}, func(t store.Tx) error {
		last, err = t.(*relational.Tx).Carry(context.Background(), after, carryAtOnce)
		return err
	})
	return last, err
}
