package rotatortest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// turns is how many rotations of one object a whole path has: each account of a pair comes round again.
const turns = 4

// wholePath: rotations one after the other end as they should, and touch nothing but the credential.
func (s *suite) wholePath(t *testing.T, strategy rotator.Strategy) {
	f := s.fixture(t)
	p := f.path(strategy)
	before := p.snapshot(p.next.Account)
	for i := range turns {
		when := fmt.Sprintf("turn %d", i+1)
		_, err := f.preflight(f.ctx(), f.target, p.plan())
		f.must(err, when+": Preflight")
		f.must(p.set(), when+": Set")
		p.isSet(when + ", set")
		f.verdict(p.next, rotator.Accepted, when+", set")
		f.must(p.revoke(), when+": Revoke")
		p.isRevoked(when + ", revoked")
		f.verdict(p.next, rotator.Accepted, when+", revoked")
		f.verdict(p.old, rotator.Rejected, when+", revoked: the old credential")
		if after := p.snapshot(p.next.Account); p.next.Account == p.accounts[len(p.accounts)-1] && after != before {
			t.Errorf("%s: rights or attributes changed: %s, now %s", when, before, after)
		}
		p = p.turn()
	}
	f.disconnected()
}

// twice: each verb with the same arguments again ends in the same state, and revoking what is gone succeeds.
func (s *suite) twice(t *testing.T, strategy rotator.Strategy) {
	f := s.fixture(t)
	p := f.path(strategy)
	for range 3 {
		f.must(p.set(), "Set")
		p.isSet("set again and again")
	}
	for range 3 {
		f.must(p.revoke(), "Revoke")
		p.isRevoked("revoked again and again")
	}
	// A value that the account never had.
	never := p.revoking()
	never.Credential = f.fresh(never.Credential)
	f.must(f.revoke(f.ctx(), f.target, never), "Revoke of a value that the account never had")
	f.want(p.next, true, "a value that the account never had was revoked: the new credential")
	f.disconnected()
}

// crash: the verbs up to any place, then all of them again, as an engine does that lost its memory of them.
func (s *suite) crash(t *testing.T, strategy rotator.Strategy) {
	f := s.fixture(t)
	for cut := 1; cut <= 4; cut++ {
		p := f.path(strategy)
		verbs := []func() error{
			func() error {
				plan := p.plan()
				plan.Current = nil // a run that is repeated may find the old value gone
				_, err := f.preflight(f.ctx(), f.target, plan)
				return err
			},
			p.set,
			func() error { _, err := f.probe(f.ctx(), f.target, p.next); return err },
			p.revoke,
		}
		for i, verb := range append(verbs[:cut:cut], verbs...) {
			if err := verb(); err != nil {
				t.Fatalf("stopped after %d verbs, then repeated: call %d: %v", cut, i+1, err)
			}
			if at := i - cut; at == 1 || at == 2 {
				f.want(p.next, true, "repeated: the new credential")
			}
		}
		p.isRevoked(fmt.Sprintf("stopped after %d verbs, then repeated", cut))
	}
	f.disconnected()
}

// refusals: what the target or its administrator refuses is told apart, and leaves the old credential as it was.
func (s *suite) refusals(t *testing.T, strategy rotator.Strategy) {
	t.Run("a wrong administrator", func(t *testing.T) {
		f := s.fixture(t)
		s.skip(t, f.target.Admin.IsZero(), "administrator")
		p := f.path(strategy)
		f.target.Admin.Value = f.value()
		f.class(p.set(), "Set", rotator.Denied)
		f.class(p.revoke(), "Revoke", rotator.Denied)
		p.isUntouched("refused")
		f.disconnected()
	})
	t.Run("an administrator without the right", func(t *testing.T) {
		s.skip(t, s.Powerless == nil, "administrator without rights")
		f := s.fixture(t)
		p := f.path(strategy)
		f.target.Admin = s.Powerless(t)
		f.class(p.set(), "Set", rotator.Denied)
		f.class(p.revoke(), "Revoke", rotator.Denied)
		p.isUntouched("refused")
		f.disconnected()
	})
	t.Run("an absent account", func(t *testing.T) {
		s.except(t, AbsentIsMisconfigured)
		f := s.fixture(t)
		c := rotator.Credential{Account: s.Absent, Value: f.value()}
		f.class(f.set(f.ctx(), f.target, rotator.Change{Credential: c}), "Set", rotator.Misconfigured)
		f.must(f.revoke(f.ctx(), f.target, rotator.Change{Credential: c}), "Revoke of an account that is gone")
		f.disconnected()
	})
	t.Run("a value that the policy refuses", func(t *testing.T) {
		s.skip(t, s.RefusedValue == nil, "policy")
		f := s.fixture(t)
		p := f.path(strategy)
		p.next.Value = s.RefusedValue(t)
		f.class(p.set(), "Set", rotator.Refused)
		f.want(p.old, true, "refused: the old credential")
		f.disconnected()
	})
}

// concurrent: of two changes of one account at once, the target ends with exactly one, everywhere.
func (s *suite) concurrent(t *testing.T, strategy rotator.Strategy) {
	s.except(t, NoInterleaving)
	for round := range 5 {
		f := s.fixture(t)
		p := f.path(strategy)
		rivals := []*path{p, {f: f, strategy: p.strategy, accounts: p.accounts, old: p.old, next: f.fresh(p.next), idle: p.idle}}
		for i, proxy := range f.proxies {
			proxy.Delay(time.Duration(1+(round+i)%3) * time.Millisecond)
		}
		errs := make([]error, len(rivals))
		var both sync.WaitGroup
		for i, rival := range rivals {
			both.Go(func() { errs[i] = rival.set() })
		}
		both.Wait()
		f.heal()
		done := 0
		for i, err := range errs {
			if err == nil {
				done++
			} else if class := rotator.ClassOf(err); class != rotator.Busy && class != rotator.NotApplied {
				t.Errorf("rival %d: class %v, want success, busy or not applied: %v", i, class, err)
			}
		}
		if done == 0 {
			t.Errorf("none of two changes at once succeeded: %v", errs)
		}
		accepted := 0
		for _, rival := range rivals {
			if f.accepts(rival.next) {
				accepted++
			}
		}
		if accepted != 1 {
			t.Errorf("after two changes at once, %d of the two values are accepted, want 1", accepted)
		}
		f.want(p.old, p.overlaps(), "after two changes at once: the old credential")
		f.disconnected()
	}
}

// cancelled: a call whose context is over does nothing.
func (s *suite) cancelled(t *testing.T, strategy rotator.Strategy) {
	f := s.fixture(t)
	p := f.path(strategy)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	begin := time.Now()
	if err := f.set(ctx, f.target, p.setting()); err == nil {
		t.Error("Set succeeded though its context was over")
	}
	if err := f.revoke(ctx, f.target, p.revoking()); err == nil {
		t.Error("Revoke succeeded though its context was over")
	}
	if _, err := f.preflight(ctx, f.target, p.plan()); err == nil {
		t.Error("Preflight succeeded though its context was over")
	}
	if logins, err := f.probe(ctx, f.target, p.old); err == nil && logins.Verdict() != rotator.Unknown {
		t.Errorf("Probe proved %v though its context was over", logins.Verdict())
	}
	if took := time.Since(begin); took > lateness {
		t.Errorf("calls whose context was over took %v", took)
	}
	p.isUntouched("cancelled")
}
