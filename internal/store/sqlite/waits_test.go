package sqlite

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/store"
)

// TestWaitsAreMeasured has one write, and every reader that there may be, keep the others waiting.
func TestWaitsAreMeasured(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	ctx, before := t.Context(), s.Waits()
	const long = 50 * time.Millisecond
	hold := func(context.Context, store.Tx) error { time.Sleep(long); return nil }
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if err := s.Update(ctx, store.NewOp(time.Now()), func(tx store.Tx) error { return hold(ctx, tx) }); err != nil {
				t.Error(err)
			}
		})
	}
	for range s.readers.Size() + 1 {
		all.Go(func() {
			if err := s.View(ctx, func(tx store.Tx) error { return hold(ctx, tx) }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	after := s.Waits()
	for what, w := range map[string][2]store.Wait{"reads": {before.Reads, after.Reads}, "writes": {before.Writes, after.Writes}} {
		if total := w[1].Total - w[0].Total; total < long/2 {
			t.Errorf("%s waited %s in all", what, total)
		}
	}
	if n := after.Reads.Turns - before.Reads.Turns; n != uint64(s.readers.Size())+1 {
		t.Errorf("%d turns of readers are counted", n)
	}
	if d := after.Reads.Since(after.Reads); d != 0 {
		t.Errorf("without a turn the wait is %s", d)
	}
}
