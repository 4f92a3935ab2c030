package rotation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// LeaseIrrevocable is the event of an account that could not be removed at its target, LeaseOrphan of one that was found there without a lease, and removed. Their
// data is a LoanData.
const (
	LeaseIrrevocable EventType = "Keywright.LeaseIrrevocable"
	LeaseOrphan      EventType = "Keywright.LeaseOrphan"
)

// LoanData is what events of leases tell.
type LoanData struct {
	Lease   store.LoanID `json:"lease"`
	Object  string       `json:"object"`
	Account string       `json:"account"`
	Holder  string       `json:"holder,omitempty"`
	State   LoanState    `json:"state,omitempty"`
	Reason  Reason       `json:"reason,omitempty"`
	Error   string       `json:"error,omitempty"`
}

// loanWork drives one lease while it holds the right to.
type loanWork struct {
	e     *Engine
	vault *vault.Vault
	loan  Loan
	lease *store.Lease
	// claimed is from before the right was asked for.
	claimed time.Time
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

// claim takes the right to drive the lease, in the caller's transaction.
func (w *loanWork) claim(ctx context.Context, tx store.Tx) (err error) {
	w.lease, err = tx.AcquireLease(ctx, "rotation/loan/"+string(w.loan.ID), w.e.Node, w.e.Leasing.TTL, w.e.Leasing.Slack)
	return err
}

func (w *loanWork) release(ctx context.Context) {
	if err := w.e.Store.Update(ctx, store.NewOp(w.e.Clock.Now()), func(tx store.Tx) error { return tx.ReleaseLease(ctx, w.lease) }); err != nil {
		w.e.Logger.Warn("the right to work on a lease was not given back: it runs out by itself", "lease", w.loan.ID, "error", err)
	}
}

// commit stores the lease as it stands, with its record. also is part of the transaction.
func (w *loanWork) commit(ctx context.Context, call *guard.Call, need guard.Need, next Loan, also func(store.Tx) error) error {
	if err := w.fail("before commit of lease "); err != nil {
		return err
	}
	op := store.NewOp(w.e.Clock.Now())
	err := w.e.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		} else if err := tx.CheckLease(ctx, w.lease); err != nil {
			return err
		}
		n := next
		if err := putLoan(ctx, tx, &n); err != nil {
			return err
		}
		w.loan = n
		return nil
	})
	if err != nil {
		return err
	}
	return w.fail("after commit of lease ")
}

// call lets something happen at the target, within the right that is held.
func (w *loanWork) call(ctx context.Context, of loanCall, do func(context.Context) error) (loanSeen, error) {
	seen := loanSeen{of: of, roll: roll()}
	if err := w.fail("before call of lease "); err != nil {
		return seen, err
	}
	left := min(w.loan.Pace.Call.Std(), w.claimed.Add(w.e.Leasing.TTL-w.e.Leasing.Margin).Sub(w.e.Clock.Now()))
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	if err := do(ctx); err != nil {
		seen.class = classOf(err)
		seen.err = &Trouble{Class: seen.class.String(), Message: err.Error()}
	}
	return seen, w.fail("after call of lease ")
}

// fail is the failpoint. Where it says so, the worker drops everything as if it had died.
func (w *loanWork) fail(where string) error {
	if w.e.Failpoint == nil {
		return nil
	}
	if err := w.e.Failpoint(Point(where + string(w.loan.State))); err != nil {
		return errors.Join(errDropped, err)
	}
	return nil
}

// LoanPoints lists every failpoint of leases, named by the state in which they are come by.
func LoanPoints() (list []Point) {
	for _, s := range LoanStates {
		list = append(list, Point("after commit of lease "+s))
		if s != LoanRevoked { // what is over changes no more
			list = append(list, Point("before commit of lease "+s))
		}
		if s != LoanActive && s != LoanRevoked {
			list = append(list, Point("before call of lease "+s), Point("after call of lease "+s))
		}
	}
	return list
}

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

