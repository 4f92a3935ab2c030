package amqp

import (
	"context"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// generation is one connection and those who use it.
type generation struct {
	conn    *amqp091.Connection
	version string
	// broken is closed when the connection is, retiring when another has taken its place.
	broken, retiring chan struct{}

	mu    sync.Mutex
	users int
	going bool
	idle  chan struct{} // closed when it is going and nobody uses it
	// free are channels that nobody uses now.
	free []*amqp091.Channel
}

func newGeneration(c *amqp091.Connection, version string) *generation {
	g := &generation{conn: c, version: version, broken: make(chan struct{}), retiring: make(chan struct{}), idle: make(chan struct{})}
	closed := c.NotifyClose(make(chan *amqp091.Error, 1))
	go func() { // ends with the connection
		<-closed
		close(g.broken)
	}()
	return g
}

func (g *generation) alive() bool { return !g.conn.IsClosed() }

// enter counts a user; not once the connection is going.
func (g *generation) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.going || !g.alive() {
		return false
	}
	g.users++
	return true
}

func (g *generation) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.users--; g.users == 0 && g.going {
		close(g.idle)
	}
}

// retire closes the connection when nobody uses it any more, or when the time is over.
func (g *generation) retire(drain time.Duration) {
	g.mu.Lock()
	if !g.going {
		g.going = true
		close(g.retiring)
		if g.users == 0 {
			close(g.idle)
		}
	}
	g.mu.Unlock()
	t := time.NewTimer(drain)
	defer t.Stop()
	select {
	case <-g.idle:
	case <-g.broken:
	case <-t.C:
	}
	_ = g.conn.Close() // it may be closed already
}

// maxFree bounds the channels that one connection keeps for the next user.
const maxFree = 64

func (g *generation) channel() (*amqp091.Channel, error) {
	g.mu.Lock()
	for n := len(g.free); n > 0; n = len(g.free) {
		ch := g.free[n-1]
		g.free = g.free[:n-1]
		if !ch.IsClosed() {
			g.mu.Unlock()
			return ch, nil
		}
	}
	g.mu.Unlock()
	return g.conn.Channel()
}

// put keeps a channel that was used without an error; any other is closed, because nobody knows what is left on it.
func (g *generation) put(ch *amqp091.Channel, good bool) {
	g.mu.Lock()
	if good && !g.going && len(g.free) < maxFree && !ch.IsClosed() {
		g.free = append(g.free, ch)
		g.mu.Unlock()
		return
	}
	g.mu.Unlock()
	_ = ch.Close()
}

// Lease is the right to use the connection until Release.
type Lease struct {
	g    *generation
	once sync.Once
}

// Connection returns the connection.
func (l *Lease) Connection() *amqp091.Connection { return l.g.conn }

// Version is the version of the secret that the connection was signed in with.
func (l *Lease) Version() string { return l.g.version }

// Retiring is closed when another connection has taken this one's place. Finish and release then: it is closed after the time to drain.
func (l *Lease) Retiring() <-chan struct{} { return l.g.retiring }

// Release gives the connection back. It may be called more than once.
func (l *Lease) Release() { l.once.Do(l.g.leave) }

// Acquire leases the current connection. Without one it waits until there is.
func (b *Broker) Acquire(ctx context.Context) (*Lease, error) {
	for {
		b.mu.Lock()
		current, renewed, closed := b.current, b.renewed, b.closed
		b.mu.Unlock()
		if closed {
			return nil, ErrClosed
		}
		if current.enter() {
			return &Lease{g: current}, nil
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-renewed:
		}
	}
}

// Do calls fn with a channel of the current connection, which fn must not keep. A channel may have served others before: confirm mode, once
// chosen, stays, and consumers have to be cancelled. What fn returns, Do returns.
func (b *Broker) Do(ctx context.Context, fn func(*amqp091.Channel) error) error {
	l, err := b.Acquire(ctx)
	if err != nil {
		return err
	}
	defer l.Release()
	ch, err := l.g.channel()
	if err != nil {
		return err
	}
	good := false
	defer func() { l.g.put(ch, good) }()
	err = fn(ch)
	good = err == nil
	return err
}
