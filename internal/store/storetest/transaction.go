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
	{name: "Update/TextsMayHaveAnyBytes", run: anyBytes},
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

// anyBytes: what a caller names, or declares in a header, may have bytes that are no text; they are kept, or found to be absent, and nothing else fails.
func anyBytes(e *env) {
	f := newFixture()
	f.seed(e)
	for i, odd := range []string{"a\x00b", "a\xffb", "a\U0010FFFE00", "\U0010FFFF", "\x00"} {
		is(e, "reading what is not there", readErr(e, func(tx store.Tx) ([]byte, error) { return tx.Setting(e.ctx, odd) }), fault.NotFound)
		h := *f.holding
		h.Instance = odd
		v := newVersion(f.object, noon.Add(time.Duration(i)*time.Minute))
		v.ContentType, v.Tags = odd, map[string]string{"odd": odd}
		e.update(func(tx store.Tx) error {
			return errors.Join(tx.PutSetting(e.ctx, odd, []byte(odd)), tx.PutHolding(e.ctx, &h), tx.AddVersion(e.ctx, v))
		})
		if got := read(e, func(tx store.Tx) ([]byte, error) { return tx.Setting(e.ctx, odd) }); string(got) != odd {
			e.Errorf("the setting %q became %q", odd, got)
		}
		same(e, "the holding", read(e, func(tx store.Tx) (*store.Holding, error) { return tx.Holding(e.ctx, h.HoldingKey) }), &h)
		if got := read(e, func(tx store.Tx) (*vault.Version, error) { return tx.Version(e.ctx, f.object.ID, v.ID) }); got.ContentType != odd {
			e.Errorf("the content type %q became %q", odd, got.ContentType)
		}
	}
}
