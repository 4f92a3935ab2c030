package storetest

import (
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

var leaseCases = []testCase{
	{name: "Leases/OneHolder", run: leaseOneHolder},
	{name: "Leases/Fences", run: leaseFences},
	{name: "Leases/RunOut", run: leaseRunsOut},
	{name: "Leases/GuardWrites", run: leaseGuardsWrites},
	{name: "Leases/NoJournalEntry", run: leaseNoJournal},
	{name: "Leases/Survive", run: leaseSurvives, reopens: true},
}

// brief is a time to live that a case can wait out; long is one that never ends during a case.
const (
	brief = 30 * time.Millisecond
	long  = time.Hour
)

func acquire(e *env, owner string, ttl, slack time.Duration) (l *store.Lease, err error) {
	e.Helper()
	err = e.try(func(tx store.Tx) (err error) {
		l, err = tx.AcquireLease(e.ctx, "account", owner, ttl, slack)
		return err
	})
	return l, err
}

// acquired takes a lease that must be free.
func acquired(e *env, owner string, ttl time.Duration) *store.Lease {
	e.Helper()
	l, err := acquire(e, owner, ttl, 0)
	if err != nil {
		e.Fatalf("%s acquires a free lease: %v", owner, err)
	}
	return l
}

func lost(e *env, what string, err error, reason fault.Reason) {
	e.Helper()
	if x := fault.As(err); x == nil || x.Kind != fault.Conflict || x.Reason != reason {
		e.Errorf("%s: %v, want a conflict for %s", what, err, reason)
	}
}

func leaseOneHolder(e *env) {
	l := acquired(e, "a", long)
	if l.Name != "account" || l.Owner != "a" || time.Until(l.Until) < long-time.Minute {
		e.Errorf("the lease is %+v", l)
	}
	_, err := acquire(e, "b", long, 0)
	lost(e, "b acquires what a has", err, store.LeaseHeld)
	again := acquired(e, "a", long)
	if again.Fence != l.Fence {
		e.Errorf("the owner's own lease got the fence %d, want %d still", again.Fence, l.Fence)
	}
	// Another name is another lease.
	e.update(func(tx store.Tx) error {
		_, err := tx.AcquireLease(e.ctx, "other", "b", long, 0)
		return err
	})
}

func leaseFences(e *env) {
	a := acquired(e, "a", long)
	b := pass(e, a, "b")
	if b.Fence <= a.Fence {
		e.Errorf("the next holder has the fence %d, after %d", b.Fence, a.Fence)
	}
	for name, use := range map[string]func(store.Tx) error{
		"CheckLease": func(tx store.Tx) error { return tx.CheckLease(e.ctx, a) },
		"RenewLease": func(tx store.Tx) error { _, err := tx.RenewLease(e.ctx, a, long); return err },
	} {
		lost(e, name+" of a lease that another has", e.try(use), store.LeaseLost)
	}
	// Releasing what is no longer one's own takes nothing from its holder.
	e.update(func(tx store.Tx) error { return tx.ReleaseLease(e.ctx, a) })
	e.update(func(tx store.Tx) error { return tx.CheckLease(e.ctx, b) })
	back := pass(e, b, "a")
	if back.Fence <= b.Fence {
		e.Errorf("a's second turn has the fence %d, after %d", back.Fence, b.Fence)
	}
	lost(e, "the lease of a's first turn", e.try(func(tx store.Tx) error { return tx.CheckLease(e.ctx, a) }), store.LeaseLost)
}

// pass gives a lease from its holder to another.
func pass(e *env, from *store.Lease, to string) *store.Lease {
	e.Helper()
	e.update(func(tx store.Tx) error { return tx.ReleaseLease(e.ctx, from) })
	return acquired(e, to, long)
}

func leaseRunsOut(e *env) {
	a := acquired(e, "a", brief)
	time.Sleep(2 * brief)
	lost(e, "a lease that ran out", e.try(func(tx store.Tx) error { return tx.CheckLease(e.ctx, a) }), store.LeaseLost)
	_, err := acquire(e, "b", long, long)
	lost(e, "acquiring within the slack", err, store.LeaseHeld)
	var renewed *store.Lease
	e.update(func(tx store.Tx) (err error) {
		renewed, err = tx.RenewLease(e.ctx, a, brief)
		return err
	})
	if renewed.Fence != a.Fence {
		e.Errorf("the renewed lease has the fence %d, want %d", renewed.Fence, a.Fence)
	}
	time.Sleep(2 * brief)
	b := acquired(e, "b", long)
	lost(e, "renewing what another has by now", e.try(func(tx store.Tx) error { _, err := tx.RenewLease(e.ctx, a, long); return err }), store.LeaseLost)
	e.update(func(tx store.Tx) error { return tx.CheckLease(e.ctx, b) })
}

// A write in one transaction with the check happens only under the lease.
func leaseGuardsWrites(e *env) {
	a := acquired(e, "a", long)
	pass(e, a, "b")
	err := e.try(func(tx store.Tx) error {
		if err := tx.PutPolicy(e.ctx, newPolicy(41)); err != nil {
			return err
		}
		return tx.CheckLease(e.ctx, a)
	})
	lost(e, "writing without the lease", err, store.LeaseLost)
	is(e, "what was written without the lease", readErr(e, func(tx store.Tx) (*store.Policy, error) { return tx.Policy(e.ctx, newPolicy(41).Object) }),
		fault.NotFound)
}

func leaseNoJournal(e *env) {
	a := acquired(e, "a", long)
	e.update(func(tx store.Tx) error { _, err := tx.RenewLease(e.ctx, a, long); return err })
	e.update(func(tx store.Tx) error { return tx.ReleaseLease(e.ctx, a) })
	commits := read(e, func(tx store.Tx) ([]*store.Commit, error) { return tx.Commits(e.ctx, 0, 0) })
	if len(commits) != 0 {
		e.Errorf("leases made %d entries of the journal", len(commits))
	}
}

func leaseSurvives(e *env) {
	a := acquired(e, "a", long)
	e.reopen()
	e.update(func(tx store.Tx) error { return tx.CheckLease(e.ctx, a) })
	_, err := acquire(e, "b", long, 0)
	lost(e, "acquiring after the store was opened again", err, store.LeaseHeld)
	e.update(func(tx store.Tx) error { return tx.ReleaseLease(e.ctx, a) })
	e.reopen()
	if b := acquired(e, "b", long); b.Fence <= a.Fence {
		e.Errorf("the fence %d was given again after %d", b.Fence, a.Fence)
	}
}
