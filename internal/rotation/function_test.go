package rotation_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// functions is a world with a function that is registered for the secret db.
type functions struct {
	*world
	function *guard.Caller
}

func newFunctions(t *testing.T, s rotator.Strategy, change func(*rotation.Policy)) *functions {
	w := newWorld(t)
	f := &functions{world: w, function: w.Caller(authz.SecretsOfficer)}
	w.Change(func(tx store.Tx) error {
		return tx.PutPrincipal(w.Ctx, &principal.Principal{ID: f.function.Principal, Tenant: w.Vault.Tenant, Kind: f.function.Kind, Name: "function", AppID: f.function.AppID})
	})
	p := policyFor(s)
	p.Function = &rotation.Function{Principal: strings.ToUpper(string(f.function.Principal)), Within: d(20 * time.Second)}
	if s == rotator.Dual {
		w.target.give("keeper", "keeper")
		_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), "admin", secret.Input{Value: []byte(`{"username":"keeper","password":"keeper"}`), Enabled: true})
		must(t, err)
		p.Admin = &rotation.Reference{Name: "admin"}
	}
	if change != nil {
		change(&p)
	}
	w.database("db", p)
	return f
}

// store is the function's first step.
func (f *functions) store(pass string) (vault.VersionID, error) {
	item, err := f.secrets.Set(f.Ctx, f.Call(f.function), "db",
		secret.Input{Value: fmt.Appendf(nil, `{"host":"db.test","username":"app_a","password":%q}`, pass), Enabled: true})
	if err != nil {
		return "", err
	}
	return item.Version.ID, nil
}

// update is its second.
func (f *functions) update(passwords ...string) { f.target.give("app_a", passwords...) }

func (f *functions) only() *rotation.Run {
	f.T.Helper()
	list := f.runs(store.RunQuery{Kind: store.RotationRun})
	if len(list) != 1 {
		f.T.Fatalf("there are %d rotations, want 1", len(list))
	}
	return list[0]
}

func (f *functions) state(s rotation.State) func() bool {
	return func() bool {
		list := f.runs(store.RunQuery{Kind: store.RotationRun})
		return len(list) > 0 && list[0].State == s
	}
}

// What a registered function stores is nobody's until its target accepts it, and everybody's then.
func TestFunctionStoresThenUpdates(t *testing.T) {
	for _, s := range []rotator.Strategy{rotator.Single, rotator.Dual} {
		t.Run(string(s), func(t *testing.T) {
			f := newFunctions(t, s, nil)
			_, old, first := f.read("db")
			f.start(f.engine)
			second, err := f.store("second")
			must(t, err)
			f.eventually("the watch", f.state(rotation.Testing))
			time.Sleep(30 * time.Millisecond)
			if _, pass, v := f.read("db"); pass != old || v != first {
				t.Fatal("readers got a password that does not work")
			}
			if _, _, err := f.secrets.Get(f.Ctx, f.Call(f.caller), secret.Selector{Name: "db", Version: second}, nil); !fault.Is(err, fault.NotFound) {
				t.Errorf("the pending version is shown: %v", err)
			}
			if s == rotator.Dual {
				f.update("second", old)
			} else {
				f.update("second")
			}
			f.eventually("the end of the run", f.closed)
			if r := f.only(); r.State != rotation.Done || r.Start.Cause != rotation.ByFunction || r.Start.Actor != string(f.function.Principal) {
				t.Fatalf("the run ended as %s (%s), for %+v", r.State, r.Reason, r.Start)
			}
			if _, pass, v := f.read("db"); pass != "second" || v != second {
				t.Error("the version that works is not the current one")
			}
			if f.target.accepts("app_a", old) {
				t.Error("the old credential is still accepted")
			}
			f.retired("db", first)
			if strings.Contains(f.log.String(), "second") {
				t.Error("the log shows a value")
			}
		})
	}
}

// A function that never updates its target leaves nothing behind, and people hear of it.
func TestFunctionThatNeverUpdatesIsGivenUp(t *testing.T) {
	f := newFunctions(t, rotator.Single, func(p *rotation.Policy) { p.Function.Within = d(100 * time.Millisecond) })
	_, old, first := f.read("db")
	f.start(f.engine)
	second, err := f.store("second")
	must(t, err)
	f.eventually("the end of the run", f.closed)
	if r := f.only(); r.State != rotation.Aborted || !moved(r, rotation.FunctionLate) {
		t.Fatalf("the run ended as %s (%s): %+v", r.State, r.Reason, r.History)
	}
	if _, pass, v := f.read("db"); pass != old || v != first {
		t.Error("the current version changed")
	}
	f.abandoned("db", second)
	if f.alerts(rotation.FunctionLate) != 1 {
		t.Error("nobody was told")
	}
	// The next try of the function is taken.
	_, err = f.store("third")
	must(t, err)
	f.update("third")
	f.eventually("the end of the second run", f.closed)
	if _, pass, _ := f.read("db"); pass != "third" {
		t.Error("the second try did not become current")
	}
}

