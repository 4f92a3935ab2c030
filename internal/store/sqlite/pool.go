package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// pool holds the connections of readers. They are opened when first needed, up to a bound.
type pool struct {
	path string
	// slots holds one entry per connection not in use; nil stands for one that is not open yet.
	slots chan *conn
	size  int
	once  sync.Once
}

// readersFor bounds the readers: a few more than can run at once, since a read may wait for the disk.
func readersFor(procs int) int { return min(max(2*procs, 4), 32) }

func newPool(path string, size int) *pool {
	p := &pool{path: path, slots: make(chan *conn, size), size: size}
	for range size {
		p.slots <- nil
	}
	return p
}

// get waits for a free connection, or for the end of ctx.
func (p *pool) get(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading from the store: %w", err)
	}
	var c *conn
	select {
	case c = <-p.slots:
	case <-ctx.Done():
		return nil, fmt.Errorf("waiting to read from the store: %w", ctx.Err())
	}
	if c != nil {
		return c, nil
	}
	c, err := newConn(p.path, readerCacheKiB, "busy_timeout=1000", "query_only=ON")
	if err != nil {
		p.slots <- nil
		return nil, unavailable(err)
	}
	return c, nil
}

// put ends the reader's transaction and gives the connection back. One that does not even do that is replaced.
func (p *pool) put(c *conn) {
	if _, err := c.exec("ROLLBACK"); err != nil {
		c.close()
		c = nil
	}
	p.slots <- c
}

// close closes every connection. All of them must have been given back.
func (p *pool) close() error {
	var errs []error
	p.once.Do(func() {
		for range p.size {
			if c := <-p.slots; c != nil {
				errs = append(errs, c.close())
			}
		}
	})
	return errors.Join(errs...)
}
