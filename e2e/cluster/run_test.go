package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/e2e/daemon"
	"github.com/keywright/keywright/e2e/netns"
)

// bound is how far reads may be behind what was acknowledged.
const bound = time.Second

// The vaults: one as all are at first, two that may be stale for longer than any fault lasts, and one that may be for less than that. Nothing changes in the one
// called stale: what is being changed when the database goes away no node has in memory.
const (
	strict, stale, changing, brief = "strict", "stale", "changing", "brief"
	staleFor                       = 10 * time.Minute
)

// run is one run of everything.
type run struct {
	*testing.T
	plan
	in      *installation
	pair    *pair
	natives []*client.Client
	targets []*target
	// token is the administrator's for vaults.
	token string
	// known are secrets of the vault stale that never change.
	known []string

	// phase is what is being done, for messages.
	phase atomic.Pointer[string]
	// writes and reads tell when the last of them succeeded.
	writes, reads gap
	figures       figures

	mu    sync.Mutex
	acked []acked
	// finals judge, at the end, what was written.
	finals []func(context.Context)
}

// acked is a version of which a client was told that it is stored.
type acked struct{ name, version, value string }

// figures count what was done.
type figures struct {
	writes, doubtful, reads, refused atomic.Int64
	available, unavailable           atomic.Int64
	logins, rejected, loginErrors    atomic.Int64
	withdrawals, grants, renewals    atomic.Int64
	closed                           atomic.Int64
	mu                               sync.Mutex
	stalest                          time.Duration
	latest                           map[string]time.Duration
	rotations                        map[string]int64
	slowest                          time.Duration
}

// gap is the longest time between two successes.
type gap struct {
	mu    sync.Mutex
	last  time.Time
	worst time.Duration
}

func (g *gap) reset() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last, g.worst = time.Now(), 0
}

func (g *gap) success() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.worst, g.last = max(g.worst, now.Sub(g.last)), now
}

func (g *gap) longest() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	return max(g.worst, time.Since(g.last))
}

// begin starts everything.
func begin(t *testing.T, p plan) *run {
	t.Helper()
	lans := netns.NewLANs(t, 3)
	r := &run{T: t, plan: p}
	r.figures.latest, r.figures.rotations = map[string]time.Duration{}, map[string]int64{}
	r.say("starting")
	var systems errgroup.Group // the broker alone takes many seconds
	targets := make([]*target, 2)
	for i, start := range []func(context.Context, testing.TB, string) (*target, error){startPostgres, startRabbitMQ} {
		systems.Go(func() (err error) {
			targets[i], err = start(t.Context(), t, lans[2].Gateway)
			return err
		})
	}
	t.Cleanup(func() { _ = systems.Wait() })
	r.pair = newPair(t, lans[1])
	dir := t.TempDir()
	var nodes []*node
	for i := range 3 {
		n := &node{name: fmt.Sprint("node", i+1), dir: filepath.Join(dir, fmt.Sprint("node", i+1)), clients: lans[0].Host(t)}
		n.databases, n.targets = lans[1].Also(t, n.clients), lans[2].Also(t, n.clients)
		nodes = append(nodes, n)
		t.Cleanup(n.kill)
	}
	r.in = install(t, nodes, r.pair.dsn(), p)
	must(t, nodes[0].start(t.Context()))
	var all errgroup.Group
	for _, n := range nodes[1:] {
		all.Go(func() error { return n.start(t.Context()) })
	}
	must(t, all.Wait())
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range nodes {
				t.Logf("%s:\n%s", n.name, n.tail(3000))
			}
		}
	})
	r.in.enrol(t)
	for _, n := range nodes {
		native, err := r.in.native(n)
		must(t, err)
		r.natives = append(r.natives, native)
	}
	r.furnish()
	started(t, systems.Wait())
	r.targets = targets
	for _, target := range targets {
		r.protect(target)
	}
	return r
}

// started skips the test where a program is not installed, or fails under CI=true.
func started(t testing.TB, err error) {
	t.Helper()
	var missing daemon.Missing
	if errors.As(err, &missing) && os.Getenv("CI") != "true" {
		t.Skip("SKIPPED, NOT PASSED: ", err)
	}
	must(t, err)
}

// furnish makes the vaults and what is in them from the beginning.
func (r *run) furnish() {
	ctx, native := r.Context(), r.natives[0]
	for name, may := range map[string]time.Duration{strict: 0, stale: staleFor, changing: staleFor, brief: r.briefFor} {
		v, err := native.CreateVault(ctx, name, api.CreateVault{Subscription: r.in.made.SubscriptionID, ResourceGroup: r.in.made.ResourceGroup})
		must(r, err)
		_, err = native.CreateGrant(ctx, api.CreateGrant{Role: "Key Vault Administrator", Principal: r.in.clientID, Scope: v.ID})
		must(r, err)
		if may > 0 {
			_, err = native.UpdateVault(ctx, name, api.UpdateVault{StaleFor: may.String()})
			must(r, err)
		}
	}
	var err error
	r.token, err = r.in.token(ctx, r.in.nodes[0], r.in.clientID, r.in.secret, vaultResource())
	must(r, err)
	for i := range 20 {
		r.known = append(r.known, fmt.Sprint("known-", i))
	}
	for _, name := range append([]string{"steady"}, r.known...) {
		vault := stale
		if name == "steady" {
			vault = strict
		}
		must(r, r.anywhere(ctx, func(n int) error {
			a, err := r.in.nodes[n].set(ctx, vault, r.token, name, "value of "+name)
			return failure(a, err)
		}))
	}
}

// failure is an answer that is no success, as an error.
func failure(a answer, err error) error {
	if err == nil && a.status != 200 {
		err = fmt.Errorf("%d %s", a.status, a.code)
	}
	return err
}

// anywhere tries at one node after the other until it works.
func (r *run) anywhere(ctx context.Context, do func(n int) error) (err error) {
	first := rand.N(len(r.in.nodes))
	for end, i := time.Now().Add(time.Minute), 0; time.Now().Before(end) && ctx.Err() == nil; i++ {
		if err = do((first + i) % len(r.in.nodes)); err == nil {
			return nil
		}
		rest(ctx, 50*time.Millisecond)
	}
	return errors.Join(err, ctx.Err())
}

// rest waits, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// say notes the phase.
func (r *run) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.phase.Store(&text)
	r.Logf("%s %s", time.Now().Format("15:04:05.000"), text)
}

// wrong is a promise that was broken.
func (r *run) wrong(format string, args ...any) {
	r.Errorf("%s [%s]: %s", time.Now().Format("15:04:05.000"), *r.phase.Load(), fmt.Sprintf(format, args...))
}

// stored notes a version that a client was told is stored.
func (r *run) stored(name string, a answer, value string) {
	r.figures.writes.Add(1)
	r.writes.success()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acked = append(r.acked, acked{name, a.version, value})
}

// finally judges at the end.
func (r *run) finally(judge func(context.Context)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.finals = append(r.finals, judge)
}