// A function that is late but did its work is followed: nothing else works.
func TestFunctionThatIsLateIsFollowed(t *testing.T) {
	f := newFunctions(t, rotator.Single, func(p *rotation.Policy) { p.Function.Within = d(50 * time.Millisecond) })
	_, err := f.store("second")
	must(t, err)
	time.Sleep(60 * time.Millisecond)
	f.target.down = true
	f.start(f.engine)
	time.Sleep(10 * time.Millisecond)
	f.update("second")
	f.target.mu.Lock()
	f.target.down = false
	f.target.mu.Unlock()
	f.eventually("the end of the run", f.closed)
	if _, pass, _ := f.read("db"); pass != "second" {
		t.Error("the only password that works is not the current one")
	}
}

// A run that is due asks the function by the event that it knows, and takes what it stores; a function that stores nothing ends it.
func TestRunAsksTheFunction(t *testing.T) {
	f := newFunctions(t, rotator.Single, func(p *rotation.Policy) { p.Function.Within = d(time.Second) })
	_, _, first := f.read("db")
	f.start(f.engine)
	run := f.rotate("db")
	f.eventually("the question", f.state(rotation.Asked))
	if got := f.emitted("Microsoft.KeyVault.SecretNearExpiry"); len(got) != 1 || got[0].Subject != "db" || !strings.Contains(string(got[0].Data), string(first)) {
		t.Fatalf("the function was told %+v", got)
	}
	_, err := f.store("second")
	must(t, err)
	f.update("second")
	f.eventually("the end of the run", f.closed)
	if r := f.only(); r.ID != run.ID || r.State != rotation.Done {
		t.Fatalf("the run %s ended as %s", r.ID, r.State)
	}
	f.rotate("db")
	f.eventually("the end of the run that nobody answers", f.closed)
	if r := f.runs(store.RunQuery{Kind: store.RotationRun})[0]; r.State != rotation.Aborted || r.Reason != rotation.FunctionSilent {
		t.Errorf("the run ended as %s (%s)", r.State, r.Reason)
	}
	if f.alerts(rotation.FunctionSilent) != 1 {
		t.Error("nobody was told")
	}
}

// Nobody else's write waits, and a second one of the function must not reach the target while the first is watched.
func TestOnlyTheFunctionsWritesWait(t *testing.T) {
	f := newFunctions(t, rotator.Single, nil)
	_, err := f.store("second")
	must(t, err)
	if _, err := f.store("third"); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second version got %v", err)
	}
	_, err = f.secrets.Set(f.Ctx, f.Call(f.function), "other", secret.Input{Value: []byte("x"), Enabled: true})
	must(t, err)
	f.start(f.engine)
	f.eventually("the watch", f.state(rotation.Testing))
	// Somebody repairs by hand: that write wins.
	_, err = f.secrets.Set(f.Ctx, f.Call(f.caller), "db", secret.Input{Value: []byte(`{"username":"app_a","password":"by hand"}`), Enabled: true})
	must(t, err)
	f.update("by hand")
	f.eventually("the end of the run", func() bool { return f.only().State == rotation.Superseded })
	if _, pass, _ := f.read("db"); pass != "by hand" {
		t.Errorf("readers get %q", pass)
	}
	_, err = f.secrets.Set(f.Ctx, f.Call(f.function), "db", secret.Input{Value: []byte(`{"username":"app_a","password":"off"}`)})
	if !fault.Is(err, fault.Invalid) {
		t.Errorf("a disabled version got %v", err)
	}
}

func TestCandidateOfAFunction(t *testing.T) {
	f := newFunctions(t, rotator.Single, func(p *rotation.Policy) { p.AcceptGap, p.Candidate = false, true })
	second, err := f.store("second")
	must(t, err)
	must(t, f.Store.View(f.Ctx, func(tx store.Tx) error {
		o, err := tx.Object(f.Ctx, f.Vault.ID, vault.Secret, "db")
		if err == nil && o.LabelOf(rotation.Candidate) != second {
			t.Error("the pending version is no candidate")
		}
		return err
	}))
}

