package nodes_test

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// link carries a node's connections to the database, and can be cut: then nothing comes through any more, and nobody is told.
type link struct {
	listener net.Listener
	target   string
	cut      atomic.Bool

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func newLink(t testing.TB, target string) *link {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k := &link{listener: l, target: target, open: map[net.Conn]struct{}{}}
	t.Cleanup(func() { l.Close(); k.mend() })
	go k.accept()
	return k
}

func (k *link) port() int { return k.listener.Addr().(*net.TCPAddr).Port }

func (k *link) accept() {
	for {
		c, err := k.listener.Accept()
		if err != nil {
			return
		}
		k.keep(c)
		go k.carry(c)
	}
}

func (k *link) keep(c net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.open[c] = struct{}{}
}

// carry copies both ways until an end closes. While the link is cut, what arrives is held back.
func (k *link) carry(c net.Conn) {
	defer c.Close()
	if k.cut.Load() {
		_, _ = io.Copy(io.Discard, c) // until mend closes it
		return
	}
	d, err := net.Dial("tcp4", k.target)
	if err != nil {
		return
	}
	k.keep(d)
	defer d.Close()
	go k.pipe(d, c)
	k.pipe(c, d)
}

func (k *link) pipe(to, from net.Conn) {
	defer to.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if k.cut.Load() {
			_, _ = io.Copy(io.Discard, from)
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// sever cuts the link.
func (k *link) sever() { k.cut.Store(true) }

// mend lets connections through again; those from before are over.
func (k *link) mend() {
	k.cut.Store(false)
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.open {
		c.Close()
	}
	clear(k.open)
}
