package rotation_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// world is an installation with secrets whose credentials are those of a fake target.
type world struct {
	*guardtest.World
	secrets *secret.Service
	target  *target
	fake    *fake
	ledger  *nobody
	caller  *guard.Caller
	log     *syncBuffer
	engine  *rotation.Engine
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// quick is a pace at which a test does not wait.
var quick = rotation.Pace{Base: d(time.Millisecond), Cap: d(5 * time.Millisecond), Tries: 8, Attempt: d(time.Minute), Call: d(300 * time.Millisecond),
	Probe: d(time.Millisecond), Settle: d(time.Millisecond), Look: d(5 * time.Millisecond)}

var quickLeases = rotation.Leasing{TTL: 600 * time.Millisecond, Renew: 150 * time.Millisecond, Slack: 10 * time.Millisecond, Margin: 50 * time.Millisecond}

func d(t time.Duration) rotation.Duration { return rotation.Duration(t) }

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, guardtest.Options{Clock: clock.System{}})
}

func newWorldWith(t *testing.T, o guardtest.Options) *world {
	t.Helper()
	w := &world{World: guardtest.New(t, o), target: newTarget("app_a", "app_b"), ledger: &nobody{}, log: &syncBuffer{}}
	var err error
	w.secrets, err = secret.New(secret.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock,
		Pends: func(ctx context.Context, tx store.Tx, call *guard.Call, o *vault.Object, ver *vault.Version) ([]vault.Label, error) {
			return w.engine.Pends(ctx, tx, call, o, ver)
		},
		Dated: func(ctx context.Context, tx store.Tx, o *vault.Object, ver *vault.Version) error {
			return w.engine.Redate(ctx, tx, o, ver)
		}})
	must(t, err)
	w.Watch(w.secrets.Changed)
	w.fake = &fake{target: w.target, strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating}}
	w.caller = w.Caller(authz.VaultAdministrator)
	w.engine = w.newEngine(nil)
	return w
}

func (w *world) newEngine(fail func(rotation.Point) error) *rotation.Engine {
	w.T.Helper()
	e, err := rotation.New(rotation.Config{Store: w.Store, Guard: w.Guard, Secrets: w.secrets, Rotators: []rotator.Rotator{w.fake}, Evidence: w.ledger,
		Clock: w.Clock, Logger: slog.New(slog.NewTextHandler(w.log, nil)), Node: vault.NewGUID(), Pace: quick, Leasing: quickLeases, Poll: 5 * time.Millisecond, Failpoint: fail})
	must(w.T, err)
	return e
}

// database makes a secret with a credential that the target accepts, and a policy for it.
func (w *world) database(name string, p rotation.Policy) {
	w.T.Helper()
	w.target.give("app_a", "first-password-of-"+name)
	w.put(name, "app_a", "first-password-of-"+name, p)
}

// put makes a secret with a credential and a policy.
func (w *world) put(name, account, pass string, p rotation.Policy) {
	w.T.Helper()
	value := fmt.Sprintf(`{"host":"db.test","username":%q,"password":%q}`, account, pass)
	_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), name, secret.Input{Value: []byte(value), Enabled: true})
	must(w.T, err)
	must(w.T, w.service(w.engine).SetPolicy(w.Ctx, w.Call(w.caller), name, &p))
}

func (w *world) service(e *rotation.Engine) *rotation.Service { return rotation.NewService(e) }

func (w *world) read(name string) (user, pass string, v vault.VersionID) {
	w.T.Helper()
	item, value, err := w.secrets.Get(w.Ctx, w.Call(w.caller), secret.Selector{Name: name}, nil)
	must(w.T, err)
	user, pass, err = password(value)
	must(w.T, err)
	return user, pass, item.Version.ID
}

func (w *world) run(id store.RunID) *rotation.Run {
	w.T.Helper()
	var r *rotation.Run
	must(w.T, w.Store.View(w.Ctx, func(tx store.Tx) error {
		s, err := tx.Run(w.Ctx, id)
		if err != nil {
			return err
		}
		r, err = rotation.ReadRun(s)
		return err
	}))
	return r
}

func (w *world) runs(q store.RunQuery) (list []*rotation.Run) {
	w.T.Helper()
	must(w.T, w.Store.View(w.Ctx, func(tx store.Tx) error {
		list = nil
		found, err := tx.Runs(w.Ctx, q)
		for _, s := range found {
			r, err := rotation.ReadRun(s)
			if err != nil {
				return err
			}
			list = append(list, r)
		}
		return err
	}))
	return list
}

// start runs the engine until the test ends.
func (w *world) start(e *rotation.Engine) {
	e.Start(w.Ctx)
	w.T.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		e.Stop(ctx)
	})
}

// eventually waits for a condition.
func (w *world) eventually(what string, ok func() bool) {
	w.T.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if ok() {
			return
		}
	}
	var states []string
	for _, r := range w.runs(store.RunQuery{}) {
		doc, _ := json.Marshal(r.LastError)
		states = append(states, fmt.Sprintf("%s %s %s %s stuck=%s next=%s matrix=%v %s", r.ID, r.Kind, r.State, r.Reason, r.Stuck, r.NextAt.Format(time.TimeOnly), r.Matrix, doc))
	}
	w.T.Fatalf("%s did not happen: %v\n%s", what, states, w.log.String())
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
