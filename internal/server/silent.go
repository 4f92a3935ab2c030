package server

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// silentConns holds the connections on which no request has begun. http.Server counts them as busy for five seconds, so that one of
// them would hold up the end of the server for as long as requests under way may.
type silentConns struct {
	mu     sync.Mutex // guards what follows
	conns  map[net.Conn]struct{}
	closed bool
}

// changed is the hook of http.Server for the states of its connections.
func (s *silentConns) changed(c net.Conn, state http.ConnState) {
	if state == http.StateIdle {
		return // it was active before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if state != http.StateNew {
		delete(s.conns, c)
		return
	}
	if s.closed {
		hangUp(c)
		return
	}
	if s.conns == nil {
		s.conns = map[net.Conn]struct{}{}
	}
	s.conns[c] = struct{}{}
}

// close hangs up on all of them, and on those that come.
func (s *silentConns) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.conns {
		hangUp(c)
	}
}

// hangUp closes what is below TLS: its own farewell can wait for a peer that does not read.
func hangUp(c net.Conn) {
	if t, ok := c.(*tls.Conn); ok {
		c = t.NetConn()
	}
	c.Close()
}
