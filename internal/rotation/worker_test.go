package rotation_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func policyFor(s rotator.Strategy) rotation.Policy {
	p := rotation.Policy{Strategy: s, Rotator: "fake", Accounts: []string{"app_a"}, Format: rotation.Format{Kind: rotation.JSON}}
	switch s {
	case rotator.Alternating:
		p.Accounts = []string{"app_a", "app_b"}
	case rotator.Single:
		p.AcceptGap = true
	}
	return p
}

var strategies = []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating}

func (w *world) closed() bool { return len(w.runs(store.RunQuery{Open: true})) == 0 }

func (w *world) rotate(name string) *rotation.Run {
	w.T.Helper()
	r, err := w.service(w.engine).Run(w.Ctx, w.Call(w.caller), name, rotation.Start{Cause: rotation.OnDemand})
	must(w.T, err)
	return r
}

// A credential changes at its target, becomes current, and what it replaced is refused and retired.
func TestRotation(t *testing.T) {
	for _, s := range strategies {
		t.Run(string(s), func(t *testing.T) {
			w := newWorld(t)
			w.database("db", policyFor(s))
			_, old, oldVersion := w.read("db")
			w.start(w.engine)
			for range 3 {
				user, before, _ := w.read("db")
				run := w.rotate("db")
				w.eventually("the end of the run", w.closed)
				if r := w.run(run.ID); r.State != rotation.Done {
					t.Fatalf("the run ended as %s (%s)", r.State, r.Reason)
				}
				newUser, pass, _ := w.read("db")
				if pass == before || !w.target.accepts(newUser, pass) {
					t.Fatal("the current value is the old one, or does not log in")
				}
				if w.target.accepts(user, before) {
					t.Error("the value before is still accepted")
				}
			}
			w.retired("db", oldVersion)
			if strings.Contains(w.log.String(), old) {
				t.Error("the log shows a value")
			}
			if _, value, err := w.secrets.Get(w.Ctx, w.Call(w.caller), secret.Selector{Name: "db"}, nil); err != nil || !strings.Contains(string(value), `"host":"db.test"`) {
				t.Errorf("the other members of the value were not kept (%v)", err)
			}
		})
	}
}

func (w *world) retired(name string, v vault.VersionID) {
	w.T.Helper()
	must(w.T, w.Store.View(w.Ctx, func(tx store.Tx) error {
		o, err := tx.Object(w.Ctx, w.Vault.ID, vault.Secret, name)
		if err != nil {
			return err
		}
		ver, err := tx.Version(w.Ctx, o.ID, v)
		if err == nil && (ver.State != vault.Retired || ver.Attributes.Enabled) {
			w.T.Errorf("version %s is %q and enabled=%v, want retired and disabled", v, ver.State, ver.Attributes.Enabled)
		}
		return err
	}))
}

// Replies get lost before and after each verb's effect; the run ends all the same, with one value.
func TestLostReplies(t *testing.T) {
	for _, s := range strategies {
		for _, verb := range []string{"preflight", "set", "probe", "revoke"} {
			for _, when := range []string{"before", "after"} {
				t.Run(fmt.Sprintf("%s/%s/%s", s, verb, when), func(t *testing.T) {
					t.Parallel()
					w := newWorld(t)
					w.database("db", policyFor(s))
					var lost atomic.Int32
					lose := func(v string) error {
						if v == verb && lost.Add(1) <= 2 {
							return errors.New("the connection was reset")
						}
						return nil
					}
					if when == "before" {
						w.target.before = lose
					} else {
						w.target.after = lose
					}
					run := w.rotate("db")
					w.start(w.engine)
					w.eventually("the end of the run", w.closed)
					r := w.run(run.ID)
					user, pass, _ := w.read("db")
					if r.State != rotation.Done || !w.target.accepts(user, pass) {
						t.Errorf("the run ended as %s (%s)", r.State, r.Reason)
					}
					if lost.Load() == 0 && !(s == rotator.Single && verb == "revoke") {
						t.Error("nothing was lost")
					}
				})
			}
		}
	}
}

// Two secrets share an account: never are two calls at work on it, whoever drives the runs.
func TestTwoSecretsOneAccount(t *testing.T) {
	w := newWorld(t)
	w.target.delay = 10 * time.Millisecond
	p := policyFor(rotator.Dual)
	w.database("one", p)
	w.database("two", p)
	w.target.give("app_a", "first-password-of-one", "first-password-of-two")
	w.rotate("one")
	w.rotate("two")
	other := w.newEngine(nil)
	w.start(w.engine)
	w.start(other)
	time.Sleep(300 * time.Millisecond)
	w.target.mu.Lock()
	defer w.target.mu.Unlock()
	if w.target.overlaps > 0 {
		t.Errorf("%d calls met at one account", w.target.overlaps)
	}
}

