package postgres

import (
	"context"
	"fmt"
	"sync"

	"github.com/keywright/keywright/internal/store"
)

// readers is how many connections Views have. More gain nothing; other nodes have their own.
const readers = 16

// pool holds the connections of Views. They are opened when first needed, up to a bound, and the one that was used last is used next.
type pool struct {
	open func(context.Context) (*conn, error)
	// slots holds one token per connection that may be taken.
	slots chan struct{}
	waits store.WaitMeter

	mu   sync.Mutex
	idle []*conn
}

func newPool(open func(context.Context) (*conn, error)) *pool {
	p := &pool{open: open, slots: make(chan struct{}, readers)}
	for range readers {
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
	c, err := p.open(ctx)
	if err != nil {
		p.slots <- struct{}{}
	}
	return c, err
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

// put gives a connection back, unless it is dead.
func (p *pool) put(c *conn) {
	if !c.dead() {
		p.mu.Lock()
		p.idle = append(p.idle, c)
		p.mu.Unlock()
	}
	p.slots <- struct{}{}
}

// replace opens a connection in the place of a dead one, and closes the idle ones: what ended one has most likely ended all.
func (p *pool) replace(ctx context.Context) (*conn, error) {
	for c := p.pop(); c != nil; c = p.pop() {
		c.cut() // a good-bye would wait for a server that does not answer, as often as there are connections
	}
	return p.open(ctx)
}

// close closes every connection. All of them must have been given back.
func (p *pool) close() {
	for c := p.pop(); c != nil; c = p.pop() {
		c.close()
	}
}
