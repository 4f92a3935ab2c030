package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Lend makes an account for the caller, by the dynamic policy of a secret. The value is the secret's own with the account's user name and password in it, and is not
// told again: whoever loses it leases another. ttl 0 means what the policy says.
func (s *Service) Lend(ctx context.Context, call *guard.Call, name string, ttl time.Duration) (l *Loan, value redact.Bytes, err error) {
	need := guard.Need{Action: authz.LeaseIssue, Kind: vault.Secret, Name: name}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, nil, err
	}
	n, err := s.e.prepare(ctx, call, name, ttl)
	if err != nil {
		return nil, nil, s.e.Guard.Refuse(ctx, call, need, err)
	}
	defer n.zero()
	need.Detail = fmt.Sprintf("lease %s: the account %s until %s", n.loan.ID, n.loan.Account, n.loan.Expires.Format(time.RFC3339))
	if err := n.make(ctx, call, need); err != nil {
		return nil, nil, err
	}
	value, n.value = n.value, nil
	return &n.loan, value, nil
}

// lending is one lease in the making.
type lending struct {
	*calling
	loan  Loan
	pass  redact.Bytes
	value redact.Bytes
}

func (n *lending) zero() {
	n.calling.zero()
	n.value.Zero()
}

// prepare does everything that can fail without a trace at the target.
func (e *Engine) prepare(ctx context.Context, call *guard.Call, name string, ttl time.Duration) (*lending, error) {
	if err := e.watchClock(ctx); err != nil {
		return nil, err
	}
	v := call.Vault.Vault
	var o *vault.Object
	var doc *policyDoc
	err := e.Store.View(ctx, func(tx store.Tx) error {
		object, stored, err := policyOf(ctx, tx, v.ID, name)
		if err != nil {
			return err
		}
		o = object
		doc, err = readPolicy(stored)
		return err
	})
	if err != nil {
		return nil, err
	}
	p := &doc.Policy
	rules := p.Lease
	switch {
	case rules == nil || !strategies[p.Strategy].leased:
		return nil, fault.New(fault.Conflict, "the secret %q is not leased: its rotation policy has the strategy %s; read the secret itself", o.Name, p.Strategy).Because("NotLeased")
	case ttl < 0, ttl > 0 && ttl < MinLease.Std(), ttl > rules.MaxTTL.Std():
		return nil, fault.New(fault.Invalid, "a lease of %q lasts from %s to %s", o.Name, MinLease, rules.MaxTTL)
	case p.Paused:
		return nil, fault.New(fault.Conflict, "the rotation policy of %q is paused: nothing is leased by it", o.Name).Because("PolicyPaused")
	case ttl == 0:
		ttl = rules.TTL.Std()
	}
	now := clock.Micro(e.now(v.Tenant))
	id := store.LoanID(vault.NewVersionID(now))
	l := Loan{ID: id, Tenant: v.Tenant, Vault: v.ID, Object: o.ID, NameKey: vault.NameKey(o.Name), State: LoanCreating, Account: loanPrefix(o.ID) + string(id),
		Holder: string(call.Caller.Principal), Policy: *p, Pace: e.Pace, Issued: now, Expires: now.Add(ttl), Latest: rules.MaxTTL.after(now),
		// Whoever finds it then knows that its maker is gone, and that no call of it can still take effect.
		NextAt: now.Add(e.Leasing.TTL + e.Leasing.Slack + e.Pace.Call.Std())}
	n := &lending{calling: e.onLoan(&l, v), loan: l}
	if err := n.compose(ctx, o); err != nil {
		n.zero()
		return nil, err
	}
	return n, nil
}

// onLoan is the one who calls the target of a lease.
func (e *Engine) onLoan(l *Loan, v *vault.Vault) *calling {
	run := Run{ID: store.RunID(l.ID), Tenant: l.Tenant, Vault: l.Vault, Object: l.Object, NameKey: l.NameKey, Policy: l.Policy, Pace: l.Pace}
	return &calling{driver: &driver{e: e, run: run, vault: v, moves: e.Secrets.Rotation(v, l.NameKey, l.Object)}, rotator: e.rotators[l.Policy.Rotator]}
}

