package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// testLength is how long turns are in these tests: long enough for a busy machine to renew them.
const testLength = 200 * time.Millisecond

func (w *world) turn(owner string, s store.Store) *Turn {
	w.Helper()
	return must(NewTurn(TurnConfig{Store: s, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Name: "jobs", Owner: owner, Length: testLength,
		Slack: testLength / 6}))(w.T)
}

// cutStore fails while it is cut.
type cutStore struct {
	store.Store
	cut atomic.Bool
}

var errCut = errors.New("the link is cut")

func (s *cutStore) Update(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	if s.cut.Load() {
		return errCut
	}
	return s.Store.Update(ctx, op, fn)
}

// workers counts who is at work, and notes when two were at once.
type workers struct {
	mu    sync.Mutex
	at    map[string]int
	twice bool
}

func (ws *workers) work(name string) func(context.Context) {
	return func(ctx context.Context) {
		ws.mu.Lock()
		ws.at[name]++
		ws.twice = ws.twice || len(ws.at) > 1
		ws.mu.Unlock()
		<-ctx.Done()
		ws.mu.Lock()
		defer ws.mu.Unlock()
		if ws.at[name]--; ws.at[name] == 0 {
			delete(ws.at, name)
		}
	}
}

func (ws *workers) atWork(name string) func() bool {
	return func() bool {
		ws.mu.Lock()
		defer ws.mu.Unlock()
		return ws.at[name] > 0
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within ten seconds", what)
		}
	}
}

func start(t *testing.T, turn *Turn, work func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { turn.Run(ctx, work) })
	return func() { cancel(); done.Wait() }
}

// One node at a time works: another takes over when the one that ends gives its turn back, and when one is cut off, which stops before.
func TestTurnPasses(t *testing.T) {
	w := newWorld(t)
	ws := &workers{at: make(map[string]int)}
	cut := &cutStore{Store: w.store}
	a, b := w.turn("a", w.store), w.turn("b", cut)
	stopA := start(t, a, ws.work("a"))
	eventually(t, "a has the first turn", ws.atWork("a"))
	stopB := start(t, b, ws.work("b"))
	time.Sleep(2 * testLength)
	if !ws.atWork("a")() || !a.Mine() || b.Mine() {
		t.Error("a lost its turn while it renewed it")
	}
	stopA()
	eventually(t, "b takes over from a, which ended", ws.atWork("b"))
	stopA = start(t, a, ws.work("a"))
	defer stopA()
	cut.cut.Store(true)
	eventually(t, "b stops when it cannot renew", func() bool { return !ws.atWork("b")() })
	eventually(t, "a takes over from b, which is cut off", ws.atWork("a"))
	if b.Mine() {
		t.Error("b believes that it is its turn")
	}
	cut.cut.Store(false)
	stopB()
	if ws.twice {
		t.Error("two nodes were at work at once")
	}
}

// What a node writes behind the end of its turn is refused, although its work has not noticed yet.
func TestTurnFence(t *testing.T) {
	w := newWorld(t)
	a := w.turn("a", w.store)
	fence := func() error {
		return w.store.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error { return a.Fence(t.Context(), tx) })
	}
	lost := func(err error) bool { e := fault.As(err); return e != nil && e.Reason == store.LeaseLost }
	if err := fence(); !lost(err) {
		t.Errorf("before its turn: %v", err)
	}
	lease := must(a.acquire(t.Context()))(t)
	a.set(lease)
	if err := fence(); err != nil {
		t.Errorf("in its turn: %v", err)
	}
	time.Sleep(testLength + testLength/3)
	if err := fence(); !lost(err) {
		t.Errorf("behind the end: %v", err)
	}
	if other := must(w.turn("b", w.store).acquire(t.Context()))(t); other == nil || other.Fence <= lease.Fence {
		t.Errorf("the successor's lease is %+v", other)
	}
	if err := fence(); !lost(err) {
		t.Errorf("in another's turn: %v", err)
	}
}

func TestSoleNodeWritesNoLease(t *testing.T) {
	turn := must(NewTurn(TurnConfig{Sole: true}))(t)
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	stop := start(t, turn, func(got context.Context) { <-got.Done(); close(done) })
	if !turn.Mine() || turn.Fence(ctx, nil) != nil {
		t.Error("it is not the sole node's turn")
	}
	cancel()
	stop()
	<-done
}
