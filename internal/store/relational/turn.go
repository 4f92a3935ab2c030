package relational

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// Turn entitles one caller at a time to the connection that writes. Those who wait are served in the order in which they asked. A new one is taken: whoever
// made it passes it on when the store is open.
type Turn struct {
	token   chan struct{}
	waiting atomic.Int32
	waits   store.WaitMeter
}

// NewTurn returns a turn that is taken.
func NewTurn() *Turn { return &Turn{token: make(chan struct{}, 1)} }

// Take waits for the turn, unless ctx ends before.
func (t *Turn) Take(ctx context.Context) error {
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	if err := t.waits.Take(ctx, t.token); err != nil {
		return fmt.Errorf("waiting to write to the store: %w", err)
	}
	return nil
}

// Claim is Take for the store's own work, which waits for as long as it takes and is no caller's waiting.
func (t *Turn) Claim() { <-t.token }

// Pass gives the turn to the next.
func (t *Turn) Pass() { t.token <- struct{}{} }

// Yield lets everybody who waits already go first, and has the turn again afterwards.
func (t *Turn) Yield() {
	if t.waiting.Load() > 0 {
		t.Pass()
		t.Claim()
	}
}

// Wait tells how long callers waited for it.
func (t *Turn) Wait() store.Wait { return t.waits.Wait() }

// Outcome is how the last group of updates ended as a whole. Its methods are for whoever has the turn, but for Failed.
type Outcome struct{ err atomic.Pointer[error] }

// Failed reports whether it failed.
func (o *Outcome) Failed() bool { return o.err.Load() != nil }

// Set remembers an outcome, a fault or nil, and logs it when it is another than before.
func (o *Outcome) Set(log *slog.Logger, err error) {
	was := o.err.Load()
	if err == nil {
		if was != nil {
			o.err.Store(nil)
			log.Info("the store takes writes again")
		}
		return
	}
	if was == nil || fault.As(*was).Message != fault.As(err).Message {
		log.Error("the store does not take writes", "error", err)
	}
	o.err.Store(&err)
}
