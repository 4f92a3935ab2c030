package audit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
)

// Lengths of the network prefixes by which callers are told apart: what one subscriber usually holds (RFC 6177 for
// IPv6).
const (
	bitsIPv4 = 24
	bitsIPv6 = 64
)

// AggregatorConfig describes an aggregator.
type AggregatorConfig struct {
	// Append takes the records; Log.Append is one.
	Append func(ctx context.Context, r *Record) error
	// Interval is how long refusals are counted before a record tells of them; 10 s when zero.
	Interval time.Duration
	// MaxKeys bounds how many kinds of refusal are told apart in an interval; the rest is counted together in a record
	// whose reason is "Other". 10,000 when zero.
	MaxKeys int
	OnError func(error) // may be nil
	Clock   clock.Clock
}

// Refusal is an unauthenticated request that was answered with 401. None of its fields is trusted.
type Refusal struct {
	Door    string
	Host    string // the vault's name, or the host that was asked for
	Address netip.Addr
	Reason  string
}

// Aggregator counts refusals by door, host, network (/24 or /64) and reason, and appends one record with a count for
// each in every interval. Every client's first request is such a refusal, and anybody can send more: a record for each
// would let strangers fill the log.
type Aggregator struct {
	cfg AggregatorConfig

	countMu sync.Mutex
	counts  map[Refusal]*tally
	other   tally

	mu      sync.Mutex
	cancel  context.CancelFunc
	stopped bool
	running sync.WaitGroup
}

type tally struct {
	n           uint64
	first, last time.Time
}

// NewAggregator returns an aggregator; Start makes it append.
func NewAggregator(cfg AggregatorConfig) (*Aggregator, error) {
	if cfg.Append == nil {
		return nil, errors.New("audit: AggregatorConfig.Append is missing")
	}
	if cfg.Interval <= 0 {
		cfg.Interval = 10 * time.Second
	}
	if cfg.MaxKeys <= 0 {
		cfg.MaxKeys = 10_000
	}
	if cfg.OnError == nil {
		cfg.OnError = func(error) {}
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.System{}
	}
	return &Aggregator{cfg: cfg, counts: map[Refusal]*tally{}}, nil
}

// Add counts a refusal. It does no I/O.
func (a *Aggregator) Add(r Refusal) {
	now := clock.Micro(a.cfg.Clock.Now())
	r.Address = network(r.Address)
	if len(r.Host) > maxName {
		r.Host = strings.Clone(cut(r.Host, maxName)) // keep no more than the record will
	}
	a.countMu.Lock()
	defer a.countMu.Unlock()
	t := a.counts[r]
	if t == nil && len(a.counts) >= a.cfg.MaxKeys {
		t = &a.other
	} else if t == nil {
		t = &tally{}
		a.counts[r] = t
	}
	if t.n == 0 {
		t.first = now
	}
	t.n++
	t.last = now
}

// network returns the first address of the caller's network.
func network(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	bits := bitsIPv6
	if addr.Is4() {
		bits = bitsIPv4
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

// Flush appends what was counted since the last Flush. What cannot be appended is counted on.
func (a *Aggregator) Flush(ctx context.Context) error {
	a.countMu.Lock()
	counts, other := a.counts, a.other
	a.counts, a.other = map[Refusal]*tally{}, tally{}
	a.countMu.Unlock()
	var errs []error
	for r, t := range counts {
		if err := a.cfg.Append(ctx, t.record(r)); err != nil {
			errs = append(errs, err)
			a.back(r, *t)
		}
	}
	if other.n > 0 {
		if err := a.cfg.Append(ctx, other.record(Refusal{Reason: "Other"})); err != nil {
			errs = append(errs, err)
			a.countMu.Lock()
			a.other = a.other.plus(other)
			a.countMu.Unlock()
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("appending %d aggregated records: %w", len(errs), errs[0])
}

// back counts on what could not be appended: with the rest when other kinds took all places meanwhile.
func (a *Aggregator) back(r Refusal, t tally) {
	a.countMu.Lock()
	defer a.countMu.Unlock()
	old := a.counts[r]
	switch {
	case old != nil:
		*old = t.plus(*old)
	case len(a.counts) >= a.cfg.MaxKeys:
		a.other = a.other.plus(t)
	default:
		a.counts[r] = &t
	}
}

func (t tally) plus(u tally) tally {
	if t.n == 0 {
		return u
	}
	if u.n == 0 {
		return t
	}
	if u.first.Before(t.first) {
		t.first = u.first
	}
	if u.last.After(t.last) {
		t.last = u.last
	}
	t.n += u.n
	return t
}

// record returns the record of a tally: Time is the first refusal, Duration reaches to the last.
func (t tally) record(r Refusal) *Record {
	rec := &Record{Time: t.first, Duration: t.last.Sub(t.first), Count: t.n, Door: r.Door, VaultName: r.Host,
		Action: "Authentication", Operation: "Authentication", Outcome: Denied, Reason: r.Reason, Status: 401, ClientAddress: r.Address}
	switch {
	case r.Address.Is4():
		rec.ClientBits = bitsIPv4
	case r.Address.Is6():
		rec.ClientBits = bitsIPv6
	}
	return rec
}

// Start flushes at each interval until Stop is called or ctx ends.
func (a *Aggregator) Start(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cancel != nil || a.stopped {
		return fault.New(fault.Internal, "the aggregator was started before")
	}
	ctx, a.cancel = context.WithCancel(ctx)
	a.running.Go(func() {
		for ctx.Err() == nil {
			pause(ctx, a.cfg.Interval)
			if ctx.Err() == nil {
				a.flush(ctx)
			}
		}
	})
	return nil
}

// Stop flushes a last time. It blocks, and is safe to call twice and before Start; stop the log after it.
func (a *Aggregator) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the caller's has ended
	defer cancel()
	a.Shutdown(ctx)
}

// Shutdown is Stop with the caller's own bound: what cannot be recorded until ctx ends is lost.
func (a *Aggregator) Shutdown(ctx context.Context) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return
	}
	a.stopped = true
	if a.cancel != nil {
		a.cancel()
	}
	a.running.Wait()
	a.flush(ctx)
}

func (a *Aggregator) flush(ctx context.Context) {
	if err := a.Flush(ctx); err != nil {
		a.cfg.OnError(err)
	}
}
