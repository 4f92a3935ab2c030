package guard

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// Limits bound how often may be asked. A zero rate means no bound.
type Limits struct {
	// PerCaller bounds the requests of one principal per second, over all of its tokens; PerVault those to one vault.
	PerCaller, PerVault rate.Limit
	// Burst is how many seconds' worth of requests may come at once; 0 means one second's.
	Burst float64
}

func (l *Limits) limiter(r rate.Limit) *rate.Limiter {
	burst := l.Burst
	if burst == 0 {
		burst = 1
	}
	return rate.NewLimiter(r, max(1, int(float64(r)*burst)))
}

// limiters keeps one limiter per principal and one per vault.
type limiters struct {
	callers limiterMap[callerKey]
	vaults  limiterMap[vault.ID]
}

type callerKey struct {
	tenant vault.TenantID
	id     principal.ID
}

// limiterMap remembers limiters within a bound.
type limiterMap[K comparable] struct {
	known sync.Map // K -> *rate.Limiter
	count atomic.Int64
}

// maxLimiters bounds the principals, and the vaults, whose rate is remembered. When it is reached all start anew.
const maxLimiters = 1 << 16

func (m *limiterMap[K]) get(key K, fresh func() *rate.Limiter) *rate.Limiter {
	if v, ok := m.known.Load(key); ok {
		return v.(*rate.Limiter)
	}
	if m.count.Add(1) > maxLimiters {
		m.known.Clear()
		m.count.Store(1)
	}
	v, _ := m.known.LoadOrStore(key, fresh())
	return v.(*rate.Limiter)
}

// take counts the request. When one of the limits is passed it says which.
func (l *limiters) take(limits *Limits, call *Call, now time.Time) (limit string, err error) {
	if limits.PerCaller > 0 {
		if err := reserve(l.caller(limits, call.Caller), now, 1, "this principal sends more requests than the server allows"); err != nil {
			return "principal", err
		}
	}
	if limits.PerVault > 0 && call.Vault != nil {
		return "vault", reserve(l.vault(limits, call.Vault.Vault.ID), now, 1, busyVault)
	}
	return "", nil
}

// Charge counts a request that costs as much as that many ordinary ones against the rate of its vault; Admit counted it as one. What is over the rate
// is a fault.Throttled.
func (g *Guard) Charge(call *Call, weight int) error {
	if g.Limits.PerVault <= 0 || weight <= 1 || call.Vault == nil {
		return nil
	}
	l := g.limiters.vault(&g.Limits, call.Vault.Vault.ID)
	// More than the burst could never be had at once: then all of it is taken.
	return g.tooOften(call, call.Vault.Vault.Name, "vault", reserve(l, call.Started, min(weight-1, l.Burst()), busyVault))
}

const busyVault = "this vault gets more requests than the server allows"

func (l *limiters) vault(limits *Limits, id vault.ID) *rate.Limiter {
	return l.vaults.get(id, func() *rate.Limiter { return limits.limiter(limits.PerVault) })
}

// caller finds the limiter that all tokens of the principal share.
func (l *limiters) caller(limits *Limits, c *Caller) *rate.Limiter {
	if r := c.rate.Load(); r != nil {
		return r
	}
	r := l.callers.get(callerKey{c.Tenant, c.Principal}, func() *rate.Limiter { return limits.limiter(limits.PerCaller) })
	c.rate.Store(r)
	return r
}

func reserve(l *rate.Limiter, now time.Time, n int, what string) error {
	if l.AllowN(now, n) {
		return nil
	}
	wait := time.Duration(float64(n) * float64(time.Second) / float64(l.Limit()))
	return fault.New(fault.Throttled, "%s: wait and try again", what).After(max(wait, time.Second))
}
