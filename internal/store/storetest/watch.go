package storetest

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

var watchCases = []testCase{
	{name: "Watch/BeforeUpdateReturns", run: watchedBefore},
	{name: "Watch/InOrderOneAtATime", run: watchedInOrder},
	{name: "Watch/SeesWhatViewsSee", run: watchedIsVisible},
	{name: "Watch/StopWaitsAndEnds", run: watchStops},
	{name: "Watch/NotWhatFailed", run: watchNotFailed},
	{name: "Watch/FreshAfterWhatWasAcknowledged", run: watchFresh},
	{name: "Watch/UnansweredCommitsInOrder", run: watchUnanswered, breaks: true},
}

func watchedBefore(e *env) {
	var seen []store.OpID
	defer e.s.Watch(func(c *store.Commit) { seen = append(seen, c.Op.ID) })()
	for i, op := range enter(e, 5) {
		if len(seen) < i || seen[i] != op.ID {
			e.Fatalf("the watcher saw %v, want %s at %d", seen, op.ID, i)
		}
	}
}

func watchedInOrder(e *env) {
	var seen []store.Position
	var inside atomic.Int32
	stop := e.s.Watch(func(c *store.Commit) {
		if inside.Add(1) != 1 {
			e.Error("the watcher runs twice at once")
		}
		seen = append(seen, c.Position)
		inside.Add(-1)
	})
	defer stop()
	const workers, rounds = 8, 20
	var group sync.WaitGroup
	for range workers {
		ops := make([]store.Op, rounds)
		for i := range ops {
			ops[i] = e.op()
		}
		group.Go(func() {
			for _, op := range ops {
				if err := e.s.Update(e.ctx, op, func(tx store.Tx) error { tx.Audit(nil); return nil }); err != nil {
					e.Errorf("Update: %v", err)
				}
			}
		})
	}
	group.Wait()
	if len(seen) != workers*rounds || !slices.IsSorted(seen) {
		e.Errorf("the watcher saw %d commits at %v, want %d in order", len(seen), seen, workers*rounds)
	}
	var stored []store.Position
	for _, c := range commits(e, 0, 0) {
		stored = append(stored, c.Position)
	}
	same(e, "the journal", stored, seen)
}

// watchedIsVisible: whoever acts on a commit, in another goroutine, finds it stored.
func watchedIsVisible(e *env) {
	seen := make(chan store.OpID, 100)
	defer e.s.Watch(func(c *store.Commit) { seen <- c.Op.ID })()
	var group sync.WaitGroup
	group.Go(func() {
		for range 20 {
			if done, err := e.s.Committed(e.ctx, <-seen); !done || err != nil {
				e.Errorf("Committed of a watched operation = %v, %v", done, err)
			}
		}
	})
	enter(e, 20)
	group.Wait()
}

// watchFresh: Fresh comes to be later than any commit that was acknowledged, and is never later than the present.
func watchFresh(e *env) {
	for range 3 {
		enter(e, 1)
		acknowledged := time.Now()
		for !e.s.Fresh().After(acknowledged) {
			if time.Since(acknowledged) > 20*time.Second {
				e.Fatalf("what was acknowledged %s ago is not known to be shown: Fresh is %s before it", time.Since(acknowledged), acknowledged.Sub(e.s.Fresh()))
			}
			time.Sleep(time.Millisecond)
		}
		if ahead := time.Until(e.s.Fresh()); ahead > 0 {
			e.Errorf("Fresh is %s ahead of the present", ahead)
		}
	}
}

func watchStops(e *env) {
	entered, release := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	stop := e.s.Watch(func(*store.Commit) {
		if calls.Add(1) == 1 {
			close(entered)
			<-release
		}
	})
	var other atomic.Int32
	defer e.s.Watch(func(*store.Commit) { other.Add(1) })()
	op := e.op()
	var group sync.WaitGroup
	group.Go(func() {
		if err := e.s.Update(e.ctx, op, func(tx store.Tx) error { tx.Audit(nil); return nil }); err != nil {
			e.Errorf("Update: %v", err)
		}
	})
	<-entered
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	select {
	case <-stopped:
		e.Error("stop did not wait for the call under way")
	default:
	}
	close(release)
	<-stopped
	group.Wait()
	stop()
	enter(e, 2)
	if calls.Load() != 1 || other.Load() != 3 {
		e.Errorf("the stopped watcher was called %d times, want 1; the other %d, want 3", calls.Load(), other.Load())
	}
}

func watchNotFailed(e *env) {
	defer e.s.Watch(func(c *store.Commit) { e.Errorf("the watcher saw %v", c.Op) })()
	e.try(func(tx store.Tx) error { tx.Audit(nil); return fault.New(fault.Conflict, "no") })
	e.update(func(tx store.Tx) error { return nil })
}

// watchUnanswered: what was stored although it was reported lost is seen too, once, and before what follows it.
func watchUnanswered(e *env) {
	var seen []store.OpID
	defer e.s.Watch(func(c *store.Commit) { seen = append(seen, c.Op.ID) })()
	var want []store.OpID
	for i := range 6 {
		op := e.op()
		how := []Fault{None, Unanswered, Lost}[i%3]
		e.faults.Set(how)
		err := e.s.Update(e.ctx, op, func(tx store.Tx) error { tx.Audit(nil); return nil })
		if (err == nil) != (how == None) {
			e.Errorf("Update = %v", err)
		}
		if how != Lost {
			want = append(want, op.ID)
		}
	}
	e.faults.Set(None)
	op := enter(e, 1)[0]
	same(e, "what the watcher saw", seen, append(want, op.ID))
}
