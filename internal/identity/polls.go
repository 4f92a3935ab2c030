package identity

import (
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
)

// kindFamily is the kind of a store.SignIn that holds a family of refresh tokens.
const kindFamily = "refresh"

const (
	deviceLife   = 15 * time.Minute
	pollInterval = 5 * time.Second
	// pollSlack forgives the network: a client that waits its interval may still arrive a little early.
	pollSlack    = 500 * time.Millisecond
	slowDownStep = 5 * time.Second
)

// maxPolls bounds the device codes whose polling is watched. A code beyond it is answered without being paced.
const maxPolls = 1 << 14

// polls paces those who wait for a device code (RFC 8628, section 3.5). It is kept in memory alone: a node that forgets it
// only asks for a little less patience.
type polls struct {
	clock clock.Clock
	mu    sync.Mutex
	m     map[string]*poll
}

type poll struct {
	last     time.Time
	interval time.Duration
}

func newPolls(c clock.Clock) *polls { return &polls{clock: c, m: map[string]*poll{}} }

// early reports whether id is polled before its interval is over, and lengthens the interval if so.
func (p *polls) early(id string) bool {
	now := p.clock.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	v := p.m[id]
	if v == nil {
		if len(p.m) < maxPolls {
			p.m[id] = &poll{last: now, interval: pollInterval}
		}
		return false
	}
	early := now.Sub(v.last) < v.interval-pollSlack
	v.last = now
	if early {
		v.interval += slowDownStep
	}
	return early
}

func (p *polls) forget(id string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.m, id)
}

func (p *polls) sweep(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, v := range p.m {
		if now.Sub(v.last) > deviceLife {
			delete(p.m, id)
		}
	}
}
