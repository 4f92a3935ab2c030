package rotation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// sweepEvery is how often targets are searched for accounts without a lease. What crashes leave has a row and is removed by that; this is for rows that a
// restored store has lost, and for a call that took effect after everybody had given it up.
const sweepEvery = time.Hour

// SweepLoans removes the accounts at the targets of dynamic policies that no open lease accounts for, and returns how many those were.
func (e *Engine) SweepLoans(ctx context.Context) (removed int, err error) {
	var errs []error
	for p, err := range e.policies(ctx, store.PolicyQuery{Kind: vault.Secret}) {
		var doc *policyDoc
		if err == nil {
			doc, err = readPolicy(p)
		}
		if err == nil && strategies[doc.Policy.Strategy].leased {
			var n int
			n, err = e.sweepLoans(ctx, p, &doc.Policy)
			removed += n
		}
		errs = append(errs, err)
	}
	return removed, errors.Join(errs...)
}

// sweepLoans does it for one policy, unless another node has just done.
func (e *Engine) sweepLoans(ctx context.Context, p *store.Policy, policy *Policy) (removed int, err error) {
	now := e.now(p.Tenant)
	err = e.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		_, err := tx.AcquireLease(ctx, "rotation/orphans/"+string(p.Object), e.Node, sweepEvery/2, 0)
		return err
	})
	if isReason(err, store.LeaseHeld) {
		return 0, nil
	}
	var v *vault.Vault
	if err == nil {
		err = e.Store.View(ctx, func(tx store.Tx) (err error) {
			v, err = tx.Vault(ctx, p.Vault)
			return err
		})
	}
	if err != nil {
		return 0, err
	}
	l := Loan{ID: store.LoanID(vault.NewVersionID(now)), Tenant: p.Tenant, Vault: p.Vault, Object: p.Object, NameKey: p.NameKey, Policy: *policy, Pace: e.Pace}
	c := e.onLoan(&l, v)
	defer c.zero()
	orphans, err := c.orphans(ctx)
	if err != nil {
		return 0, fmt.Errorf("looking for accounts of %s without a lease: %w", p.NameKey, err)
	}
	for _, o := range orphans {
		l.ID, l.Account = o.lease, o.account
		if err := e.removeOrphan(ctx, c, l); err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}

type orphaned struct {
	lease   store.LoanID
	account string
}

// orphans lists the accounts of the policy at its target that have no open lease. A lease is stored before its account is made, so it is looked for after. Where no
// lease was stored at all, the store may be a copy from before it was: somebody may use the account for as long as a lease can last, and so long it is left.
func (c *calling) orphans(ctx context.Context) (list []orphaned, err error) {
	p, ok := c.rotator.(rotator.Provisioner)
	if !ok {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.run.Pace.Call.Std())
	defer cancel()
	t, err := c.target(ctx)
	if err != nil {
		return nil, err
	}
	accounts, err := p.Provisioned(ctx, t, loanPrefix(c.run.Object))
	if err != nil {
		return nil, scrubbed{err, scrub(err.Error(), c.values...)}
	}
	now, longest := c.now(), c.run.Policy.Lease.MaxTTL
	err = c.e.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		for _, account := range accounts {
			id, ours := loanOf(c.run.Object, account)
			if !ours {
				continue
			}
			stored, err := tx.Loan(ctx, id)
			if err != nil && !isMissing(err) {
				return err
			}
			if err == nil && stored.Open || err != nil && now.Before(longest.after(vault.Made(string(id)))) {
				continue
			}
			list = append(list, orphaned{id, account})
		}
		return nil
	})
	return list, err
}

// removeOrphan removes an account that nobody answers for. The order stands in the audit log before.
func (e *Engine) removeOrphan(ctx context.Context, c *calling, l Loan) error {
	op := store.NewOp(e.now(l.Tenant))
	event := string(vault.NewVersionID(op.At))
	need := guard.Need{Action: authz.LeaseRevoke, Kind: vault.Secret, Name: l.NameKey, Reason: "the account " + l.Account + " has no lease, and is removed"}
	err := e.Guard.Commit(ctx, e.call(c.vault, "lease.orphan", string(l.ID), op.At), need, op, func(tx store.Tx) error { return emitLoan(tx, event, LeaseOrphan, &l, op.At) })
	if err != nil {
		return err
	}
	e.Logger.Warn("an account without a lease is removed", "object", l.NameKey, "account", l.Account)
	bounded, cancel := context.WithTimeout(ctx, c.run.Pace.Call.Std())
	defer cancel()
	return c.remove(bounded, l.Account)
}
