package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// fault hurts something and heals it again.
type fault struct {
	name string
	do   func(ctx context.Context, i int) error
}

// recoveryMost is how long everything may take to work again after a fault was healed.
const recoveryMost = time.Minute

func (r *run) faults() []fault {
	nodes := r.in.nodes
	return []fault{
		{"kill -9 of a node", func(ctx context.Context, i int) error {
			n := nodes[i%len(nodes)]
			n.kill()
			rest(ctx, r.down)
			return n.start(ctx)
		}},
		{"a node stopped", func(ctx context.Context, i int) error {
			n := nodes[i%len(nodes)]
			if err := n.signal(syscall.SIGSTOP); err != nil {
				return err
			}
			rest(ctx, r.stopped)
			return n.signal(syscall.SIGCONT)
		}},
		{"a node cut off from the databases", func(ctx context.Context, i int) error {
			n := nodes[i%len(nodes)]
			if err := n.databases.Cut(); err != nil {
				return err
			}
			r.closes(ctx, n, time.Now().Add(r.cut))
			return n.databases.Heal()
		}},
		{"a node cut off from its clients", func(ctx context.Context, i int) error {
			n := nodes[i%len(nodes)]
			if err := n.clients.Cut(); err != nil {
				return err
			}
			rest(ctx, r.cut)
			return n.clients.Heal()
		}},
		{"kill -9 of the database", func(ctx context.Context, _ int) error { return r.pair.restart(ctx, syscall.SIGKILL, r.down) }},
		{"restart of the database", func(ctx context.Context, _ int) error { return r.pair.restart(ctx, syscall.SIGINT, 0) }},
		{"fail-over of the database", func(ctx context.Context, _ int) error { return r.pair.failOver(ctx) }},
	}
}

// closes sees that a node that has been cut off for a second serves nothing of the strict vault, until an instant.
func (r *run) closes(ctx context.Context, n *node, until time.Time) {
	rest(ctx, bound+bound/10)
	for time.Now().Before(until) && ctx.Err() == nil {
		a, err := n.get(ctx, strict, r.token, "steady")
		switch {
		case err != nil: // that is no answer
			r.figures.refused.Add(1)
		case a.status != http.StatusServiceUnavailable:
			r.wrong("%s, which is cut off, answers %d %s", n.name, a.status, a.code)
		default:
			r.figures.closed.Add(1)
		}
		rest(ctx, r.pause)
	}
}

// happened is what one kind of fault did.
type happened struct {
	count int
	// writes and reads are the longest times without a write, or a read of the strict vault, anywhere; recovered the longest from the healing until all nodes do everything.
	writes, reads, recovered time.Duration
}

// hurt has faults happen one after the other: each at least once, and for as long as the plan says.
func (r *run) hurt(ctx context.Context) {
	list := r.faults()
	all := make(map[string]*happened)
	end := time.Now().Add(r.lasts)
	for i := 0; i < len(list) || time.Now().Before(end); i++ {
		f := list[i%len(list)]
		h := all[f.name]
		if h == nil {
			h = &happened{}
			all[f.name] = h
		}
		r.say("%s, %d", f.name, i/len(list)+1)
		r.writes.reset()
		r.reads.reset()
		if err := f.do(ctx, i/len(list)+i); err != nil {
			r.Fatalf("%s: %v", f.name, err)
		}
		healed := time.Now()
		r.say("after %s", f.name)
		r.recover(ctx)
		took := time.Since(healed)
		h.count++
		h.writes, h.reads, h.recovered = max(h.writes, r.writes.longest()), max(h.reads, r.reads.longest()), max(h.recovered, took)
		r.Logf("recovered %s after it was healed; nobody wrote for %s, nobody read for %s", took.Round(time.Millisecond), r.writes.longest().Round(time.Millisecond),
			r.reads.longest().Round(time.Millisecond))
		if f.name == "fail-over of the database" {
			r.say("another standby is made")
			if err := r.pair.replace(ctx); err != nil {
				r.Fatal(err)
			}
			r.recover(ctx)
		}
		if r.Failed() {
			break
		}
		rest(ctx, r.calm)
	}
	for _, f := range list {
		if h := all[f.name]; h != nil {
			r.Logf("%-36s %3d times: at most %6s without a write, %6s without a read, %6s until all nodes did everything again", f.name, h.count,
				h.writes.Round(10*time.Millisecond), h.reads.Round(10*time.Millisecond), h.recovered.Round(10*time.Millisecond))
		}
	}
}

// recover waits until every node reads and writes, and remembers again what it did before.
func (r *run) recover(ctx context.Context) {
	r.Helper()
	var all sync.WaitGroup
	for _, n := range r.in.nodes {
		all.Go(func() {
			for end := time.Now().Add(recoveryMost); ; rest(ctx, 20*time.Millisecond) {
				err := r.works(ctx, n)
				if err == nil {
					return
				}
				if time.Now().After(end) || ctx.Err() != nil {
					r.wrong("%s did not recover within %s: %v", n.name, recoveryMost, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func (r *run) works(ctx context.Context, n *node) error {
	name, value := "beat-"+n.name, fmt.Sprint(time.Now().UnixNano())
	a, err := n.set(ctx, strict, r.token, name, value)
	if err := failure(a, err); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	r.stored(name, a, value)
	a, err = n.get(ctx, strict, r.token, name)
	if err := failure(a, err); err != nil {
		return fmt.Errorf("reading: %w", err)
	}
	if a.value != value {
		return fmt.Errorf("it reads %q after it wrote %q", a.value, value)
	}
	if err := failure(n.get(ctx, strict, r.token, "steady")); err != nil { // so that the node remembers what it must not serve when it is cut off
		return fmt.Errorf("reading what never changes: %w", err)
	}
	for _, known := range r.known {
		if err := failure(n.get(ctx, stale, r.token, known)); err != nil {
			return fmt.Errorf("reading %s: %w", known, err)
		}
	}
	return nil
}