func TestFunctionMistakes(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		strategy rotator.Strategy
		change   func(*rotation.Policy)
		want     string
	}{
		{rotator.Alternating, func(*rotation.Policy) {}, "strategy"},
		{rotator.Dual, func(*rotation.Policy) {}, "admin"},
		{rotator.Single, func(p *rotation.Policy) { p.Function.Principal = " " }, "function"},
		{rotator.Single, func(p *rotation.Policy) { p.Validity = d(time.Hour) }, "validity"},
		{rotator.Single, func(p *rotation.Policy) { p.Value = &rotator.ValueRules{Length: 20, Alphabet: "abcdefghijkl"} }, "value"},
		{rotator.Single, func(p *rotation.Policy) { p.Approval = true }, "approval"},
		{rotator.Single, func(*rotation.Policy) {}, "principal"},
	} {
		p := policyFor(c.strategy)
		p.Function = &rotation.Function{Principal: vault.NewGUID()}
		c.change(&p)
		_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), "db", secret.Input{Value: []byte(`{"username":"app_a","password":"one"}`), Enabled: true})
		must(t, err)
		if err := w.service(w.engine).SetPolicy(w.Ctx, w.Call(w.caller), "db", &p); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v", c.strategy, c.want, err)
		}
	}
}

// Wherever the process dies, the next one follows the function to the end, and nobody reads a value that does not work.
func TestFunctionCrashMatrix(t *testing.T) {
	visited := []rotation.State{rotation.Queued, rotation.Preflight, rotation.Asked, rotation.Testing, rotation.Done}
	reached := sync.Map{}
	t.Run("points", func(t *testing.T) {
		// Most of each case is waiting for a lease to end.
		const sideBySide = 24
		var cases sync.WaitGroup
		room := make(chan struct{}, sideBySide)
		for _, s := range []rotator.Strategy{rotator.Single, rotator.Dual} {
			for _, point := range rotation.Points(store.RotationRun) {
				if !slices.ContainsFunc(visited, func(s rotation.State) bool { return strings.HasSuffix(string(point), " "+string(s)) }) {
					continue
				}
				room <- struct{}{}
				cases.Go(func() {
					defer func() { <-room }()
					t.Run(string(s)+"/"+strings.ReplaceAll(string(point), " ", "-"), func(t *testing.T) {
						if followAfterCrash(t, s, point) {
							reached.Store(point, true)
						}
					})
				})
			}
		}
		cases.Wait()
	})
	for _, s := range visited {
		if _, ok := reached.Load(rotation.Point("after commit of " + string(s))); !ok {
			t.Errorf("no process died after the commit of %s", s)
		}
	}
}

// followAfterCrash lets the worker die at a point, whatever the function has done by then, and reports whether it did.
func followAfterCrash(t *testing.T, s rotator.Strategy, point rotation.Point) (died bool) {
	f := newFunctions(t, s, nil)
	_, old, _ := f.read("db")
	dying := f.newEngine(func(p rotation.Point) error {
		if p == point {
			died = true
			return errDied
		}
		return nil
	})
	run, err := f.service(dying).Run(f.Ctx, f.Call(f.caller), "db", rotation.Start{Cause: rotation.OnDemand})
	must(t, err)
	// On a busy machine a lease may end while a step is under way, and Drive with it.
	drive := func(until rotation.State) {
		for end := time.Now().Add(20 * time.Second); !died && !f.state(until)() && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			must(t, dying.Drive(f.Ctx, run.ID))
		}
	}
	drive(rotation.Asked)
	second, err := f.store("second")
	must(t, err)
	f.update("second", old)
	if s == rotator.Single {
		f.update("second")
	}
	drive(rotation.Done)
	f.start(f.engine)
	f.eventually("the end of the run", f.state(rotation.Done))
	if _, pass, v := f.read("db"); f.only().State != rotation.Done || pass != "second" || v != second {
		t.Errorf("the run ended as %s, and readers get %q", f.only().State, pass)
	}
	return died
}

func moved(r *rotation.Run, why rotation.Reason) bool {
	for _, m := range r.History {
		if m.Reason == why {
			return true
		}
	}
	return false
}

func (f *functions) abandoned(name string, v vault.VersionID) {
	f.T.Helper()
	must(f.T, f.Store.View(f.Ctx, func(tx store.Tx) error {
		o, err := tx.Object(f.Ctx, f.Vault.ID, vault.Secret, name)
		if err != nil {
			return err
		}
		ver, err := tx.Version(f.Ctx, o.ID, v)
		if err == nil && (ver.State != vault.Abandoned || o.LabelOf(vault.Pending) != "") {
			f.T.Errorf("version %s is %q, and pending is %q", v, ver.State, o.LabelOf(vault.Pending))
		}
		return err
	}))
}

// emitted lists the events of a type in the journal.
func (f *functions) emitted(what string) (list []store.Event) {
	f.T.Helper()
	must(f.T, f.Store.View(f.Ctx, func(tx store.Tx) error {
		list = nil
		commits, err := tx.Commits(f.Ctx, 0, 10000)
		for _, c := range commits {
			for _, e := range c.Events {
				if e.Type == what {
					list = append(list, e)
				}
			}
		}
		return err
	}))
	return list
}

func (f *functions) alerts(why rotation.Reason) (n int) {
	for _, e := range f.emitted(string(rotation.RunAlert)) {
		if strings.Contains(string(e.Data), string(why)) {
			n++
		}
	}
	return n
}
