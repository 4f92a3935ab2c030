package rotation_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotation/rotationtest"
	"github.com/keywright/keywright/internal/rotator"
)

// everyCrash has a process die at every point of every scenario, in the place of a sample for each strategy and every point under one of them.
const everyCrash = "KEYWRIGHT_ROTATION_CRASHES"

// Wherever the process dies, another worker finishes the run, under every strategy. Every point of the state machine is come by.
func TestCrashMatrix(t *testing.T) {
	var mu sync.Mutex
	var reached []rotation.Point
	claimed := make(map[rotation.Point]bool)
	o := rotationtest.Options{Sample: 8, Seed: rand.Uint64(), Claim: func(p rotation.Point) bool {
		mu.Lock()
		defer mu.Unlock()
		first := !claimed[p]
		claimed[p] = true
		return first
	}}
	switch {
	case os.Getenv(everyCrash) == "all":
		o = rotationtest.Options{Pairs: true}
	case testing.Short():
		o.Claim = nil
	}
	t.Logf("a sample of the crashes, with the seed %d", o.Seed)
	t.Run("strategies", func(t *testing.T) {
		for _, s := range []rotationtest.Subject{passwords(rotator.Single), passwords(rotator.Dual), passwords(rotator.Alternating), passwords(rotator.Manual),
			changeThemselves(rotator.Single), changeThemselves(rotator.Dual), madeKeys(true), madeKeys(false)} {
			t.Run(s.Name, func(t *testing.T) {
				t.Parallel()
				points := rotationtest.Run(t, s, o)
				mu.Lock()
				defer mu.Unlock()
				reached = append(reached, points...)
			})
		}
	})
	t.Logf("%d crashes", len(reached))
	if !testing.Short() {
		for _, p := range rotationtest.Unreached(reached...) {
			t.Errorf("no process died %s: add a scenario that comes by", p)
		}
	}
}

// crashLease is as short as a busy machine with the race detector bears.
const crashLease = 600 * time.Millisecond

// passwords are accounts of the fake target.
func passwords(s rotator.Strategy) rotationtest.Subject {
	tg := newTarget()
	f := &fake{target: tg, strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating}}
	n := 0
	return rotationtest.Subject{Name: string(s), Rotator: f, TTL: crashLease, SideBySide: 16,
		Make: func(testing.TB) (rotation.Policy, rotator.Credential) {
			p := policyFor(s)
			if s == rotator.Manual {
				p.Manual = &rotation.Manual{Assignee: "somebody"}
			}
			tg.mu.Lock()
			defer tg.mu.Unlock()
			n++
			for i, a := range p.Accounts {
				p.Accounts[i] = fmt.Sprintf("%s-%d", a, n)
				tg.accounts[p.Accounts[i]] = nil
			}
			first := rotator.Credential{Account: p.Accounts[0], Value: []byte(fmt.Sprintf("the-first-password-of-%d", n))}
			tg.accounts[first.Account] = []string{string(first.Value)}
			return p, first
		},
		Login: func(_ context.Context, c rotator.Credential) (bool, error) {
			return tg.accepts(c.Account, string(c.Value)), nil
		},
	}
}

// selves are accounts that change themselves: nobody else may, and only with what they accept.
type selves struct{ *fake }

func (s selves) self(t *rotator.Target, account string) error {
	if t.Admin.Account != account || !s.accepts(account, string(t.Admin.Value.Reveal())) {
		return rotator.Fail(rotator.Denied, nil, "%q cannot log in to change itself as %q", account, t.Admin.Account)
	}
	return nil
}

func (s selves) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	if err := s.self(t, p.Next.Account); err != nil {
		return nil, err
	}
	return s.fake.Preflight(ctx, t, p)
}

func (s selves) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	// One that did it already, without having heard of it, has nothing left to do.
	if err := s.self(t, c.Account); err != nil && !s.accepts(c.Account, string(c.Value.Reveal())) {
		return err
	}
	return s.fake.Set(ctx, t, c)
}

func (s selves) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	if err := s.self(t, c.Account); err != nil {
		return err
	}
	return s.fake.Revoke(ctx, t, c)
}

func changeThemselves(s rotator.Strategy) rotationtest.Subject {
	subject := passwords(s)
	subject.Name += "-by-itself"
	subject.Rotator = selves{subject.Rotator.(*fake)}
	return subject
}

// services are many of those that make their keys by themselves.
type services struct {
	mu    sync.Mutex
	named bool
	each  map[string]*keys
}

func (s *services) of(account string) *keys {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.each[account]
}

func (s *services) Describe() rotator.Description { return (&keys{}).Describe() }

func (s *services) Check(json.RawMessage) error { return nil }

func (s *services) Preflight(_ context.Context, _ *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	return &rotator.Report{Identities: map[string]string{p.Accounts[0]: "keys/" + p.Accounts[0]}}, nil
}

func (s *services) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	return s.of(c.Account).Set(ctx, t, c)
}

func (s *services) Create(ctx context.Context, t *rotator.Target, c rotator.Change) (rotator.Credential, error) {
	return s.of(c.Account).Create(ctx, t, c)
}

func (s *services) Slots(ctx context.Context, t *rotator.Target, account string) ([]rotator.Slot, error) {
	slots, err := s.of(account).Slots(ctx, t, account)
	for i := range slots {
		slots[i].Account = account
	}
	return slots, err
}

func (s *services) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	logins, err := s.of(c.Account).Probe(ctx, t, c)
	logins[0].Identity = "keys/" + c.Account
	return logins, err
}

func (s *services) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	return s.of(c.Account).Revoke(ctx, t, c)
}

func madeKeys(named bool) rotationtest.Subject {
	s := &services{named: named, each: make(map[string]*keys)}
	p := rotation.Policy{Strategy: rotator.NKeys, Rotator: "keys", Format: rotation.Format{Kind: rotation.Raw}}
	if named {
		p.Strategy, p.Slots = rotator.TwoKey, []string{"key1", "key2"}
	}
	sub := rotationtest.Subject{Name: string(p.Strategy), Rotator: s, TTL: crashLease, SideBySide: 16,
		Make: func(testing.TB) (rotation.Policy, rotator.Credential) {
			s.mu.Lock()
			defer s.mu.Unlock()
			account := fmt.Sprintf("svc-%d", len(s.each))
			k := &keys{named: named, slots: map[string]rotator.Slot{}}
			first := rotator.Credential{Account: account, KeyID: "id0", Value: []byte("the-first-key-of-" + account)}
			name := first.KeyID
			if named {
				first.KeyID, first.Slot, name = "", "key1", "key1"
				k.slots["key2"] = rotator.Slot{Credential: rotator.Credential{Account: account, Slot: "key2", Value: []byte("the-second-key-of-" + account)}}
			}
			kept := first
			kept.Value = slices.Clone(first.Value)
			k.slots[name] = rotator.Slot{Credential: kept}
			s.each[account] = k
			policy := p
			policy.Accounts = []string{account}
			return policy, first
		},
		Login: func(_ context.Context, c rotator.Credential) (bool, error) {
			return s.of(c.Account).accepts(string(c.Value)), nil
		},
	}
	if !named {
		sub.Orphans = func(account string) (int, error) {
			k := s.of(account)
			k.mu.Lock()
			defer k.mu.Unlock()
			return len(k.slots) - 1, nil
		}
	}
	return sub
}
