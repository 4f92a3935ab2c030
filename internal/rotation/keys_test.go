package rotation_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/vault"
)

// keys is a service that makes its keys by itself: named slots whose values it shows, or keys with ids whose values it shows once.
type keys struct {
	mu    sync.Mutex
	slots map[string]rotator.Slot // by slot, or by key id
	next  int
	after func() error
	named bool
}

func (k *keys) Describe() rotator.Description {
	return rotator.Description{Name: "keys", Title: "Keys", Strategies: []rotator.Strategy{rotator.TwoKey, rotator.NKeys}, SelfService: true, Evidence: rotator.NoEvidence}
}

func (k *keys) Check(json.RawMessage) error { return nil }

func (k *keys) Preflight(context.Context, *rotator.Target, rotator.Plan) (*rotator.Report, error) {
	return &rotator.Report{Identities: map[string]string{"svc": "keys/svc"}}, nil
}

func (k *keys) Set(context.Context, *rotator.Target, rotator.Change) error {
	return errors.New("the service makes its keys by itself")
}

func (k *keys) Create(_ context.Context, _ *rotator.Target, c rotator.Change) (rotator.Credential, error) {
	k.mu.Lock()
	k.next++
	cred := rotator.Credential{Account: c.Account, Slot: c.Slot, Value: []byte(fmt.Sprintf("made-by-the-service-%d", k.next))}
	name := c.Slot
	if !k.named {
		cred.KeyID = fmt.Sprintf("id%d", k.next)
		name = cred.KeyID
	}
	kept := cred
	kept.Value = append([]byte(nil), cred.Value...)
	k.slots[name] = rotator.Slot{Credential: kept, Created: time.Unix(int64(k.next), 0)}
	after := k.after
	k.mu.Unlock()
	if after != nil {
		return cred, after()
	}
	return cred, nil
}

func (k *keys) Slots(context.Context, *rotator.Target, string) (list []rotator.Slot, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.slots {
		s.Value = append([]byte(nil), s.Value...)
		if !k.named {
			s.Value = nil
		}
		list = append(list, s)
	}
	return list, nil
}

func (k *keys) Probe(_ context.Context, _ *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	verdict := rotator.Rejected
	if k.accepts(string(c.Value)) {
		verdict = rotator.Accepted
	}
	return rotator.Logins{{Endpoint: "one", Verdict: verdict, Identity: "keys/svc"}}, nil
}

func (k *keys) accepts(value string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, s := range k.slots {
		if string(s.Value) == value {
			return true
		}
	}
	return false
}

func (k *keys) Revoke(_ context.Context, _ *rotator.Target, c rotator.Change) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.named {
		delete(k.slots, c.KeyID)
		return nil
	}
	k.next++
	s := k.slots[c.Slot]
	s.Value, s.Created = []byte(fmt.Sprintf("thrown-away-%d", k.next)), time.Unix(int64(k.next), 0)
	k.slots[c.Slot] = s
	return nil
}

// A service's own keys change too, also when the answer that holds a new one gets lost: no orphan stays, and no value is lost.
func TestKeysOfAService(t *testing.T) {
	for _, named := range []bool{true, false} {
		for _, lose := range []bool{false, true} {
			t.Run(fmt.Sprintf("named=%v/lost=%v", named, lose), func(t *testing.T) {
				w := newWorld(t)
				k := &keys{named: named, slots: map[string]rotator.Slot{}}
				p := rotation.Policy{Strategy: rotator.NKeys, Rotator: "keys", Accounts: []string{"svc"}, Format: rotation.Format{Kind: rotation.Raw}}
				first := rotator.Slot{Credential: rotator.Credential{Account: "svc", KeyID: "id0", Value: []byte("the-first-key-of-all")}}
				if named {
					p.Strategy, p.Slots = rotator.TwoKey, []string{"key1", "key2"}
					first.KeyID, first.Slot = "", "key1"
					k.slots["key2"] = rotator.Slot{Credential: rotator.Credential{Account: "svc", Slot: "key2", Value: []byte("the-second-key-of-all")}}
					k.slots["key1"] = first
				} else {
					k.slots["id0"] = first
				}
				var lost atomic.Int32
				if lose {
					k.after = func() error {
						if lost.Add(1) == 1 {
							return errors.New("the connection was reset")
						}
						return nil
					}
				}
				c := w.engine.Config
				c.Rotators, c.Node, c.Logger = []rotator.Rotator{k}, vault.NewGUID(), slog.New(slog.NewTextHandler(w.log, nil))
				e, err := rotation.New(c)
				must(t, err)
				w.engine = e
				_, err = w.secrets.Set(w.Ctx, w.Call(w.caller), "key", secret.Input{Value: []byte("the-first-key-of-all"), Enabled: true})
				must(t, err)
				must(t, w.service(e).SetPolicy(w.Ctx, w.Call(w.caller), "key", &p))
				w.start(e)
				previous := "the-first-key-of-all"
				for range 2 {
					run := w.rotate("key")
					w.eventually("the end of all runs", w.closed)
					if r := w.run(run.ID); r.State != rotation.Done {
						t.Fatalf("the run ended as %s (%s, %+v)", r.State, r.Reason, r.LastError)
					}
					_, value, err := w.secrets.Get(w.Ctx, w.Call(w.caller), secret.Selector{Name: "key"}, nil)
					must(t, err)
					if !k.accepts(string(value)) {
						t.Fatal("the current key does not log in")
					}
					if k.accepts(previous) {
						t.Error("the key before is still accepted")
					}
					previous = string(value)
				}
				if n := len(k.slots); !named && n != 1 {
					t.Errorf("the service has %d keys, want 1", n)
				}
				if lose && lost.Load() < 2 {
					t.Error("nothing was lost")
				}
			})
		}
	}
}

