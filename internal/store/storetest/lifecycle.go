package storetest

import (
	"sync"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

func committedNever(e *env) {
	if done, err := e.s.Committed(e.ctx, e.op().ID); done || err != nil {
		e.Errorf("Committed = %v, %v; want false", done, err)
	}
}

func healthy(e *env) {
	if err := e.s.Health(e.ctx); err != nil {
		e.Errorf("Health: %v", err)
	}
}

func closed(e *env) {
	s := e.s
	e.reopen()
	nothing := func(store.Tx) error { e.Error("the closure ran"); return nil }
	is(e, "View", s.View(e.ctx, nothing), fault.Unavailable)
	is(e, "Update", s.Update(e.ctx, e.op(), nothing), fault.Unavailable)
	is(e, "Health", s.Health(e.ctx), fault.Unavailable)
	_, err := s.Committed(e.ctx, e.op().ID)
	is(e, "Committed", err, fault.Unavailable)
	if err := s.Close(); err != nil {
		e.Errorf("closing twice: %v", err)
	}
}

func closeWaits(e *env) {
	holds, release := make(chan struct{}), make(chan struct{})
	op := e.op()
	var group sync.WaitGroup
	group.Go(func() {
		if err := e.s.Update(e.ctx, op, func(tx store.Tx) error {
			close(holds)
			<-release
			return tx.PutSetting(e.ctx, "other", []byte("x"))
		}); err != nil {
			e.Errorf("the Update under way: %v", err)
		}
	})
	<-holds
	over := make(chan error, 1)
	go func() { over <- e.s.Close() }()
	select {
	case <-over:
		e.Error("Close did not wait for the Update")
	case <-time.After(20 * time.Millisecond):
	}
	close(release)
	group.Wait()
	if err := <-over; err != nil {
		e.Errorf("Close: %v", err)
	}
	e.s = e.open(e.T)
	read(e, func(tx store.Tx) ([]byte, error) { return tx.Setting(e.ctx, "other") })
}
