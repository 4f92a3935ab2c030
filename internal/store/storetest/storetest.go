// Package storetest is the conformance suite of store.Store. Every engine runs it; every sentence of the port's documentation
// has a case in it. An engine that cannot do something says so in its Capabilities, and its documentation lists it.
package storetest

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/store"
)

// Capabilities says what an engine cannot do. The zero value promises everything.
type Capabilities struct {
	// Volatile engines keep nothing when they are closed.
	Volatile bool
	// NoFaults engines do not call the Faults that they are given.
	NoFaults bool
	// Remote engines have what they store in a server, which goes on when they are closed. It takes long to open them, and shows nothing that a View does not: cases
	// of which opening again is not the point leave it out. As they share their statements with an engine that is not remote, both failures are tried on
	// every third write only, unless KEYWRIGHT_STORETEST is "all".
	Remote bool
}

// Opener opens the same store again each time, after the one before was closed. It stops the test when it cannot.
type Opener func(t *testing.T) store.Store

// Place makes room for a new store and returns its opener. The engine calls the faults around every commit.
type Place func(t *testing.T, faults *Faults) Opener

// Fault is a way in which a commit fails.
type Fault int

// The ways in which a commit fails.
const (
	// None lets commits succeed.
	None Fault = iota
	// Lost commits store nothing.
	Lost
	// Unanswered commits are stored, but reported lost.
	Unanswered
)

// Faults breaks commits of an engine.
type Faults struct {
	mu   sync.Mutex
	next Fault
}

var errFault = errors.New("storetest: the commit was made to fail")

// Set makes every later commit fail in the given way.
func (f *Faults) Set(next Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = next
}

// BeforeCommit is called by the engine before it commits; on an error it rolls back.
func (f *Faults) BeforeCommit() error { return f.fail(Lost) }

// AfterCommit is called by the engine after it has committed; on an error it behaves as if the commit had answered with it.
func (f *Faults) AfterCommit() error { return f.fail(Unanswered) }

func (f *Faults) fail(at Fault) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next == at {
		return errFault
	}
	return nil
}

// testCase is one promise.
type testCase struct {
	name string
	run  func(e *env)
	// reopens and breaks say what the case needs of an engine.
	reopens, breaks bool
	// sampled cases are alike, and so many that a few are enough where they take long.
	sampled bool
}

// everything reports that nothing is to be left out.
func everything() bool { return os.Getenv("KEYWRIGHT_STORETEST") == "all" }

// Run runs the suite.
func Run(t *testing.T, place Place, can Capabilities) {
	cases := allCases()
	if len(cases) == 0 {
		t.Fatal("the suite has no cases")
	}
	names, sampled := make(map[string]bool), 0
	for _, c := range cases {
		if names[c.name] {
			t.Fatalf("two cases are called %s", c.name)
		}
		names[c.name] = true
		if c.sampled && can.Remote && !everything() {
			if sampled++; sampled%3 != 0 {
				continue
			}
		}
		if c.reopens && can.Volatile || c.breaks && can.NoFaults {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			faults := new(Faults)
			e := &env{T: t, ctx: t.Context(), open: place(t, faults), faults: faults, remote: can.Remote, now: noon}
			e.s = e.open(t)
			t.Cleanup(func() {
				if err := e.s.Close(); err != nil {
					t.Errorf("closing the store: %v", err)
				}
			})
			c.run(e)
		})
	}
}

func allCases() []testCase {
	var all []testCase
	for _, group := range [][]testCase{transactionCases, journalCases, watchCases, faultCases, tenantCases, vaultCases, objectCases, versionCases,
		principalCases, grantCases, keyCases, signInCases, rotationCases, leaseCases, subscriptionCases, holdingCases, loanCases, issuanceCases, enrolmentCases, endpointCases, keyNeedCases, nodeCases, auditLogCases, backupCases, changeCases, historyCases} {
		if len(group) == 0 {
			panic("storetest: a group of cases is empty")
		}
		all = append(all, group...)
	}
	return all
}

// noon is the instant at which cases begin, with microseconds that must survive.
var noon = time.Date(2026, 3, 14, 12, 0, 0, 123456000, time.UTC)

// env is what a case works with.
type env struct {
	*testing.T
	ctx    context.Context
	open   Opener
	s      store.Store
	faults *Faults
	remote bool
	now    time.Time
}

// op returns a new operation, a millisecond after the one before.
func (e *env) op() store.Op {
	e.now = e.now.Add(time.Millisecond)
	return store.NewOp(e.now)
}

// try runs an update and returns its error.
func (e *env) try(fn func(tx store.Tx) error) error { return e.s.Update(e.ctx, e.op(), fn) }

// update runs an update that must succeed.
func (e *env) update(fn func(tx store.Tx) error) {
	e.Helper()
	if err := e.try(fn); err != nil {
		e.Fatalf("Update: %v", err)
	}
}

// view runs a view that must succeed.
func (e *env) view(fn func(tx store.Tx) error) {
	e.Helper()
	if err := e.s.View(e.ctx, fn); err != nil {
		e.Fatalf("View: %v", err)
	}
}

// reopen closes the store and opens it again.
func (e *env) reopen() {
	e.Helper()
	if err := e.s.Close(); err != nil {
		e.Fatalf("Close: %v", err)
	}
	e.s = e.open(e.T)
}

// read runs one query in a view of its own.
func read[T any](e *env, fn func(tx store.Tx) (T, error)) T {
	e.Helper()
	var v T
	e.view(func(tx store.Tx) (err error) {
		v, err = fn(tx)
		return err
	})
	return v
}

// readErr runs one query that must fail and returns its error.
func readErr[T any](e *env, fn func(tx store.Tx) (T, error)) error {
	e.Helper()
	err := e.s.View(e.ctx, func(tx store.Tx) error {
		_, err := fn(tx)
		return err
	})
	if err == nil {
		e.Error("a query that had to fail answered")
	}
	return err
}