// dueLoans reads which leases are over.
func (e *Engine) dueLoans(ctx context.Context) (list []*Loan, err error) {
	var due []*store.Loan
	err = e.Store.View(ctx, func(tx store.Tx) (err error) {
		due, err = tx.Loans(ctx, store.LoanQuery{DueBefore: clock.Micro(e.Clock.Now()), Limit: loanBatch})
		return err
	})
	for _, stored := range due {
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
			if err := e.tendLoan(ctx, l.ID); err != nil {
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

// tendLoan takes one lease as far as it goes now.
func (e *Engine) tendLoan(ctx context.Context, id store.LoanID) error {
	w := &loanWork{e: e, loan: Loan{ID: id}, claimed: e.Clock.Now()}
	err := e.Store.Update(ctx, store.NewOp(e.Clock.Now()), func(tx store.Tx) error { return w.claim(ctx, tx) })
	if isReason(err, store.LeaseHeld) {
		return nil
	}
	if err != nil {
		return err
	}
	err = e.Store.View(ctx, func(tx store.Tx) error {
		stored, err := tx.Loan(ctx, id)
		if err != nil {
			return err
		}
		l, err := ReadLoan(stored)
		if err != nil {
			return err
		}
		w.loan = *l
		w.vault, err = tx.Vault(ctx, l.Vault)
		if isMissing(err) { // it was purged, and its accounts stay until they are gone
			w.vault, err = &vault.Vault{ID: l.Vault, Tenant: l.Tenant}, nil
		}
		return err
	})
	if err == nil {
		err = w.steps(ctx)
	}
	if errors.Is(err, errDropped) || isReason(err, store.LeaseLost) || isReason(err, store.StaleRevision) {
		return nil // whoever comes next goes on
	}
	w.release(context.WithoutCancel(ctx))
	return err
}

func (w *loanWork) steps(ctx context.Context) error {
	next, call, _ := nextLoan(w.loan, loanSeen{roll: roll()}, w.e.Clock.Now())
	if next.State != w.loan.State || !next.NextAt.Equal(w.loan.NextAt) {
		if err := w.move(ctx, next, false); err != nil {
			return err
		}
	}
	if call == "" {
		return nil
	}
	seen, err := w.call(ctx, call, w.remove)
	if err != nil {
		return err
	}
	next, _, alert := nextLoan(w.loan, seen, w.e.Clock.Now())
	return w.move(ctx, next, alert)
}

// move stores a move that the engine makes by itself.
func (w *loanWork) move(ctx context.Context, next Loan, alert bool) error {
	now := w.e.Clock.Now()
	need := guard.Need{Action: authz.LeaseRevoke, Kind: vault.Secret, Name: next.NameKey, Reason: fmt.Sprintf("lease %s: the account %s: %s: %s", next.ID, next.Account, next.State, next.Why)}
	event := string(vault.NewVersionID(now))
	err := w.commit(ctx, w.e.call(w.vault, "lease."+string(next.State), string(next.ID), now), need, next, func(tx store.Tx) error {
		if err := tx.CheckLease(ctx, w.lease); err != nil || !alert {
			return err
		}
		return emitLoan(tx, event, LeaseIrrevocable, &next, now)
	})
	if err != nil {
		return err
	}
	log := w.e.Logger.Info
	if alert {
		log = w.e.Logger.Error
	}
	log("lease", "lease", next.ID, "object", next.NameKey, "account", next.Account, "state", next.State, "reason", next.Why, "tries", next.Tries)
	return nil
}

func emitLoan(tx store.Tx, id string, t EventType, l *Loan, at time.Time) error {
	data := LoanData{Lease: l.ID, Object: l.NameKey, Account: l.Account, Holder: l.Holder, State: l.State, Reason: l.Why}
	if l.LastError != nil {
		data.Error = l.LastError.Message
	}
	doc, err := json.Marshal(data)
	if err == nil {
		tx.Emit(store.Event{ID: id, Type: string(t), Tenant: l.Tenant, Vault: l.Vault, Subject: l.NameKey, At: at, Data: doc})
	}
	return err
}

// remove ends the account at the target.
func (w *loanWork) remove(ctx context.Context) error {
	c := w.e.onLoan(&w.loan, w.vault)
	defer c.zero()
	return c.remove(ctx, w.loan.Account)
}

func (c *calling) remove(ctx context.Context, account string) error {
	p, ok := c.rotator.(rotator.Provisioner)
	if !ok {
		return rotator.Fail(rotator.Misconfigured, nil, "this server has no rotator %q that removes accounts", c.run.Policy.Rotator)
	}
	t, err := c.target(ctx)
	if err != nil {
		return err
	}
	if err := p.Remove(ctx, t, account); err != nil {
		return scrubbed{err, scrub(err.Error(), c.values...)}
	}
	return nil
}

// scrubbed is an error whose text has no values in it.
type scrubbed struct {
	error
	text string
}

func (s scrubbed) Error() string { return s.text }
func (s scrubbed) Unwrap() error { return s.error }