// A held run goes on when somebody else than who asked for it agrees.
func TestApproval(t *testing.T) {
	w := newWorld(t)
	p := policyFor(rotator.Alternating)
	p.Approval = true
	w.database("db", p)
	run := w.rotate("db")
	w.start(w.engine)
	w.eventually("that it waits for approval", func() bool { return w.run(run.ID).State == rotation.Approval })
	service := w.service(w.engine)
	if _, err := service.Order(w.Ctx, w.Call(w.caller), run.ID, rotation.Order{Kind: rotation.ApproveOrder}); err == nil {
		t.Error("who asked for the run could approve it")
	}
	approver := w.Caller("6b8d3f0e-5c1a-4f27-9d3e-a2f4c1b7e902")
	_, err := service.Order(w.Ctx, w.Call(approver), run.ID, rotation.Order{Kind: rotation.ApproveOrder})
	must(t, err)
	w.eventually("the end of all runs", w.closed)
	if r := w.run(run.ID); r.State != rotation.Done {
		t.Errorf("the run ended as %s", r.State)
	}
}

// An abort before the promotion leaves target and secret as they were.
func TestAbort(t *testing.T) {
	for _, s := range strategies {
		t.Run(string(s), func(t *testing.T) {
			w := newWorld(t)
			w.database("db", policyFor(s))
			user, pass, v := w.read("db")
			var run *rotation.Run
			var once atomic.Bool
			w.target.after = func(verb string) error {
				if verb == "set" && !once.Swap(true) {
					_, err := w.service(w.engine).Order(w.Ctx, w.Call(w.caller), run.ID, rotation.Order{Kind: rotation.AbortOrder, Note: "the wrong database"})
					return err
				}
				return nil
			}
			run = w.rotate("db")
			w.start(w.engine)
			w.eventually("the end of all runs", w.closed)
			if r := w.run(run.ID); r.State != rotation.Aborted {
				t.Errorf("the run ended as %s (%s)", r.State, r.Reason)
			}
			if _, _, after := w.read("db"); after != v || !w.target.accepts(user, pass) {
				t.Error("the credential before is not current, or does not log in")
			}
			w.target.mu.Lock()
			defer w.target.mu.Unlock()
			if n := len(w.target.accounts["app_a"]) + len(w.target.accounts["app_b"]); n != 1 {
				t.Errorf("the target accepts %d values, want 1", n)
			}
		})
	}
}

// After somebody changed the password at the target the run is stuck; told which version works, it makes that one current.
func TestDriftAndAdopt(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Single))
	_, pass, _ := w.read("db")
	_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), "db", secret.Input{Value: []byte(`{"username":"app_a","password":"one-that-never-worked"}`), Enabled: true})
	must(t, err)
	var lost atomic.Bool
	w.target.before = func(verb string) error {
		if verb == "set" && !lost.Swap(true) {
			w.target.give("app_a", "set-by-hand-at-the-target")
			return errors.New("the connection was reset")
		}
		return nil
	}
	run := w.rotate("db")
	w.start(w.engine)
	w.eventually("that it is stuck", func() bool { return w.run(run.ID).State == rotation.Stuck })
	if r := w.run(run.ID); r.Reason != rotation.Drift {
		t.Errorf("stuck because of %s", r.Reason)
	}
	w.target.give("app_a", pass) // the person puts the first one back
	first := w.run(run.ID).Previous
	_, err = w.service(w.engine).Order(w.Ctx, w.Call(w.caller), run.ID, rotation.Order{Kind: rotation.AdoptOrder, Version: first})
	must(t, err)
	w.eventually("the end of all runs", w.closed)
	if _, now, v := w.read("db"); now != pass || v != first {
		t.Errorf("current is %s, want the adopted %s", v, first)
	}
}
