package identity

import (
	"net/netip"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// starts bounds how many sign-ins are begun by those who have proved nothing yet: each leaves rows in the store until it expires
// or is finished. It is a generic cell rate algorithm (ITU-T I.371, annex A): per key one instant, that at which all that was
// taken is paid back.
type starts struct {
	clock clock.Clock

	mu sync.Mutex
	// paid is bounded by the limit of all together: a key is forgotten once it has paid.
	paid map[startKey]time.Time
}

// startKey names who pays: an address within all tenants, a tenant, or, being zero, all together.
type startKey struct {
	address netip.Addr
	tenant  vault.TenantID
}

// startLimit grants burst starts at once and one more every so often.
type startLimit struct {
	burst int
	every time.Duration
}

// The limits. An office that comes to work behind one address stays below the first. The rows of a device code live for 20
// minutes and those of a passkey for five, so that at most 8,400 begun sign-ins of a tenant are kept and 31,200 in all.
var (
	addressStarts = startLimit{burst: 120, every: 500 * time.Millisecond}
	tenantStarts  = startLimit{burst: 1200, every: time.Second / 6}
	allStarts     = startLimit{burst: 2400, every: time.Second / 24}
)

func newStarts(c clock.Clock) *starts { return &starts{clock: c, paid: map[startKey]time.Time{}} }

// take counts one start, or refuses it with a fault.Throttled and counts nothing.
func (s *starts) take(t vault.TenantID, from From) error {
	now := s.clock.Now()
	keys := [...]startKey{{address: network(from.Address)}, {tenant: t}, {}}
	limits := [...]startLimit{addressStarts, tenantStarts, allStarts}
	if !keys[0].address.IsValid() {
		keys[0].address = netip.IPv6Unspecified() // not to be taken for all together
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var paid [len(keys)]time.Time
	var wait time.Duration
	for i, l := range limits {
		paid[i] = now
		if p := s.paid[keys[i]]; p.After(now) {
			paid[i] = p
		}
		paid[i] = paid[i].Add(l.every)
		wait = max(wait, paid[i].Sub(now)-time.Duration(l.burst)*l.every)
	}
	if wait > 0 {
		return fault.New(fault.Throttled, "Too many sign-ins were begun from this address, in this tenant or in all; wait %s before the next one.",
			max(wait, time.Second).Round(time.Second)).Because(TooManyAttempts).After(wait)
	}
	for i, k := range keys {
		s.paid[k] = paid[i]
	}
	return nil
}

// sweep forgets who has paid.
func (s *starts) sweep(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, paid := range s.paid {
		if !paid.After(now) {
			delete(s.paid, k)
		}
	}
}
