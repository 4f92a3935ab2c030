package rotation

import (
	"context"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// loanBatch is how many leases that are over are looked at together: so many that those of a target that does not answer leave room for others.
const loanBatch = 4096

// TendLoans ends the leases that are over, and waits for that. Calls may overlap, in one process or in several.
func (e *Engine) TendLoans(ctx context.Context) error {
	waiting, err := e.dueLoans(ctx)
	for left := -1; len(waiting) != left && len(waiting) > 0; {
		left = len(waiting)
		var wg sync.WaitGroup
		waiting = e.startLoans(ctx, waiting, &wg)
		wg.Wait()
	}
	return err
}

// dueLoans reads which leases are over, each by the clock that its tenant trusts.
func (e *Engine) dueLoans(ctx context.Context) (list []*Loan, err error) {
	if err := e.watchClock(ctx); err != nil {
		return nil, err
	}
	var due []*store.Loan
	err = e.Store.View(ctx, func(tx store.Tx) (err error) {
		due, err = tx.Loans(ctx, store.LoanQuery{DueBefore: clock.Micro(e.wall.latest(e.Clock.Now())), Limit: loanBatch})
		return err
	})
	for _, stored := range due {
		if stored.NextAt.After(e.now(stored.Tenant)) {
			continue
		}
		l, err := ReadLoan(stored)
		if err != nil {
			e.Logger.Error("a lease cannot be read", "lease", stored.ID, "error", err)
			continue
		}
		list = append(list, l)
	}
	return list, err
}

// startLoans takes up those for which there is a place, each in a goroutine that counts in wg, and returns the others.
func (e *Engine) startLoans(ctx context.Context, waiting []*Loan, wg *sync.WaitGroup) []*Loan {
	left := waiting[:0]
	for _, l := range waiting {
		at := l.seat()
		if !e.fly(l.ID) {
			continue
		}
		if ok, _ := e.slots.take(at, e.Caps); !ok {
			e.land(l.ID)
			left = append(left, l)
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := e.tendLoan(ctx, l); err != nil {
				e.Logger.Warn("a lease could not be ended: it is tried again", "lease", l.ID, "error", err)
			}
			e.slots.free(at)
			e.land(l.ID)
			select {
			case e.returned <- struct{}{}: // a place is free
			default:
			}
		}()
	}
	clear(waiting[len(left):])
	return left
}

// lend ends leases that are over, and looks now and then for accounts without one.
func (e *Engine) lend(loop, work context.Context) {
	tick := time.NewTicker(e.Poll)
	defer tick.Stop()
	var swept time.Time
	var waiting []*Loan
	for fresh := true; ; {
		if fresh {
			due, err := e.dueLoans(work)
			if err != nil && loop.Err() == nil {
				e.Logger.Error("the leases that are over could not be read: it is tried again", "error", err)
			}
			waiting = due
		}
		waiting = e.startLoans(work, waiting, &e.running)
		if now := e.Clock.Now(); now.Sub(swept) >= sweepEvery || now.Before(swept) {
			swept = now
			e.running.Add(1)
			go func() {
				defer e.running.Done()
				if _, err := e.SweepLoans(work); err != nil && work.Err() == nil {
					e.Logger.Error("not every target could be searched for accounts without a lease: they are searched again", "after", sweepEvery, "error", err)
				}
			}()
		}
		select {
		case <-loop.Done():
			return
		case <-tick.C:
			fresh = true
		case <-e.returned:
			fresh = false
		}
	}
}

// fly takes a lease for one goroutine of this process, land gives it back.
func (e *Engine) fly(id store.LoanID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flying[store.RunID(id)] {
		return false
	}
	e.flying[store.RunID(id)] = true
	return true
}

func (e *Engine) land(id store.LoanID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.flying, store.RunID(id))
}

func (l *Loan) seat() seat {
	return seat{target: targetKey(l.Policy.Rotator, l.Policy.Target), rotator: "rotator " + l.Policy.Rotator, most: l.Policy.Concurrency}
}

// seat waits for a place among those at work on the target, no longer than a call may take.
func (e *Engine) seat(ctx context.Context, l *Loan) (seat, error) {
	at := l.seat()
	ctx, cancel := context.WithTimeout(ctx, l.Pace.Call.Std())
	defer cancel()
	look := time.NewTicker(loanWait)
	defer look.Stop()
	for {
		if ok, _ := e.slots.take(at, e.Caps); ok {
			return at, nil
		}
		select {
		case <-ctx.Done():
			return at, fault.New(fault.Unavailable, "too many changes are under way at the target of %q: try again", l.NameKey).Because("TargetBusy")
		case <-look.C:
		}
	}
}

// loanWait is how often somebody who waits for a place looks: shorter than any target takes.
const loanWait = 10 * time.Millisecond
