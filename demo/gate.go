package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// gate is the way by which Keywright, and nobody else, reaches the database: a forwarder of TCP connections that can do something before it lets one
// through. Between a change and the login that tests it Keywright makes a new connection, so that whatever is to happen there happens there, every time.
type gate struct {
	listener net.Listener
	target   string
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu     sync.Mutex
	before func(context.Context) error
	failed error
}

// errShut is what a gate's hook returns to close the connection. It is no failure.
var errShut = errors.New("the gate is shut")

// openGate forwards from a free port of loop-back to the target, a host:port. The caller must call close.
func openGate(target string) (*gate, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &gate{listener: l, target: target, cancel: cancel}
	g.running.Go(func() { g.accept(ctx) })
	return g, nil
}

func (g *gate) address() string { return g.listener.Addr().String() }

// meanwhile has before called for each new connection while do runs, and returns the errors of both. One connection at a time is looked at.
func (g *gate) meanwhile(before func(context.Context) error, do func() error) error {
	g.mu.Lock()
	g.before, g.failed = before, nil
	g.mu.Unlock()
	err := do()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.before = nil
	return errors.Join(err, g.failed)
}

// close ends all connections and waits for their goroutines.
func (g *gate) close() error {
	g.cancel()
	err := g.listener.Close()
	g.running.Wait()
	return err
}

func (g *gate) accept(ctx context.Context) {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return // it was closed
		}
		g.running.Go(func() {
			defer conn.Close()
			if g.admit(ctx) == nil {
				g.forward(ctx, conn)
			}
		})
	}
}

func (g *gate) admit(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.before == nil {
		return nil
	}
	err := g.before(ctx)
	if err != nil && !errors.Is(err, errShut) {
		g.failed = errors.Join(g.failed, fmt.Errorf("between Keywright and the database: %w", err))
	}
	return err
}

// forward copies in both directions until one side ends, which ends the other.
func (g *gate) forward(ctx context.Context, client net.Conn) {
	server, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp4", g.target)
	if err != nil {
		return
	}
	over, cancel := context.WithCancel(ctx)
	defer cancel()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // how a connection ended is its two ends' affair
			cancel()
		})
	}
	<-over.Done()
	client.Close()
	server.Close()
	both.Wait()
}
