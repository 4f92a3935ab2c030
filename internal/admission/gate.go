package admission

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
)

// DefaultPatience is how long a request waits for its turn. Clients wait longer than that for an answer.
const DefaultPatience = 5 * time.Second

// Overloaded is the reason of a request that was not let in.
const Overloaded fault.Reason = "Overloaded"

// gate is the way in for the requests of one class.
type gate struct {
	bounds   bounds
	procs    int
	patience time.Duration
	clock    clock.Clock
	// open says that nobody is counted: only for a class without a most.
	open atomic.Bool

	mu   sync.Mutex // guards what follows
	line *line
	// rate is how many were let in per second of late. refused counts since the start.
	rate    float64
	refused uint64
}

func newGate(class Class, c *Config) *gate {
	g := &gate{bounds: limits[class], procs: c.Procs, patience: c.Patience, clock: c.Clock}
	g.line = newLine(g.bounds.usual*c.Procs, c.MostWaiting)
	g.open.Store(g.bounds.most == 0)
	return g
}

// enter returns when the request may run; the pass is nil when nobody counts.
func (g *gate) enter(ctx context.Context, tenant string) (*Pass, error) {
	if g.open.Load() {
		return nil, nil
	}
	p := &Pass{gate: g}
	g.mu.Lock()
	g.line.enter(p, tenant, g.clock.Now())
	g.mu.Unlock()
	if p.over == nil {
		g.giveWay()
		return p, nil
	}
	timer := time.NewTimer(around(g.patience))
	defer timer.Stop()
	select {
	case <-p.over:
	case <-timer.C:
	case <-ctx.Done():
	}
	p, err := g.end(ctx, p)
	if err == nil {
		g.giveWay()
	}
	return p, err
}

// giveWay lets everything else that can run go first, once, where reads are not what was let in. A request runs from its first byte to its end on one
// processor unless something makes it wait, and each that came in the meantime stands in the Go scheduler's own line behind it, reads and what is to be held
// up alike: then there is never more than one of a class running, and no limit is ever reached. Those that came need only microseconds to get to
// their lines.
func (g *gate) giveWay() {
	if g.bounds.most > 0 {
		runtime.Gosched()
	}
}

// around is a time within a quarter of another one, so that requests that came together are not refused, and repeated, together.
func around(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}

// end is the end of a wait, however it came.
func (g *gate) end(ctx context.Context, p *Pass) (*Pass, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.in {
		return p, nil
	}
	if p.place != nil {
		g.line.abandon(p)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	g.refused++
	return nil, g.refusal(p)
}

// refusal says whose fault it is that a request could not be let in: the tenant's, when it has more than its part of what runs.
func (g *gate) refusal(p *Pass) error {
	if g.line.greedy(p.flow) {
		return fault.New(fault.Throttled, "more requests of this tenant run at once than its part of a server that has too much to do: send fewer at a time, "+
			"and this one again later").Because(Overloaded).After(g.backlog())
	}
	return fault.New(fault.Unavailable, "the server has more to do than it can: send the request again later").Because(Overloaded).After(g.backlog())
}

// The shortest and the longest time for which a caller is told to wait.
const (
	leastRetry = time.Second
	mostRetry  = 30 * time.Second
)

// backlog is how long it takes to work off what waits.
func (g *gate) backlog() time.Duration {
	if g.rate <= 0 {
		return mostRetry
	}
	d := time.Duration(float64(g.line.waiting) / g.rate * float64(time.Second))
	return min(max(d, leastRetry), mostRetry)
}

// regulate sets the limit of the coming interval by the delays of the last one, and returns how many were refused up to now.
func (g *gate) regulate(d Delays, interval time.Duration) uint64 {
	load := g.bounds.load(d)
	g.mu.Lock()
	defer g.mu.Unlock()
	if load <= 1 && g.open.Load() {
		return g.refused
	}
	l := g.line
	g.rate = float64(l.admitted) / interval.Seconds()
	limit := g.bounds.next(l.limit, g.procs, l.peak, load)
	switch {
	case g.bounds.most > 0:
		limit = min(limit, g.bounds.most)
	case g.open.Swap(false): // nobody was counted until now
		limit = g.bounds.usual * g.procs
	case load < calm && l.peak < l.limit:
		g.open.Store(true)
	}
	l.peak, l.admitted = l.running, 0
	l.setLimit(limit, g.clock.Now())
	return g.refused
}

// Leave says that the request is over, or that it runs on without counting. It may be called more than once, and for a nil pass.
func (p *Pass) Leave() {
	if p == nil {
		return
	}
	g := p.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if p.in {
		p.in = false
		g.line.leave(p, g.clock.Now())
	}
}
