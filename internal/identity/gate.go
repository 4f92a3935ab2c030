package identity

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// gate slows guessing. It counts failed attempts in three ways, because each alone is got round:
//
//	who and where   stops one guesser without touching the real owner elsewhere
//	where           stops one guesser who tries many names
//	who             stops many guessers of one name; for clients it is mild, as it also slows the owner
//
// After its free failures a counter demands a pause that doubles with each further one up to a bound; a success forgives the
// failures at that name. Where a value can be guessed at all (a person's code of six digits), an attempt counts as failed from
// its start, so that guesses at the same time cannot pass together; elsewhere it counts when it failed, as many honest
// programs start at the same time behind one address. A counter is forgotten after a quiet time. The table is bounded: when
// it is full, counters at random make room.
type gate struct {
	clock  clock.Clock
	locked func(kind string)

	mu       sync.Mutex
	counters map[counterKey]*counter
}

type counterKey struct {
	kind, name string
	address    netip.Addr
}

type counter struct {
	failures int
	// until is when the pause ends; last the latest failure.
	until, last time.Time
}

// limit says how patient a counter is.
type limit struct {
	free  int
	first time.Duration
	most  time.Duration
	// strict counts from the start of an attempt.
	strict bool
}

const (
	maxCounters = 1 << 16
	// quiet is how long after its last failure a counter is forgotten. It exceeds every pause.
	quiet = time.Hour
)

// The limits by kind. A person's code has six digits, so those who try it get the fewest attempts.
var limits = map[string]limit{
	"client":         {free: 10, first: time.Second, most: 5 * time.Minute},
	"client-overall": {free: 100, first: time.Second, most: 10 * time.Second},
	"user":           {free: 5, first: 2 * time.Second, most: 15 * time.Minute, strict: true},
	"user-overall":   {free: 10, first: 2 * time.Second, most: 15 * time.Minute, strict: true},
	"code":           {free: 5, first: 2 * time.Second, most: 15 * time.Minute, strict: true},
	// A grant is random enough to be safe from guessing, but each try costs a look into the store. Its name is the tenant, in which
	// many honest programs may share an address, so this pause stays short too.
	"grant": {free: 50, first: time.Second, most: 10 * time.Second},
	// Many honest programs may share an address with a broken one, so this pause stays short.
	"address": {free: 200, first: time.Second, most: 10 * time.Second},
}

// attempt is one try of somebody from somewhere. An empty name counts by address alone.
type attempt struct {
	kind, name string
	address    netip.Addr
}

func newGate(c clock.Clock, locked func(string)) *gate {
	if locked == nil {
		locked = func(string) {}
	}
	return &gate{clock: c, locked: locked, counters: map[counterKey]*counter{}}
}

// pass is an attempt under way. Exactly one of its methods is called.
type pass struct {
	gate *gate
	keys []counterKey
}

// network is what one guesser easily has of addresses: one of IPv4, a /64 of IPv6.
func network(a netip.Addr) netip.Addr {
	if a = a.Unmap(); a.Is6() {
		p, _ := a.WithZone("").Prefix(64)
		return p.Addr()
	}
	return a
}

// enter starts an attempt or refuses it with a fault.Throttled.
func (g *gate) enter(a attempt) (*pass, error) {
	where := network(a.address)
	a.name = fault.Clip(a.name) // whoever guesses chooses it, and the table is bounded in entries only
	keys := []counterKey{{kind: "address", address: where}, {kind: a.kind, name: a.name, address: where}}
	if _, ok := limits[a.kind+"-overall"]; ok {
		keys = append(keys, counterKey{kind: a.kind + "-overall", name: a.name})
	}
	now := g.clock.Now()
	g.mu.Lock()
	var wait time.Duration
	for _, k := range keys {
		if c := g.counters[k]; c != nil && now.Before(c.until) {
			wait = max(wait, c.until.Sub(now))
		}
	}
	var locked []string
	if wait == 0 {
		locked = g.count(keys, now, true)
	}
	g.mu.Unlock()
	for _, kind := range locked {
		g.locked(kind)
	}
	if wait > 0 {
		return nil, fault.New(fault.Throttled, "Too many failed attempts to sign in; wait %s before the next one.",
			wait.Round(time.Second)).Because(TooManyAttempts).After(wait)
	}
	return &pass{g, keys}, nil
}

// count adds a failure to the counters that count at this point of an attempt, and returns the kinds of those that demand a
// pause for the first time.
func (g *gate) count(keys []counterKey, now time.Time, start bool) (locked []string) {
	for _, k := range keys {
		l := limits[k.kind]
		if l.strict != start {
			continue
		}
		c := g.counters[k]
		if c == nil || now.Sub(c.last) > quiet {
			if c == nil && len(g.counters) >= maxCounters {
				g.makeRoom(now)
			}
			c = &counter{}
			g.counters[k] = c
		}
		c.failures++
		c.last = now
		over := c.failures - l.free
		if over <= 0 {
			continue
		}
		pause := l.most
		if over < 20 { // beyond, the shift would overflow
			pause = min(l.most, l.first<<(over-1))
		}
		c.until = now.Add(pause)
		if over == 1 {
			locked = append(locked, k.kind)
		}
	}
	return locked
}

// redeem starts the redemption of something random that was issued: a code or a refresh token. Success forgives nothing, as who
// guesses can always have one of its own.
func (g *gate) redeem(t vault.TenantID, from From) (*pass, error) {
	return g.enter(attempt{"grant", string(t), from.Address})
}

// ended ends the redemption of a grant.
func (p *pass) ended(err error) {
	if err != nil {
		p.failed(err)
		return
	}
	p.takeBack()
}

// failed ends an attempt that proved nothing. An error that is not the caller's fault does not count.
func (p *pass) failed(err error) {
	switch fault.Of(err) {
	case fault.Internal, fault.Unavailable, fault.Throttled:
		p.takeBack()
		return
	}
	p.gate.mu.Lock()
	locked := p.gate.count(p.keys, p.gate.clock.Now(), false)
	p.gate.mu.Unlock()
	for _, kind := range locked {
		p.gate.locked(kind)
	}
}

// succeeded ends an attempt that proved who it said: what failed before for this name is forgiven. One good credential does not
// excuse guesses at others from the same address.
func (p *pass) succeeded() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	for _, k := range p.keys {
		if k.name != "" {
			delete(p.gate.counters, k)
		}
	}
}

// takeBack uncounts what was counted at the start.
func (p *pass) takeBack() {
	p.gate.mu.Lock()
	defer p.gate.mu.Unlock()
	for _, k := range p.keys {
		c := p.gate.counters[k]
		if c == nil || !limits[k.kind].strict {
			continue
		}
		if c.failures--; c.failures <= limits[k.kind].free {
			c.until = time.Time{}
		}
	}
}

func (g *gate) makeRoom(now time.Time) {
	g.drop(func(c *counter) bool { return now.Sub(c.last) > quiet })
	if len(g.counters) >= maxCounters {
		g.drop(func(*counter) bool { return rand.IntN(16) == 0 })
	}
}

func (g *gate) drop(which func(*counter) bool) {
	for k, c := range g.counters {
		if which(c) {
			delete(g.counters, k)
		}
	}
}

// sweep forgets counters that have been quiet.
func (g *gate) sweep(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drop(func(c *counter) bool { return now.Sub(c.last) > quiet })
}
