package store

import (
	"context"
	"sync/atomic"
	"time"
)

// Waits is how long callers of a store waited for their turn since it was opened: for whoever decides how much it is given to do.
type Waits struct{ Reads, Writes Wait }

// Wait counts the turns that were taken, and sums up how long they were waited for.
type Wait struct {
	Turns uint64
	Total time.Duration
}

// Since is how long a turn was waited for on average since an earlier reading.
func (w Wait) Since(before Wait) time.Duration {
	if n := w.Turns - before.Turns; n > 0 {
		return (w.Total - before.Total) / time.Duration(n)
	}
	return 0
}

// WaitMeter is what an engine measures a Wait with.
type WaitMeter struct{ turns, total atomic.Int64 }

// Take takes a token of those that entitle to a turn, and measures how long that takes. It fails when ctx ends before.
func (m *WaitMeter) Take(ctx context.Context, tokens <-chan struct{}) error {
	select {
	case <-tokens:
		m.Took()
		return nil
	default:
	}
	since := time.Now()
	defer func() { m.Waited(since) }()
	select {
	case <-tokens:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Took counts a turn that was taken without waiting.
func (m *WaitMeter) Took() { m.turns.Add(1) }

// Waited counts a turn that was waited for since an instant.
func (m *WaitMeter) Waited(since time.Time) {
	m.total.Add(int64(time.Since(since)))
	m.turns.Add(1)
}

// Wait is what was measured.
func (m *WaitMeter) Wait() Wait {
	return Wait{Turns: uint64(m.turns.Load()), Total: time.Duration(m.total.Load())}
}
