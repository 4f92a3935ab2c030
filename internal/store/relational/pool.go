package relational

import (
	"context"
	"fmt"
	"sync"

	"github.com/keywright/keywright/internal/store"
)

// Pool holds an engine's connections for Views, C. They are opened when first needed, up to a bound, and the one that was used last is used next: its statements are
// prepared and its pages are warm.
type Pool[C any] struct {
	open func(context.Context) (C, error)
	// slots holds one token per connection that may be taken.
	slots chan struct{}
	waits store.WaitMeter

	mu   sync.Mutex
	idle []C
}

// NewPool returns a pool of at most so many connections.
func NewPool[C any](size int, open func(context.Context) (C, error)) *Pool[C] {
	p := &Pool[C]{open: open, slots: make(chan struct{}, size)}
	for range size {
		p.slots <- struct{}{}
	}
	return p
}

// Get waits for a free connection, or for the end of ctx. Put or Lose gives it back.
func (p *Pool[C]) Get(ctx context.Context) (c C, err error) {
	if err := ctx.Err(); err != nil {
		return c, fmt.Errorf("reading from the store: %w", err)
	}
	if err := p.waits.Take(ctx, p.slots); err != nil {
		return c, fmt.Errorf("waiting to read from the store: %w", err)
	}
	if c, ok := p.pop(); ok {
		return c, nil
	}
	if c, err = p.open(ctx); err != nil {
		p.slots <- struct{}{}
	}
	return c, err
}

func (p *Pool[C]) pop() (c C, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return c, false
	}
	last := len(p.idle) - 1
	c = p.idle[last]
	p.idle = p.idle[:last]
	return c, true
}

// Put gives a connection back.
func (p *Pool[C]) Put(c C) {
	p.mu.Lock()
	p.idle = append(p.idle, c)
	p.mu.Unlock()
	p.slots <- struct{}{}
}

// Lose says that a connection is no more. Another may be opened in its place.
func (p *Pool[C]) Lose() { p.slots <- struct{}{} }

// Empty hands the idle connections to end, which closes them.
func (p *Pool[C]) Empty(end func(C)) {
	for c, ok := p.pop(); ok; c, ok = p.pop() {
		end(c)
	}
}

// Size is how many connections there are at most.
func (p *Pool[C]) Size() int { return cap(p.slots) }

// Wait tells how long callers of Get waited for one.
func (p *Pool[C]) Wait() store.Wait { return p.waits.Wait() }
