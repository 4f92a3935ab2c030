package rotation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// leases are those under which one run is driven. The object's belongs to the worker, so that one worker at a time acts for an object. Those
// of the accounts belong to the run: they outlive a crash of the worker and the run's own waits, so that no other run ever changes an account on
// which this one is not finished.
type leases struct {
	engine   *Engine
	tenant   vault.TenantID
	object   *store.Lease
	accounts []*store.Lease
	// held is until when the object's lease is counted on: its length from before it was asked for, by the clock of this process. Both instants have a
	// monotonic reading, so that lengths of leases do not change when the wall clock is set.
	held, asked time.Time
}

func objectLease(r *Run) string { return "rotation/object/" + string(r.Object) }

func accountLease(rotator, identity string) string {
	sum := sha256.Sum256([]byte(rotator + "\x00" + identity))
	return "rotation/account/" + hex.EncodeToString(sum[:16])
}

// acquire takes the object's lease. ok is false when another worker has it.
func (e *Engine) acquire(ctx context.Context, r *Run) (l *leases, ok bool, err error) {
	l = &leases{engine: e, tenant: r.Tenant, asked: e.Clock.Now()}
	err = e.Store.Update(ctx, store.NewOp(e.now(r.Tenant)), func(tx store.Tx) (err error) {
		l.object, err = tx.AcquireLease(ctx, objectLease(r), e.Node, e.Leasing.TTL, e.Leasing.Slack)
		return err
	})
	if isReason(err, store.LeaseHeld) {
		return nil, false, nil
	}
	l.held = l.asked.Add(e.Leasing.TTL)
	return l, err == nil, err
}

// reserve takes the leases of all accounts of the run. ok is false when another run has one of them; then none is kept.
func (l *leases) reserve(ctx context.Context, r *Run) (ok bool, err error) {
	if len(l.accounts) > 0 {
		return true, nil
	}
	names := accountLeases(r)
	if len(names) == 0 {
		return true, nil
	}
	var taken []*store.Lease
	err = l.engine.Store.Update(ctx, store.NewOp(l.engine.now(r.Tenant)), func(tx store.Tx) error {
		taken = nil
		for _, name := range names {
			a, err := tx.AcquireLease(ctx, name, "run/"+string(r.ID), l.engine.Leasing.TTL, l.engine.Leasing.Slack)
			if err != nil {
				return err
			}
			taken = append(taken, a)
		}
		return nil
	})
	if isReason(err, store.LeaseHeld) {
		return false, nil
	}
	if err == nil {
		l.accounts = taken
	}
	return err == nil, err
}

func accountLeases(r *Run) []string {
	var names []string
	for _, identity := range r.Identities {
		if name := accountLease(r.Policy.Rotator, identity); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// fresh renews the leases when they are old enough, or when less is left of them than a call may take.
func (l *leases) fresh(ctx context.Context) error {
	now := l.engine.Clock.Now()
	if now.Sub(l.asked) < l.engine.Leasing.Renew {
		return nil
	}
	asked := now
	err := l.engine.Store.Update(ctx, store.NewOp(l.engine.now(l.tenant)), func(tx store.Tx) (err error) {
		var object *store.Lease
		if object, err = tx.RenewLease(ctx, l.object, l.engine.Leasing.TTL); err != nil {
			return err
		}
		for _, a := range l.accounts {
			if _, err := tx.RenewLease(ctx, a, l.engine.Leasing.TTL); err != nil {
				return err
			}
		}
		l.object = object
		return nil
	})
	if err == nil {
		l.asked, l.held = asked, asked.Add(l.engine.Leasing.TTL)
	}
	return err
}

// left is how long a call may take: until the margin before the end of the lease, and no longer than most.
func (l *leases) left(most time.Duration) time.Duration {
	return min(most, l.held.Sub(l.engine.Clock.Now())-l.engine.Leasing.Margin)
}

// check is part of every transaction that writes the journal.
func (l *leases) check(ctx context.Context, tx store.Tx) error {
	if err := tx.CheckLease(ctx, l.object); err != nil {
		return err
	}
	for _, a := range l.accounts {
		if err := tx.CheckLease(ctx, a); err != nil {
			return err
		}
	}
	return nil
}

// release gives the object back. The accounts stay reserved for a run that is in the midst of a change, until it is due again.
func (l *leases) release(ctx context.Context, r *Run) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	now := l.engine.now(r.Tenant)
	err := l.engine.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		for _, a := range l.accounts {
			if !r.engaged() {
				if err := tx.ReleaseLease(ctx, a); err != nil {
					return err
				}
				continue
			}
			if _, err := tx.RenewLease(ctx, a, max(r.NextAt.Sub(now), 0)+l.engine.Leasing.TTL); err != nil && !isReason(err, store.LeaseLost) {
				return err
			}
		}
		return tx.ReleaseLease(ctx, l.object)
	})
	if err != nil {
		l.engine.Logger.Warn("leases of a rotation were not released: they run out by themselves", "run", r.ID, "error", err)
	}
}

const releaseTimeout = 5 * time.Second

// engaged reports whether the run is in the midst of a change at its accounts, so that nobody else may touch them.
func (r *Run) engaged() bool {
	switch r.State {
	case Queued, Preflight, Approval, Asked, Awaiting, Held, Stuck:
		return false
	}
	return r.Open()
}

func isReason(err error, reason fault.Reason) bool {
	e := fault.As(err)
	return e != nil && e.Reason == reason
}
