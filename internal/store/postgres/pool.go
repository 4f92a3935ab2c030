package postgres

import (
	"context"

	"github.com/keywright/keywright/internal/store/relational"
)

// readers is how many connections Views have. More gain nothing; other nodes have their own.
const readers = 16

// openReaders returns the connections of Views.
func (s *Store) openReaders() *relational.Pool[*conn] {
	return relational.NewPool(readers, func(ctx context.Context) (*conn, error) { return s.connect(ctx, reader) })
}

// giveBack gives a connection back, unless it is dead.
func (s *Store) giveBack(c *conn) {
	if c.dead() {
		s.readers.Lose()
		return
	}
	s.readers.Put(c)
}

// replaceReader opens a connection in the place of a dead one, and closes the idle ones: what ended one has most likely ended all.
func (s *Store) replaceReader(ctx context.Context) (*conn, error) {
	s.readers.Empty((*conn).cut) // a good-bye would wait for a server that does not answer, as often as there are connections
	return s.connect(ctx, reader)
}
