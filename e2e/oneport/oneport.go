// Package oneport serves two protocols on one port of loopback, for tests that hurt a system by one address: whoever says "AMQP" first gets
// the one server, and everybody else the other.
package oneport

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// patience is how long a client may be silent before it counts as one that waits for its server to speak. A busy machine needs most of it.
const patience = 300 * time.Millisecond

// Start listens until the test ends. A client whose first bytes are the word is led to the address of the word, any other one to the other address.
func Start(t testing.TB, word, address, other string) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &port{word: word, address: address, other: other, open: map[net.Conn]struct{}{}}
	p.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			p.group.Go(func() { p.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.end()
		p.group.Wait()
	})
	return listener.Addr().String()
}

type port struct {
	word, address, other string
	group                sync.WaitGroup

	mu    sync.Mutex
	open  map[net.Conn]struct{}
	ended bool
}

// keep notes a connection for end, and refuses it after that.
func (p *port) keep(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[conn] = struct{}{}
	return !p.ended
}

func (p *port) drop(conn net.Conn) {
	_ = conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, conn)
}

func (p *port) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for conn := range p.open {
		_ = conn.Close()
	}
}

func (p *port) serve(client net.Conn) {
	defer p.drop(client)
	if !p.keep(client) {
		return
	}
	head := make([]byte, len(p.word))
	_ = client.SetReadDeadline(time.Now().Add(patience))
	n, err := io.ReadFull(client, head)
	_ = client.SetReadDeadline(time.Time{})
	if timeout, ok := err.(net.Error); err != nil && (!ok || !timeout.Timeout()) {
		return
	}
	address := p.other
	if string(head[:n]) == p.word {
		address = p.address
	}
	server, err := net.Dial("tcp4", address)
	if err != nil {
		return
	}
	defer p.drop(server)
	if !p.keep(server) {
		return
	}
	if _, err := server.Write(head[:n]); err != nil {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { pipe(server, client) })
	both.Go(func() { pipe(client, server) })
	both.Wait()
}

// pipe copies until the end, and passes the end on.
func pipe(to, from net.Conn) {
	_, err := io.Copy(to, from)
	if tcp, ok := to.(*net.TCPConn); ok && err == nil {
		_ = tcp.CloseWrite()
		return
	}
	_ = to.Close()
	_ = from.Close()
}
