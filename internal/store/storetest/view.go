package storetest

import (
	"context"
	"errors"
	"sync"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func viewSeesOneState(e *env) {
	set := func(v byte) {
		e.update(func(tx store.Tx) error { return tx.PutSetting(e.ctx, "other", []byte{v}) })
	}
	set(1)
	e.view(func(tx store.Tx) error {
		for range 3 {
			got, err := tx.Setting(e.ctx, "other")
			if err != nil {
				return err
			}
			if got[0] != 1 {
				e.Errorf("the View sees %d, which was written after it began", got[0])
			}
			set(2)
		}
		return nil
	})
}

func viewCancelled(e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	err := e.s.View(ctx, func(tx store.Tx) error {
		cancel()
		_, err := tx.Setting(ctx, "other")
		return err
	})
	if !errors.Is(err, context.Canceled) {
		e.Errorf("a View that is cancelled = %v, want Canceled", err)
	}
	err = e.s.View(ctx, func(store.Tx) error { e.Error("the closure ran"); return nil })
	if !errors.Is(err, context.Canceled) {
		e.Errorf("a View after its cancellation = %v, want Canceled", err)
	}
	if _, err := e.s.Committed(ctx, e.op().ID); !errors.Is(err, context.Canceled) {
		e.Errorf("Committed = %v, want Canceled", err)
	}
}

func viewError(e *env) {
	want := errors.New("no")
	if err := e.s.View(e.ctx, func(store.Tx) error { return want }); err != want {
		e.Errorf("View = %v, want the closure's error itself", err)
	}
}

// manyViews: more readers than an engine has connections wait for each other and for nobody else.
func manyViews(e *env) {
	f := newFixture()
	f.seed(e)
	var group sync.WaitGroup
	for range 100 {
		group.Go(func() {
			if err := e.s.View(e.ctx, func(tx store.Tx) error {
				_, err := tx.Object(e.ctx, f.vault.ID, vault.Secret, f.object.Name)
				return err
			}); err != nil {
				e.Errorf("View: %v", err)
			}
		})
	}
	group.Wait()
}

func txIsOver(e *env) {
	var kept store.Tx
	keep := func(tx store.Tx) error { kept = tx; return nil }
	e.view(keep)
	_, err := kept.Setting(e.ctx, "other")
	is(e, "reading after View", err, fault.Internal)
	e.update(keep)
	is(e, "writing after Update", kept.PutSetting(e.ctx, "other", nil), fault.Internal)
}