// Several workers race for the same runs: one value per attempt, and no two of them at one account.
func TestRaces(t *testing.T) {
	w := newWorld(t)
	w.target.delay = time.Millisecond
	w.database("db", policyFor(rotator.Alternating))
	for range 3 {
		w.start(w.newEngine(nil))
	}
	for range 10 {
		run := w.rotate("db")
		w.eventually("the end of the run", w.closed)
		if r := w.run(run.ID); r.State != rotation.Done {
			t.Fatalf("the run ended as %s", r.State)
		}
	}
	w.target.mu.Lock()
	defer w.target.mu.Unlock()
	if w.target.overlaps > 0 {
		t.Errorf("%d calls met at one account", w.target.overlaps)
	}
	for id, values := range w.target.set {
		if len(values) != 1 {
			t.Errorf("run %s set %d values", id, len(values))
		}
	}
}

// The old version stays while somebody holds it, and the run says who.
func TestRevocationWaitsForItsConsumers(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Alternating))
	user, pass, v := w.read("db")
	w.ledger.hold(v, "laggard")
	w.rotate("db")
	w.start(w.engine)
	w.eventually("that the laggard is named", func() bool {
		open := w.runs(store.RunQuery{Open: true, Kind: store.RevocationRun})
		return len(open) == 1 && len(open[0].Waiting) == 1 && open[0].Waiting[0].Principal == "laggard"
	})
	if !w.target.accepts(user, pass) {
		t.Fatal("the old value was revoked under its holder")
	}
	// The next run would take the place of what the laggard holds: it waits too.
	next := w.rotate("db")
	w.eventually("that the next run waits", func() bool { return w.run(next.ID).Reason == rotation.AwaitingRevocation })
	if !w.target.accepts(user, pass) {
		t.Fatal("the next run took the place of the old value")
	}
	w.ledger.letGo(v)
	w.eventually("the end of all runs", w.closed)
	if w.target.accepts(user, pass) || w.run(next.ID).State != rotation.Done {
		t.Error("the old value is still accepted, or the next run did not end well")
	}
}

// A write by somebody else during a run wins.
func TestOtherWriteSupersedes(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Dual))
	written := false
	w.target.after = func(verb string) error {
		if verb == "set" && !written {
			written = true
			w.target.mu.Lock()
			w.target.accounts["app_a"] = append(w.target.accounts["app_a"], "somebody-elses-password")
			w.target.mu.Unlock()
			_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), "db", secret.Input{Value: []byte(`{"username":"app_a","password":"somebody-elses-password"}`), Enabled: true})
			return err
		}
		return nil
	}
	run := w.rotate("db")
	w.start(w.engine)
	w.eventually("the end of the run", func() bool { return !w.run(run.ID).Open() })
	if r := w.run(run.ID); r.State != rotation.Superseded {
		t.Errorf("the run ended as %s (%s)", r.State, r.Reason)
	}
	if _, pass, _ := w.read("db"); pass != "somebody-elses-password" || !w.target.accepts("app_a", pass) {
		t.Error("the other write did not win")
	}
}

// A target at which nothing can be done makes the run stuck, and a person's word sends it on.
func TestStuckAndReplayed(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Alternating))
	denied := atomic.Bool{}
	denied.Store(true)
	w.target.before = func(verb string) error {
		if verb == "set" && denied.Load() {
			return rotator.Fail(rotator.Denied, nil, "the right to alter the role is missing")
		}
		return nil
	}
	run := w.rotate("db")
	w.start(w.engine)
	w.eventually("that it is stuck", func() bool { return w.run(run.ID).State == rotation.Stuck })
	if r := w.run(run.ID); !r.NextAt.IsZero() || r.Reason != rotation.Denied || !r.Open() {
		t.Errorf("stuck: next %v, reason %s", r.NextAt, r.Reason)
	}
	denied.Store(false)
	_, err := w.service(w.engine).Order(w.Ctx, w.Call(w.caller), run.ID, rotation.Order{Kind: rotation.ReplayOrder})
	must(t, err)
	w.eventually("the end of all runs", w.closed)
	if r := w.run(run.ID); r.State != rotation.Done {
		t.Errorf("the run ended as %s", r.State)
	}
}

// A second run of one secret is refused while the first is open.
func TestOneOpenRun(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Dual))
	w.rotate("db")
	_, err := w.service(w.engine).Run(w.Ctx, w.Call(w.caller), "db", rotation.Start{Cause: rotation.OnDemand})
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("a second run: %v", err)
	}
	if _, err := w.service(w.engine).Run(w.Ctx, w.Call(w.caller), "db", rotation.Start{Cause: rotation.Emergency}); err != nil {
		t.Errorf("an emergency while a run is open: %v", err)
	}
}

// Every change stands in the audit log with the run and the reason.
func TestChangesAreRecorded(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Alternating))
	run := w.rotate("db")
	w.start(w.engine)
	w.eventually("the end of the run", w.closed)
	var states []string
	for _, e := range w.Changes() {
		if e.Principal == string(rotation.EngineID) && e.Correlation == string(run.ID) {
			if !strings.Contains(e.Reason, string(run.ID)) || !strings.Contains(e.Reason, string(w.caller.Principal)) {
				t.Errorf("a record without run or actor: %+v", e)
			}
			states = append(states, e.Reason)
		}
	}
	if len(states) < 5 {
		t.Errorf("only %d records: %v", len(states), states)
	}
}
