package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// The times of a turn. Another node has it at most TurnLength + TurnSlack + TurnLength/3 after the one that had it died.
const (
	TurnLength = 6 * time.Second
	TurnSlack  = time.Second
)

// TurnConfig makes a Turn. Everything but Sole is required, and nothing else in a turn of a sole node.
type TurnConfig struct {
	Store  store.Store
	Clock  clock.Clock
	Logger *slog.Logger
	// Name is that of the lease, Owner that of this process, which no other may have.
	Name, Owner string
	// Length is how long the lease lives without being renewed, Slack how long after its end a successor waits.
	Length, Slack time.Duration
	// Sole says that no other node works on the store: then it is always this one's turn, and no lease is written.
	Sole bool
}

// Turn lets one node at a time do what must not be done by two. Whoever has the lease has the turn; it is renewed long before it runs out, and what is
// done in the turn ends before the lease does. A process that was stopped and goes on behind the end of its lease finds out at its next write, if that
// asks Fence.
type Turn struct {
	TurnConfig

	mu sync.Mutex
	// lease is the one under which the work is done now; nil while it is somebody else's turn.
	lease *store.Lease
}

// NewTurn checks the configuration.
func NewTurn(c TurnConfig) (*Turn, error) {
	if !c.Sole && (c.Store == nil || c.Clock == nil || c.Logger == nil || c.Name == "" || c.Owner == "" || c.Length <= 0 || c.Slack <= 0) {
		return nil, errors.New("a turn needs a store, a clock, a logger, a name, an owner, a length and a slack")
	}
	return &Turn{TurnConfig: c}, nil
}

// Run does the work whenever it is this node's turn, until ctx ends. The contexts of the work end with the turn; the next turn begins when all of it has
// returned.
func (t *Turn) Run(ctx context.Context, work ...func(context.Context)) {
	if t.Sole {
		do(ctx, work)
		return
	}
	for failed := false; ctx.Err() == nil; {
		asked := time.Now()
		lease, err := t.acquire(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			t.Logger.ErrorContext(ctx, "the store does not say whose turn it is; it is asked again", "turn", t.Name, "error", err)
		}
		failed = err != nil
		if lease != nil {
			t.hold(ctx, lease, asked, work)
		}
		wait(ctx, t.Length/3)
	}
}

// do runs all of the work at once and waits for its end.
func do(ctx context.Context, work []func(context.Context)) {
	var all sync.WaitGroup
	for _, w := range work {
		all.Go(func() { w(ctx) })
	}
	all.Wait()
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// acquire takes the lease; nil when another node has it.
func (t *Turn) acquire(ctx context.Context) (lease *store.Lease, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.Length/3)
	defer cancel()
	err = t.update(ctx, func(tx store.Tx) (err error) {
		lease, err = tx.AcquireLease(ctx, t.Name, t.Owner, t.Length, t.Slack)
		return err
	})
	if e := fault.As(err); e != nil && e.Reason == store.LeaseHeld {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return lease, nil
}

func (t *Turn) update(ctx context.Context, fn func(store.Tx) error) error {
	return t.Store.Update(ctx, store.NewOp(t.Clock.Now()), fn)
}

// hold does the work for as long as the lease can be renewed. asked is before the lease was asked for, so that the process's own count of its time ends no
// later than the store's.
func (t *Turn) hold(ctx context.Context, lease *store.Lease, asked time.Time, work []func(context.Context)) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	t.set(lease)
	t.Logger.InfoContext(ctx, "it is this node's turn", "turn", t.Name, "fence", lease.Fence)
	over := time.AfterFunc(time.Until(asked.Add(t.Length)), end)
	defer over.Stop()
	var renewing sync.WaitGroup
	renewing.Go(func() { t.renew(ctx, end, lease, over) })
	do(ctx, work)
	end()
	renewing.Wait()
	t.set(nil)
	t.release(lease)
}

// renew prolongs the lease until ctx ends, and ends it when the lease is lost.
func (t *Turn) renew(ctx context.Context, end func(), lease *store.Lease, over *time.Timer) {
	for {
		wait(ctx, t.Length/3)
		if ctx.Err() != nil {
			return
		}
		asked := time.Now()
		err := t.prolong(ctx, lease)
		switch e := fault.As(err); {
		case err == nil:
			// A timer that has fired ended the turn already.
			if over.Stop() {
				over.Reset(time.Until(asked.Add(t.Length)))
			}
		case e != nil && e.Reason == store.LeaseLost:
			t.Logger.WarnContext(ctx, "it is another node's turn", "turn", t.Name)
			end()
			return
		case ctx.Err() == nil:
			t.Logger.WarnContext(ctx, "a turn could not be prolonged; it is tried again while it lasts", "turn", t.Name, "error", err)
		}
	}
}

func (t *Turn) prolong(ctx context.Context, lease *store.Lease) error {
	ctx, cancel := context.WithTimeout(ctx, t.Length/3)
	defer cancel()
	return t.update(ctx, func(tx store.Tx) error {
		_, err := tx.RenewLease(ctx, lease, t.Length)
		return err
	})
}

// release gives the turn back, so that nobody has to wait for its end. The work's context is over by then.
func (t *Turn) release(lease *store.Lease) {
	ctx, cancel := context.WithTimeout(context.Background(), t.Slack)
	defer cancel()
	if err := t.update(ctx, func(tx store.Tx) error { return tx.ReleaseLease(ctx, lease) }); err != nil {
		t.Logger.WarnContext(ctx, "a turn could not be given back; it runs out by itself", "turn", t.Name, "error", err)
	}
}

func (t *Turn) set(lease *store.Lease) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lease = lease
}

// Mine reports whether it is this node's turn now, as far as it knows.
func (t *Turn) Mine() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Sole || t.lease != nil
}

// Fence fails unless it still is this node's turn, for the transactions of what must not be done by two: a fault.Conflict with reason LeaseLost.
func (t *Turn) Fence(ctx context.Context, tx store.Tx) error {
	t.mu.Lock()
	lease := t.lease
	t.mu.Unlock()
	switch {
	case t.Sole:
		return nil
	case lease == nil:
		return fault.New(fault.Conflict, "it is not this node's turn (%s)", t.Name).Because(store.LeaseLost)
	}
	return tx.CheckLease(ctx, lease)
}
