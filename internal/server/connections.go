package server

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultMaxConnections is how many connections a listener keeps open at once. An idle one takes about 20 KiB with TLS, so that they take
// 200 MiB at most.
const DefaultMaxConnections = 10_000

// connections counts the open connections of all listeners.
type connections struct {
	open  atomic.Int64
	waits atomic.Int64
}

// limit keeps at most so many connections of the listener open at once. Those beyond wait in the kernel's queue until another one ends:
// a client that comes in a burst is served a little later, and none is turned away.
func (c *connections) limit(l net.Listener, most int) net.Listener {
	return &limitedListener{Listener: l, counts: c, slots: make(chan struct{}, most), closed: make(chan struct{})}
}

// limitedListener holds a slot for each of its open connections.
type limitedListener struct {
	net.Listener
	counts *connections
	slots  chan struct{}

	once   sync.Once
	closed chan struct{} // closed by Close
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	default:
		l.counts.waits.Add(1)
		select {
		case l.slots <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	l.counts.open.Add(1)
	return &limitedConn{Conn: c, l: l, reading: deadline{tell: c.SetReadDeadline}, writing: deadline{tell: c.SetWriteDeadline}}, nil
}

// Close implements net.Listener. It ends an Accept that waits for a slot.
func (l *limitedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedConn gives its slot back when it is closed, and keeps its deadlines.
type limitedConn struct {
	net.Conn
	l                *limitedListener
	once             sync.Once
	reading, writing deadline
}

// SetDeadline implements net.Conn.
func (c *limitedConn) SetDeadline(t time.Time) error {
	return errors.Join(c.reading.set(t), c.writing.set(t))
}

// SetReadDeadline implements net.Conn.
func (c *limitedConn) SetReadDeadline(t time.Time) error { return c.reading.set(t) }

// SetWriteDeadline implements net.Conn.
func (c *limitedConn) SetWriteDeadline(t time.Time) error { return c.writing.set(t) }

// Read implements net.Conn.
func (c *limitedConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if n > 0 || !c.reading.again(err) {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (c *limitedConn) Write(p []byte) (int, error) {
	written := 0
	for {
		n, err := c.Conn.Write(p[written:])
		written += n
		if !c.writing.again(err) {
			return written, err
		}
	}
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.l.counts.open.Add(-1)
		<-c.l.slots
	})
	return err
}