// compose makes the password, and writes the login into the secret's value.
func (n *lending) compose(ctx context.Context, o *vault.Object) error {
	if n.rotator == nil {
		return fault.New(fault.Conflict, "this server has no rotator %q any more: set another policy", n.loan.Policy.Rotator).Because("NoRotator")
	}
	if o.Current == "" {
		return fault.New(fault.Conflict, "the secret %q has no value, into which the login would be written: set one, such as {}", o.Name).Because("NoCredential")
	}
	ver, like, err := n.moves.Open(ctx, o.Current)
	if err != nil {
		return err
	}
	defer clear(like)
	if !ver.Attributes.Enabled {
		return fault.New(fault.Forbidden, "the secret %q is disabled: enable it", o.Name).Because("SecretDisabled")
	}
	d := n.rotator.Describe()
	if n.pass, err = generate(n.loan.Policy.rules(&d, false)); err != nil {
		return err
	}
	n.values = append(n.values, n.pass)
	n.value, err = n.loan.Policy.Format.compose(like, n.loan.Account, n.pass)
	return err
}

// make stores the lease, makes the account, and stores that it is there. What goes wrong in between is undone by whoever comes by.
func (n *lending) make(ctx context.Context, call *guard.Call, need guard.Need) error {
	e, rules := n.e, n.loan.Policy.Lease
	at, err := e.seat(ctx, &n.loan)
	if err != nil {
		return e.Guard.Refuse(ctx, call, need, err)
	}
	defer e.slots.free(at)
	w := &loanWork{e: e, vault: n.vault, loan: n.loan}
	w.claimed = e.Clock.Now()
	err = w.commit(ctx, call, need, n.loan, func(tx store.Tx) error {
		open, err := tx.CountLoans(ctx, n.loan.Object, rules.most())
		if err != nil {
			return err
		}
		if open >= rules.most() {
			return fault.New(fault.Throttled, "the secret %q has %d leases, which is all that its policy allows: revoke some, or wait until one ends", n.loan.NameKey, open).Because("LeaseLimit")
		}
		return w.claim(ctx, tx)
	})
	if err != nil {
		return err
	}
	// The account may be there from here on: a caller that goes away must not keep its lease from being put right.
	work := context.WithoutCancel(ctx)
	seen, err := w.call(work, callProvision, func(c context.Context) error { return n.provision(c) })
	if err != nil {
		return err
	}
	seen.undelivered = ctx.Err() != nil
	next, _, _ := nextLoan(w.loan, seen, w.now())
	need.Detail = fmt.Sprintf("lease %s: the account %s is %s", next.ID, next.Account, next.State)
	if err := w.commit(work, call, need, next, nil); err != nil {
		return err
	}
	n.loan = w.loan
	w.release(work)
	if n.loan.State != LoanActive {
		e.Wake()
		return n.notMade(seen)
	}
	return nil
}

func (n *lending) provision(ctx context.Context) error {
	p, ok := n.rotator.(rotator.Provisioner)
	if !ok {
		return rotator.Fail(rotator.Misconfigured, nil, "the rotator %q makes no accounts", n.loan.Policy.Rotator)
	}
	t, err := n.target(ctx)
	if err != nil {
		return err
	}
	// The target's own end is a backstop: a lease may be renewed until then.
	return p.Provision(ctx, t, rotator.Credential{Account: n.loan.Account, Value: n.pass}, n.loan.Latest)
}

// notMade tells the caller why it gets nothing.
func (n *lending) notMade(seen loanSeen) error {
	if seen.err == nil {
		return fault.New(fault.Unavailable, "nobody waited for the lease of %q: it is revoked", n.loan.NameKey)
	}
	why := scrub(seen.err.Message, n.values...)
	switch seen.class {
	case rotator.Denied, rotator.Misconfigured:
		return fault.New(fault.Conflict, "no account could be made by the policy of %q: %s", n.loan.NameKey, why).Because("LeaseNotMade")
	}
	return fault.New(fault.Unavailable, "no account could be made by the policy of %q, try again: %s", n.loan.NameKey, why).Because("LeaseNotMade")
}
