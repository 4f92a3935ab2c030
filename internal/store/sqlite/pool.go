package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/keywright/keywright/internal/store"
)

// pool holds the connections of readers. They are opened when first needed, up to a bound, and the one that was used last is
// used next: its statements are prepared and its pages are warm.
type pool struct {
	path string
	// slots holds one token per connection that may be taken.
	slots chan struct{}
	waits store.WaitMeter
	once  sync.Once

	mu   sync.Mutex
	idle []*conn
}

// readersFor bounds the readers: a few more than can run at once, since a read may wait for the disk.
func readersFor(procs int) int { return min(max(2*procs, 4), 32) }

func newPool(path string, size int) *pool {
	p := &pool{path: path, slots: make(chan struct{}, size)}
	for range size {
		p.slots <- struct{}{}
	}
	return p
}

// get waits for a free connection, or for the end of ctx.
func (p *pool) get(ctx context.Context) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading from the store: %w", err)
	}
	if err := p.waits.Take(ctx, p.slots); err != nil {
		return nil, fmt.Errorf("waiting to read from the store: %w", err)
	}
	if c := p.pop(); c != nil {
		return c, nil
	}
	c, err := newConn(p.path, readerCacheKiB, "busy_timeout=1000", "query_only=ON")
	if err != nil {
		p.slots <- struct{}{}
		return nil, unavailable(err)
	}
	return c, nil
}

func (p *pool) pop() *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	last := len(p.idle) - 1
	c := p.idle[last]
	p.idle = p.idle[:last]
	return c
}

func (p *pool) push(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = append(p.idle, c)
}

// put ends the reader's transaction and gives the connection back. One that does not even do that is closed.
func (p *pool) put(c *conn) {
	if _, err := c.exec("ROLLBACK"); err != nil {
		c.close()
	} else {
		p.push(c)
	}
	p.slots <- struct{}{}
}

// close closes every connection. All of them must have been given back.
func (p *pool) close() error {
	var errs []error
	p.once.Do(func() {
		for range cap(p.slots) {
			<-p.slots
		}
		for _, c := range p.idle {
			errs = append(errs, c.close())
		}
	})
	return errors.Join(errs...)
}
