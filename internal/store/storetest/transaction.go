package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var transactionCases = []testCase{
	{name: "Update/IsAtomic", run: isAtomic},
	{name: "Update/IsSerialisableUnderContention", run: isSerialisable},
	{name: "Update/ReadsItsOwnWrites", run: readsOwnWrites},
	{name: "Update/AnswersTheClosuresError", run: answersClosureError},
	{name: "Update/SurvivesAPanic", run: survivesPanic},
	{name: "Update/SurvivesTheEndOfAGoroutine", run: survivesGoexit},
	{name: "Update/FailuresOfOthersDoNotMatter", run: failuresOfOthers},
	{name: "Update/NeedsAnOperation", run: needsOperation},
	{name: "Update/CancelledBeforeItBegan", run: cancelledBefore},
	{name: "Update/CancelledWhileItWaits", run: cancelledWaiting},
	{name: "Update/CancelledWhileItRuns", run: cancelledRunning},
	{name: "Update/IsVisibleAfterwards", run: isVisible},
	{name: "Update/IsDurable", run: isDurable, reopens: true},
	{name: "Update/RepeatedAnswersErrCommitted", run: repeated},
	{name: "Update/ArgumentsAreCopied", run: argumentsCopied},
	{name: "View/SeesOneState", run: viewSeesOneState},
	{name: "View/Cancelled", run: viewCancelled},
	{name: "View/AnswersTheClosuresError", run: viewError},
	{name: "View/ManyAtOnce", run: manyViews},
	{name: "Tx/IsOverAfterItsClosure", run: txIsOver},
	{name: "Committed/OfWhatNeverWas", run: committedNever},
	{name: "Health/IsWell", run: healthy},
	{name: "Close/RefusesEverythingAfterwards", run: closed, reopens: true},
	{name: "Close/WaitsForTransactionsUnderWay", run: closeWaits, reopens: true},
}

func isAtomic(e *env) {
	f := newFixture()
	f.seed(e)
	before := f.state(e)
	o, v := newObject(f.vault.ID, vault.Secret, "other")
	err := e.try(func(tx store.Tx) error {
		// The last write conflicts; what was written before it must go as well, whoever asked for it.
		return errors.Join(tx.PutObject(e.ctx, o), tx.AddVersion(e.ctx, v), tx.PutSetting(e.ctx, "other", []byte("x")),
			tx.AddVersion(e.ctx, v))
	})
	is(e, "Update", err, fault.Conflict)
	same(e, "the state", f.state(e), before)
}

// isSerialisable counts in a record that everybody reads and writes: no increment may be lost.
func isSerialisable(e *env) {
	const workers, rounds = 8, 25
	f := newFixture()
	f.seed(e)
	var group sync.WaitGroup
	ops := make(chan store.Op, workers*rounds)
	for range workers * rounds {
		ops <- e.op()
	}
	close(ops)
	for range workers {
		group.Go(func() {
			for op := range ops {
				err := e.s.Update(e.ctx, op, func(tx store.Tx) error {
					o, err := tx.Object(e.ctx, f.vault.ID, vault.Secret, f.object.Name)
					if err != nil {
						return err
					}
					n, err := tx.CountVersions(e.ctx, o.ID, 0)
					if err != nil {
						return err
					}
					v := newVersion(o, op.At)
					v.ContentType = fmt.Sprint(n)
					return errors.Join(tx.AddVersion(e.ctx, v), tx.PutObject(e.ctx, o.Promote(v.ID)))
				})
				if err != nil {
					e.Errorf("Update: %v", err)
				}
			}
		})
	}
	group.Wait()
	list := read(e, func(tx store.Tx) ([]*vault.Version, error) { return tx.Versions(e.ctx, f.object.ID, "", 0) })
	counted := make(map[string]bool)
	for _, v := range list {
		counted[v.ContentType] = true
	}
	for n := 2; n < 2+workers*rounds; n++ {
		if !counted[fmt.Sprint(n)] {
			e.Errorf("nobody saw %d versions: two updates read the same state", n)
		}
	}
	o := read(e, func(tx store.Tx) (*vault.Object, error) {
		return tx.Object(e.ctx, f.vault.ID, vault.Secret, f.object.Name)
	})
	if want := int64(1 + workers*rounds); o.Revision != want {
		e.Errorf("the revision is %d, want %d", o.Revision, want)
	}
}

func readsOwnWrites(e *env) {
	f := newFixture()
	var inside *state
	e.update(func(tx store.Tx) error {
		if err := f.put(e, tx); err != nil {
			return err
		}
		var err error
		inside, err = f.stateIn(e, tx)
		return err
	})
	if len(inside.Objects) != 1 || len(inside.Versions) != 2 {
		e.Error("the transaction does not see its own objects")
	}
	same(e, "the state after", f.state(e), inside)
}

func answersClosureError(e *env) {
	want := errors.New("no")
	if err := e.try(func(store.Tx) error { return want }); err != want {
		e.Errorf("Update = %v, want the closure's error itself", err)
	}
}

func survivesPanic(e *env) {
	func() {
		defer func() {
			if got := recover(); got != "broken" {
				e.Errorf("recovered %v in the caller, want the closure's panic", got)
			}
		}()
		e.try(func(tx store.Tx) error {
			tx.PutSetting(e.ctx, "other", []byte("x"))
			panic("broken")
		})
	}()
	nothingIsLeft(e)
}

