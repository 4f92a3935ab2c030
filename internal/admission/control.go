package admission

import (
	"cmp"
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/clock"
)

// Interval is how often limits are set anew.
const Interval = 100 * time.Millisecond

// Config makes a Control. Clock, Procs, MostWaiting and Delays are required.
type Config struct {
	Clock clock.Clock
	// Procs is how many processors do the work.
	Procs int
	// MostWaiting bounds the requests of one class that wait.
	MostWaiting int
	// Patience is how long a request waits for its turn; 0 means DefaultPatience.
	Patience time.Duration
	// Delays measures how long work waited since it was called before. One goroutine calls it.
	Delays func() Delays
	// OnShedding is told when requests begin to be refused, and when none was for a minute. It may be nil.
	OnShedding func(bool)
}

// Control lets requests in.
type Control struct {
	config Config
	gates  [classes]*gate
	delays [resources]atomic.Int64
	// shedding is set while a request was refused within the last minute; refused and since are how many were when one was last, of the goroutine that
	// regulates.
	shedding atomic.Bool
	refused  uint64
	since    time.Time
}

// New checks the configuration. Limits stay what they are at first until Run.
func New(c Config) (*Control, error) {
	if c.Clock == nil || c.Procs <= 0 || c.MostWaiting <= 0 || c.Patience < 0 || c.Delays == nil {
		return nil, errors.New("an admission control needs a clock, the number of processors, a bound of those that wait, and what measures delays")
	}
	c.Patience = cmp.Or(c.Patience, DefaultPatience)
	k := &Control{config: c}
	for _, class := range Limited() {
		k.gates[class] = newGate(class, &c)
	}
	return k, nil
}

// Enter returns when a request of the class may run for the tenant. The pass is to be left when the request is over; a nil one may be left too. A request
// that waited in vain is a fault.Throttled when its tenant has more than its part of what runs, else a fault.Unavailable, both with the advice when to
// come again; the end of ctx is its error.
func (k *Control) Enter(ctx context.Context, c Class, tenant string) (*Pass, error) {
	if g := k.gates[c]; g != nil {
		return g.enter(ctx, tenant)
	}
	return nil, nil
}

// Run sets the limits until ctx ends.
func (k *Control) Run(ctx context.Context) {
	tick := time.NewTicker(Interval)
	defer tick.Stop()
	before := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			k.regulate(max(now.Sub(before), time.Millisecond))
			before = now
		}
	}
}

func (k *Control) regulate(interval time.Duration) {
	d := k.config.Delays()
	for r := range d {
		k.delays[r].Store(int64(d[r]))
	}
	var refused uint64
	for _, c := range Limited() {
		refused += k.gates[c].regulate(d, interval)
	}
	now := k.config.Clock.Now()
	if refused > k.refused {
		k.refused, k.since = refused, now
		k.setShedding(true)
	} else if now.Sub(k.since) >= quiet {
		k.setShedding(false)
	}
}

// quiet is for how long no request was refused when nobody need worry any more.
const quiet = time.Minute

func (k *Control) setShedding(on bool) {
	if k.shedding.Swap(on) != on && k.config.OnShedding != nil {
		k.config.OnShedding(on)
	}
}

// Shedding reports whether a request was refused within the last minute.
func (k *Control) Shedding() bool { return k.shedding.Load() }

// Delay is how long work waited for a resource when it was last measured.
func (k *Control) Delay(r Resource) time.Duration { return time.Duration(k.delays[r].Load()) }

// Stats is the state of a class. Limit is 0 while nobody is counted.
type Stats struct {
	Limit, Running, Waiting int
	// Refused counts since the start.
	Refused uint64
}

// Stats tells the state of a class that has a limit.
func (k *Control) Stats(c Class) Stats {
	g := k.gates[c]
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Stats{Limit: g.line.limit, Running: g.line.running, Waiting: g.line.waiting, Refused: g.refused}
	if g.open.Load() {
		s.Limit = 0
	}
	return s
}
