package guard

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// Limits bound how often may be asked. A zero rate means no bound.
type Limits struct {
	// PerCaller bounds the requests of one principal's token per second, PerVault those to one vault.
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

// limiters keeps one limiter per vault; a caller carries its own.
type limiters struct {
	vaults sync.Map // vault.ID -> *rate.Limiter
	count  atomic.Int64
}

// maxLimiters bounds the vaults whose rate is remembered. When it is reached all start anew.
const maxLimiters = 1 << 16

func (l *limiters) take(limits *Limits, call *Call, now time.Time) error {
	if limits.PerCaller > 0 {
		if err := reserve(call.Caller.limiter(limits), now, "this principal sends more requests than the server allows"); err != nil {
			return err
		}
	}
	if limits.PerVault > 0 && call.Vault != nil {
		return reserve(l.vault(limits, call.Vault.Vault.ID), now, "this vault gets more requests than the server allows")
	}
	return nil
}

func (l *limiters) vault(limits *Limits, id vault.ID) *rate.Limiter {
	if v, ok := l.vaults.Load(id); ok {
		return v.(*rate.Limiter)
	}
	if l.count.Add(1) > maxLimiters {
		l.vaults.Clear()
		l.count.Store(1)
	}
	v, _ := l.vaults.LoadOrStore(id, limits.limiter(limits.PerVault))
	return v.(*rate.Limiter)
}

func reserve(l *rate.Limiter, now time.Time, what string) error {
	if l.AllowN(now, 1) {
		return nil
	}
	wait := time.Duration(float64(time.Second) / float64(l.Limit()))
	return fault.New(fault.Throttled, "%s: wait and try again", what).After(max(wait, time.Second))
}
