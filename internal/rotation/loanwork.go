package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// loanWork drives one lease while it holds the right to.
type loanWork struct {
	e     *Engine
	vault *vault.Vault
	loan  Loan
	lease *store.Lease
	// claimed is from before the right was asked for, by the clock of this process: the length of the right does not change when that is set.
	claimed time.Time
}

// now is the time by which the lease lives.
func (w *loanWork) now() time.Time { return clock.Micro(w.e.now(w.loan.Tenant)) }

// seen is what is known before anything was asked.
func (w *loanWork) seen(of loanCall) loanSeen {
	return loanSeen{of: of, roll: roll(), trusted: w.e.wall.resumed(w.loan.Tenant, w.now())}
}

// claim takes the right to drive the lease, in the caller's transaction.
func (w *loanWork) claim(ctx context.Context, tx store.Tx) (err error) {
	w.lease, err = tx.AcquireLease(ctx, "rotation/loan/"+string(w.loan.ID), w.e.Node, w.e.Leasing.TTL, w.e.Leasing.Slack)
	return err
}

func (w *loanWork) release(ctx context.Context) {
	if err := w.e.Store.Update(ctx, store.NewOp(w.now()), func(tx store.Tx) error { return tx.ReleaseLease(ctx, w.lease) }); err != nil {
		w.e.Logger.Warn("the right to work on a lease was not given back: it runs out by itself", "lease", w.loan.ID, "error", err)
	}
}

// commit stores the lease as it stands, with its record. also is part of the transaction.
func (w *loanWork) commit(ctx context.Context, call *guard.Call, need guard.Need, next Loan, also func(store.Tx) error) error {
	if err := w.fail("before commit of lease "); err != nil {
		return err
	}
	op := store.NewOp(w.now())
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
	seen := w.seen(of)
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

// tendLoan takes one lease as far as it goes now.
func (e *Engine) tendLoan(ctx context.Context, found *Loan) error {
	w := &loanWork{e: e, loan: *found, claimed: e.Clock.Now()}
	err := e.Store.Update(ctx, store.NewOp(w.now()), func(tx store.Tx) error { return w.claim(ctx, tx) })
	if isReason(err, store.LeaseHeld) {
		return nil
	}
	if err != nil {
		return err
	}
	err = e.Store.View(ctx, func(tx store.Tx) error {
		stored, err := tx.Loan(ctx, found.ID)
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
	if errors.Is(err, errDropped) || isReason(err, store.LeaseLost) {
		return nil // whoever comes next goes on
	}
	w.release(context.WithoutCancel(ctx))
	if isReason(err, store.StaleRevision) {
		return nil // somebody has just said something else of it, which the next look finds
	}
	return err
}

func (w *loanWork) steps(ctx context.Context) error {
	next, call, _ := nextLoan(w.loan, w.seen(""), w.now())
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
	next, _, alert := nextLoan(w.loan, seen, w.now())
	return w.move(ctx, next, alert)
}

// move stores a move that the engine makes by itself.
func (w *loanWork) move(ctx context.Context, next Loan, alert bool) error {
	now := w.now()
	need := guard.Need{Action: authz.LeaseRevoke, Kind: vault.Secret, Name: next.NameKey, Reason: fmt.Sprintf("lease %s: the account %s: %s: %s", next.ID, next.Account, next.State, next.Why)}
	if next.State == LoanActive {
		need.Reason = fmt.Sprintf("lease %s: the account %s counts anew by the clock, until %s", next.ID, next.Account, next.Expires.Format(time.RFC3339))
	}
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
