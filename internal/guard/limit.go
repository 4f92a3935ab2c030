package guard

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/keywright/keywright/internal/fault"
)

// Limits bound how often may be asked. A zero rate means no bound.
type Limits struct {
	// PerCaller bounds the requests of one principal per second, whatever tokens it shows, PerVault those to one vault.
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
type limiters struct{ principals, vaults rates }

// rates remembers limiters by id: of a principal or of a vault.
type rates struct {
	byID  sync.Map // string -> *rate.Limiter
	count atomic.Int64
}

// maxRates bounds the ids whose rate is remembered. When it is reached all start anew.
const maxRates = 1 << 16

func (r *rates) of(id string, l *Limits, each rate.Limit) *rate.Limiter {
	if v, ok := r.byID.Load(id); ok {
		return v.(*rate.Limiter)
	}
	if r.count.Add(1) > maxRates {
		r.byID.Clear()
		r.count.Store(1)
	}
	v, _ := r.byID.LoadOrStore(id, l.limiter(each))
	return v.(*rate.Limiter)
}

// take counts the request. When one of the limits is passed it says which.
func (l *limiters) take(limits *Limits, call *Call, now time.Time) (limit string, err error) {
	if limits.PerCaller > 0 {
		if err := reserve(call.Caller.limiter(limits, &l.principals), now, "this principal sends more requests than the server allows"); err != nil {
			return "principal", err
		}
	}
	if limits.PerVault > 0 && call.Vault != nil {
		return "vault", reserve(l.vaults.of(string(call.Vault.Vault.ID), limits, limits.PerVault), now, "this vault gets more requests than the server allows")
	}
	return "", nil
}

func reserve(l *rate.Limiter, now time.Time, what string) error {
	if l.AllowN(now, 1) {
		return nil
	}
	wait := time.Duration(float64(time.Second) / float64(l.Limit()))
	return fault.New(fault.Throttled, "%s: wait and try again", what).After(max(wait, time.Second))
}