func survivesGoexit(e *env) {
	op := e.op()
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.s.Update(e.ctx, op, func(tx store.Tx) error {
			tx.PutSetting(e.ctx, "other", []byte("x"))
			runtime.Goexit()
			return nil
		})
	}()
	<-done
	nothingIsLeft(e)
}

func nothingIsLeft(e *env) {
	e.Helper()
	e.update(func(tx store.Tx) error { return tx.PutSetting(e.ctx, "installation", []byte("y")) })
	is(e, "Setting", readErr(e, func(tx store.Tx) ([]byte, error) { return tx.Setting(e.ctx, "other") }), fault.NotFound)
}

// failuresOfOthers: engines commit updates together. What one of them does wrong, after it has written, is its own affair.
func failuresOfOthers(e *env) {
	const workers, rounds = 12, 10
	refused := errors.New("no")
	wrong := []func(tx store.Tx, cancel func()) error{
		func(store.Tx, func()) error { return refused },
		func(store.Tx, func()) error { panic(refused) },
		func(store.Tx, func()) error { runtime.Goexit(); return nil },
		func(tx store.Tx, _ func()) error { return tx.PutTenant(e.ctx, &vault.Tenant{ID: "t", Revision: 7}) },
		func(_ store.Tx, cancel func()) error { cancel(); return refused },
	}
	var group sync.WaitGroup
	for w := range workers {
		ops := make([]store.Op, rounds)
		for i := range ops {
			ops[i] = e.op()
		}
		for i, op := range ops {
			good := w%2 == 0
			name := fmt.Sprintf("good-%d-%d", w, i)
			if !good {
				name = "bad"
			}
			// A goroutine each: some are ended by their closures.
			group.Go(func() {
				defer func() { recover() }()
				ctx, cancel := context.WithCancel(e.ctx)
				defer cancel()
				err := e.s.Update(ctx, op, func(tx store.Tx) error {
					if err := tx.PutSetting(e.ctx, name, []byte(name)); err != nil || good {
						return err
					}
					return wrong[(w/2+i)%len(wrong)](tx, cancel)
				})
				if good != (err == nil) {
					e.Errorf("Update of %s = %v", name, err)
				}
			})
		}
	}
	group.Wait()
	is(e, "what failed", readErr(e, func(tx store.Tx) ([]byte, error) { return tx.Setting(e.ctx, "bad") }), fault.NotFound)
	for w := 0; w < workers; w += 2 {
		for i := range rounds {
			name := fmt.Sprintf("good-%d-%d", w, i)
			read(e, func(tx store.Tx) ([]byte, error) { return tx.Setting(e.ctx, name) })
		}
	}
	if got := commits(e, 0, 0); len(got) != workers*rounds/2 {
		e.Errorf("the journal has %d entries, want %d", len(got), workers*rounds/2)
	}
}

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

func isVisible(e *env) {
	for i := range 50 {
		e.update(func(tx store.Tx) error { return tx.PutSetting(e.ctx, "other", []byte{byte(i)}) })
		if got := read(e, func(tx store.Tx) ([]byte, error) { return tx.Setting(e.ctx, "other") }); got[0] != byte(i) {
			e.Fatalf("a View after the Update sees %d, want %d", got[0], i)
		}
	}
}

func isDurable(e *env) {
	f := newFixture()
	f.seed(e)
	op := e.op()
	if err := e.s.Update(e.ctx, op, func(tx store.Tx) error { return tx.SetCursor(e.ctx, readerName, 1) }); err != nil {
		e.Fatal(err)
	}
	before := f.state(e)
	for range 2 {
		e.reopen()
		same(e, "the state", f.state(e), before)
	}
}

func repeated(e *env) {
	op := e.op()
	put := func(tx store.Tx) error { return tx.PutSetting(e.ctx, "other", []byte("x")) }
	for i, fn := range []func(store.Tx) error{
		put, put,
		func(store.Tx) error { return errors.New("met its own effects") },
		func(store.Tx) error { return nil },
	} {
		err := e.s.Update(e.ctx, op, fn)
		if i == 0 && err != nil || i > 0 && err != store.ErrCommitted {
			e.Errorf("Update %d = %v", i, err)
		}
	}
	if done, err := e.s.Committed(e.ctx, op.ID); !done || err != nil {
		e.Errorf("Committed = %v, %v; want true", done, err)
	}
	if got := read(e, func(tx store.Tx) ([]*store.Commit, error) { return tx.Commits(e.ctx, 0, 0) }); len(got) != 1 {
		e.Errorf("the journal has %d entries, want 1", len(got))
	}
}

// argumentsCopied: the engine keeps nothing that the caller may change later.
func argumentsCopied(e *env) {
	f := newFixture()
	f.seed(e)
	before := f.state(e)
	f.first.Tags["color"], f.first.Value.Ciphertext[0] = "red", 0
	f.vault.Tags["a"], f.vault.Policies[0].Secrets[0] = "z", "set"
	f.object.Labels[vault.Previous] = "other"
	f.user.Password[0], f.grant.Role = 0, "other"
	f.settings["installation"][0], f.signIn.Data[0] = 99, 0
	same(e, "the state", f.state(e), before)
}

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
