package storetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

func needsOperation(e *env) {
	err := e.s.Update(e.ctx, store.Op{}, func(store.Tx) error { e.Error("the closure ran"); return nil })
	is(e, "Update", err, fault.Internal)
}

func cancelledBefore(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	err := e.s.Update(ctx, e.op(), func(store.Tx) error { e.Error("the closure ran"); return nil })
	if !errors.Is(err, context.Canceled) {
		e.Errorf("Update = %v, want Canceled", err)
	}
}

func cancelledWaiting(e *env) {
	holds, release := make(chan struct{}), make(chan struct{})
	var group sync.WaitGroup
	first, second := e.op(), e.op()
	group.Go(func() {
		if err := e.s.Update(e.ctx, first, func(tx store.Tx) error {
			close(holds)
			<-release
			return tx.PutSetting(e.ctx, "installation", []byte("first"))
		}); err != nil {
			e.Errorf("the first Update: %v", err)
		}
	})
	<-holds
	ctx, cancel := context.WithTimeout(e.ctx, 20*time.Millisecond)
	defer cancel()
	err := e.s.Update(ctx, second, func(tx store.Tx) error { return tx.PutSetting(e.ctx, "other", []byte("x")) })
	if !errors.Is(err, context.DeadlineExceeded) {
		e.Errorf("the waiting Update = %v, want DeadlineExceeded", err)
	}
	close(release)
	group.Wait()
	nothingIsLeft(e)
}

func cancelledRunning(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	err := e.s.Update(ctx, e.op(), func(tx store.Tx) error {
		cancel()
		return tx.PutSetting(ctx, "other", []byte("x"))
	})
	if err != nil {
		e.Errorf("Update = %v: once begun, the outcome decides", err)
	}
	read(e, func(tx store.Tx) ([]byte, error) { return tx.Setting(e.ctx, "other") })
}
