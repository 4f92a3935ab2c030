package acme

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/keywright/keywright/internal/fault"
)

// Limits bound what clients may cause. Zero members take the defaults.
type Limits struct {
	// Accounts is how many accounts one address may open in an hour, Orders how many orders one account, Failures how many challenges of one account may fail.
	Accounts, Orders, Failures int
	// Looks is how many challenges are looked at at once, for all clients together.
	Looks int
}

// The default limits. A machine that is set up anew again and again opens an account each time; 300 orders are those of a hundred machines behind one account that are
// all renewed in the same hour, three times over.
const (
	DefaultAccounts = 60
	DefaultOrders   = 300
	DefaultFailures = 60
	DefaultLooks    = 32
)

func (l *Limits) complete() {
	for _, v := range []struct {
		of    *int
		usual int
	}{{&l.Accounts, DefaultAccounts}, {&l.Orders, DefaultOrders}, {&l.Failures, DefaultFailures}, {&l.Looks, DefaultLooks}} {
		if *v.of <= 0 {
			*v.of = v.usual
		}
	}
}

// rates count within the limits. They are kept by the process.
type rates struct {
	accounts, orders, failures hourly
	looks                      chan struct{}
}

func newRates(l Limits) rates {
	return rates{accounts: hourly{most: l.Accounts}, orders: hourly{most: l.Orders}, failures: hourly{most: l.Failures}, looks: make(chan struct{}, l.Looks)}
}

// hourly counts by keys, so many an hour each.
type hourly struct {
	most int
	mu   sync.Mutex // guards known
	// known are the limiters in use. When there are too many, all start anew: what they bound is a nuisance and no danger.
	known map[string]*rate.Limiter
}

// maxKnown bounds the keys that are remembered.
const maxKnown = 1 << 14

func (h *hourly) limiter(key string) *rate.Limiter {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.known[key]; l != nil {
		return l
	}
	if h.known == nil || len(h.known) >= maxKnown {
		h.known = make(map[string]*rate.Limiter)
	}
	l := rate.NewLimiter(rate.Limit(float64(h.most)/time.Hour.Seconds()), h.most)
	h.known[key] = l
	return l
}

// take counts one, or refuses with a fault.Throttled.
func (h *hourly) take(key, what string, now time.Time) error {
	if h.limiter(key).AllowN(now, 1) {
		return nil
	}
	return h.tooMany(what)
}

// left refuses when nothing is left, and counts nothing.
func (h *hourly) left(key, what string, now time.Time) error {
	if h.limiter(key).TokensAt(now) >= 1 {
		return nil
	}
	return h.tooMany(what)
}

func (h *hourly) tooMany(what string) error {
	return fault.New(fault.Throttled, "Too many %s: %d an hour are accepted.", what, h.most).After(time.Hour / time.Duration(h.most))
}

// neighbourhood is what counts as one address: a single one of IPv4, and a /64 of IPv6, which one machine has for itself.
func neighbourhood(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.WithZone("").Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
