package storetest

import (
	"sync"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// The two failures of every single write are among the change cases.
var faultCases = []testCase{
	{name: "Faults/ErrorsOfClosuresWaitForTheCommit", run: errorsWait, breaks: true},
	{name: "Faults/HealthAndRecovery", run: recovers, breaks: true},
	{name: "Faults/CommittedAfterALostOne", run: committedAfterLost, breaks: true},
	{name: "Faults/UnderContention", run: faultsUnderContention, breaks: true, reopens: true},
}

// errorsWait: an error that was computed from uncommitted writes must not leave when these are lost.
func errorsWait(e *env) {
	e.faults.Set(Lost)
	defer e.faults.Set(None)
	err := e.try(func(tx store.Tx) error {
		if err := tx.PutSetting(e.ctx, "other", nil); err != nil {
			return err
		}
		return fault.New(fault.Conflict, "taken")
	})
	is(e, "Update", err, fault.Unavailable)
}

func recovers(e *env) {
	e.faults.Set(Lost)
	is(e, "Update", e.try(func(tx store.Tx) error { tx.Audit(nil); return nil }), fault.Unavailable)
	is(e, "Health while commits fail", e.s.Health(e.ctx), fault.Unavailable)
	e.view(func(store.Tx) error { return nil })
	e.faults.Set(None)
	if err := e.s.Health(e.ctx); err != nil {
		e.Errorf("Health = %v after commits work again", err)
	}
	enter(e, 1)
}

// committedAfterLost: what a failed commit left on disk could come to life in a crash, so as long as nothing can be written over
// it nobody may be told that the operation did not happen.
func committedAfterLost(e *env) {
	op := e.op()
	e.faults.Set(Lost)
	is(e, "Update", e.s.Update(e.ctx, op, func(tx store.Tx) error { tx.Audit(nil); return nil }), fault.Unavailable)
	if done, err := e.s.Committed(e.ctx, op.ID); err == nil && !done {
		// An engine that knows may say so; it must not say yes.
		e.Log("the engine is sure although commits fail")
	} else {
		is(e, "Committed while commits fail", err, fault.Unavailable)
	}
	e.faults.Set(None)
	if done, err := e.s.Committed(e.ctx, op.ID); done || err != nil {
		e.Errorf("Committed = %v, %v; want false", done, err)
	}
}

// faultsUnderContention: with commits failing in all ways at random moments, each operation is resolved by Committed, and
// what the journal holds is exactly what was resolved as done.
func faultsUnderContention(e *env) {
	const workers, rounds = 6, 15
	var group sync.WaitGroup
	var mu sync.Mutex
	done := make(map[store.OpID]bool)
	resolve := func(id store.OpID) bool {
		for {
			if ok, err := e.s.Committed(e.ctx, id); err == nil {
				return ok
			}
		}
	}
	for range workers {
		ops := make([]store.Op, rounds)
		for i := range ops {
			ops[i] = e.op()
		}
		group.Go(func() {
			for i, op := range ops {
				e.faults.Set([]Fault{None, None, Lost, None, Unanswered}[i%5])
				err := e.s.Update(e.ctx, op, func(tx store.Tx) error { return tx.PutSetting(e.ctx, string(op.ID), nil) })
				e.faults.Set(None)
				ok := err == nil || resolve(op.ID)
				mu.Lock()
				done[op.ID] = ok
				mu.Unlock()
			}
		})
	}
	group.Wait()
	for range 2 {
		found := make(map[store.OpID]bool)
		for _, c := range commits(e, 0, 0) {
			found[c.Op.ID] = true
		}
		for id, want := range done {
			if found[id] != want {
				e.Errorf("operation %s: in the journal %v, answered %v", id, found[id], want)
			}
		}
		e.reopen()
	}
}
