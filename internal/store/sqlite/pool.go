package sqlite

import (
	"context"

	"github.com/keywright/keywright/internal/store/relational"
)

// readersFor bounds the readers: a few more than can run at once, since a read may wait for the disk.
func readersFor(procs int) int { return min(max(2*procs, 4), 32) }

// openReaders returns the connections of Views.
func openReaders(path string, size int) *relational.Pool[*conn] {
	return relational.NewPool(size, func(context.Context) (*conn, error) {
		c, err := newConn(path, readerCacheKiB, "busy_timeout=1000", "query_only=ON")
		if err != nil {
			return nil, unavailable(err)
		}
		return c, nil
	})
}

// giveBack ends the reader's transaction and gives the connection back. One that does not even do that is closed.
func (s *Store) giveBack(c *conn) {
	if _, err := c.exec("ROLLBACK"); err != nil {
		c.close()
		s.readers.Lose()
		return
	}
	s.readers.Put(c)
}
