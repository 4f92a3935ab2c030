package postgres_test

import (
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/internal/store/postgres"
)

// proxy stands between a store and its database, as the network does.
type proxy struct {
	t        testing.TB
	listener net.Listener
	target   string

	mu    sync.Mutex
	away  bool
	conns map[net.Conn]bool
	// swallow, when it is not nil, sees what the store sends; when it reports true that goes on to the server, and no answer comes back.
	swallow func(sent []byte) bool
	group   sync.WaitGroup
}

func newProxy(t testing.TB, cfg postgres.Config) *proxy {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(cfg.DSN)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{t: t, listener: l, target: u.Host, conns: make(map[net.Conn]bool)}
	p.group.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.group.Wait()
	})
	return p
}

// config is a configuration that goes through the proxy.
func (p *proxy) config(cfg postgres.Config) postgres.Config {
	cfg.DSN = strings.Replace(cfg.DSN, p.target, p.listener.Addr().String(), 1)
	return cfg
}

func (p *proxy) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		if !p.keep(c) {
			c.Close()
			continue
		}
		p.group.Go(func() { p.serve(c) })
	}
}

// keep remembers a connection, unless the network is cut.
func (p *proxy) keep(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.away {
		p.conns[c] = true
	}
	return !p.away
}

func (p *proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp4", p.target)
	if err != nil || !p.keep(server) {
		return
	}
	var both sync.WaitGroup
	var deaf sync.Once
	both.Go(func() {
		defer server.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := client.Read(buffer)
			if n > 0 && p.swallows(buffer[:n]) {
				deaf.Do(func() { client.Close() })
			}
			if n > 0 {
				if _, err := server.Write(buffer[:n]); err != nil {
					return
				}
			}
			if err != nil {
				// The server finishes what it was sent: it sees the end of the connection afterwards.
				server.(*net.TCPConn).CloseWrite()
				io.Copy(io.Discard, server)
				return
			}
		}
	})
	both.Go(func() {
		io.Copy(client, server)
		client.Close()
	})
	both.Wait()
}

func (p *proxy) swallows(sent []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.swallow != nil && p.swallow(sent)
}

// onSend sets what sees the store's messages.
func (p *proxy) onSend(f func([]byte) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.swallow = f
}

// cut ends all connections and lets none come up.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = true
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

// mend lets connections come up again.
func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.away = false
}
