package rotatortest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

const (
	// maxRequests bounds the search for the last request of a verb.
	maxRequests = 120
	// holdTime is the deadline that a verb gets which will not meet it; lateness is how much later it may come back on a busy machine.
	holdTime = 1500 * time.Millisecond
	lateness = time.Second
)

// everyRequest calls try with a fault at the first request, at the second, and so on, at each endpoint in turn, until try says that the
// fault was not met any more.
func (s *suite) everyRequest(t *testing.T, kind Kind, try func(t *testing.T, f *fixture, fault *Fault) (again bool)) {
	t.Helper()
	for e := range s.Endpoints {
		for n := 1; ; n++ {
			if n > maxRequests {
				t.Fatalf("the verb has more than %d requests", maxRequests)
			}
			again := true
			t.Run(fmt.Sprintf("endpoint %d request %d", e+1, n), func(t *testing.T) {
				f := s.fixture(t)
				again = try(t, f, f.proxies[e].Fail(kind, n))
				f.heal()
				f.disconnected()
			})
			if !again || t.Failed() {
				break
			}
		}
	}
}

func (s *suite) lostReplies(t *testing.T, strategy rotator.Strategy) { s.hurt(t, strategy, LoseReply) }
func (s *suite) cutRequests(t *testing.T, strategy rotator.Strategy) {
	s.hurt(t, strategy, CutRequest)
}

// hurt: whatever request of Set or Revoke breaks, the error never claims more than is true, the probe tells the truth, and the same call
// again ends well.
func (s *suite) hurt(t *testing.T, strategy rotator.Strategy, kind Kind) {
	s.skip(t, len(s.Endpoints) == 0, "endpoints")
	t.Run("Set", func(t *testing.T) { s.hurtSet(t, strategy, kind) })
	if strategy != rotator.Single { // there, Set has revoked already
		t.Run("Revoke", func(t *testing.T) { s.hurtRevoke(t, strategy, kind) })
	}
}

// passes is how often lost replies are tried until one of them left an effect behind. What a server says unasked, such as the tickets of a TLS session, passes
// for the reply to what was asked meanwhile on a busy machine: the connection is cut then before the request has an effect.
const passes = 5

// untilDoubt tries, once for a fault that leaves nothing behind, else until one was met that did. It reports whether one was.
func untilDoubt(t *testing.T, kind Kind, try func() (doubts int)) bool {
	for range passes {
		if try() > 0 || kind != LoseReply || t.Failed() {
			return true
		}
	}
	return false
}

func (s *suite) hurtSet(t *testing.T, strategy rotator.Strategy, kind Kind) {
	if !untilDoubt(t, kind, func() int { return s.hurtSets(t, strategy, kind) }) {
		t.Error("no lost reply left the new credential behind: the proxies do not reach the deciding request")
	}
}

func (s *suite) hurtSets(t *testing.T, strategy rotator.Strategy, kind Kind) (doubts int) {
	s.everyRequest(t, kind, func(t *testing.T, f *fixture, fault *Fault) bool {
		p := f.path(strategy)
		err := p.set()
		hit := fault.WasHit()
		f.heal()
		var partial bool
		applied := f.acceptsSomewhere(p.next, &partial)
		doubts += f.honest(err, hit, applied, partial)
		if p.overlaps() {
			f.want(p.old, true, "after the loss: the old credential")
		} else if !partial {
			f.want(p.old, !applied, "after the loss: the old credential")
		}
		if !partial {
			f.verdict(p.next, verdictOf(applied), "after the loss: the new credential")
		}
		f.must(p.set(), "Set again")
		p.isSet("set again after the loss")
		return hit
	})
	return doubts
}

func (s *suite) hurtRevoke(t *testing.T, strategy rotator.Strategy, kind Kind) {
	if !untilDoubt(t, kind, func() int { return s.hurtRevokes(t, strategy, kind) }) {
		t.Error("no lost reply left the old credential revoked: the proxies do not reach the deciding request")
	}
}

func (s *suite) hurtRevokes(t *testing.T, strategy rotator.Strategy, kind Kind) (doubts int) {
	s.everyRequest(t, kind, func(t *testing.T, f *fixture, fault *Fault) bool {
		proxy := fault.proxy
		proxy.Heal() // the fault is for Revoke
		p := f.path(strategy)
		f.must(p.set(), "Set")
		f.disconnected() // a farewell that is still on its way would count as a request
		fault = proxy.Fail(kind, fault.request)
		err := p.revoke()
		hit := fault.WasHit()
		f.heal()
		var partial bool
		remains := f.acceptsSomewhere(p.old, &partial)
		doubts += f.honest(err, hit, !remains, partial)
		if !partial {
			f.verdict(p.old, verdictOf(remains), "after the loss: the old credential")
		}
		f.want(p.next, true, "after the loss: the new credential")
		f.must(p.revoke(), "Revoke again")
		p.isRevoked("revoked again after the loss")
		return hit
	})
	return doubts
}

// acceptsSomewhere asks each endpoint; partial says that they do not agree, as they may after a loss on the way from one to the next.
func (f *fixture) acceptsSomewhere(c rotator.Credential, partial *bool) bool {
	f.t.Helper()
	yes := 0
	for _, e := range f.s.Endpoints {
		ok, err := f.s.Login(f.ctx(), e, c)
		if err != nil {
			f.t.Fatalf("logging in at %s without the rotator: %v", e, err)
		}
		if ok {
			yes++
		}
	}
	*partial = yes > 0 && yes < len(f.s.Endpoints)
	return yes > 0
}

// honest checks an answer against the truth. It returns 1 for an effect that the answer did not promise.
func (f *fixture) honest(err error, hit, applied, partial bool) (doubt int) {
	f.t.Helper()
	switch class := rotator.ClassOf(err); {
	case err == nil && (!applied || partial):
		f.t.Error("the verb claims success and the target does not have it everywhere")
	case err == nil:
	case !hit:
		f.t.Errorf("the verb failed though nothing was broken: %v", err)
	case (applied || partial) && class != rotator.Doubt:
		f.t.Errorf("the target has the change and the error has class %v, want doubt: %v", class, err)
	case class != rotator.Doubt && class != rotator.NotApplied && class != rotator.Busy:
		f.t.Errorf("a broken connection has class %v: nobody refused anything: %v", class, err)
	case applied:
		return 1
	}
	return 0
}

func verdictOf(accepted bool) rotator.Verdict {
	if accepted {
		return rotator.Accepted
	}
	return rotator.Rejected
}

// lateRequests: a verb comes back by its deadline though the target stalls, and what arrives at the target after the deadline has no effect.
func (s *suite) lateRequests(t *testing.T, strategy rotator.Strategy) {
	s.skip(t, len(s.Endpoints) == 0, "endpoints")
	// How many requests has a Set that nobody hurts?
	f := s.fixture(t)
	p := f.path(strategy)
	count := f.proxies[0].Fail(HoldRequest, maxRequests)
	f.must(p.set(), "Set")
	requests := f.proxies[0].seen(count)
	if requests == 0 {
		t.Fatal("Set made no request")
	}
	// All at once, each with an account and proxies of its own: they mostly wait.
	stalls := make([]*stall, requests)
	begin := time.Now()
	for i := range stalls {
		f := s.fixture(t)
		stalls[i] = &stall{fixture: f, path: f.path(strategy), fault: f.proxies[0].Fail(HoldRequest, i+1), returned: make(chan struct{})}
	}
	for _, one := range stalls {
		go one.set(t)
	}
	for _, one := range stalls {
		<-one.returned
	}
	time.Sleep(time.Until(begin.Add(holdTime + lateness)))
	for i, one := range stalls {
		t.Run(fmt.Sprintf("request %d", i+1), func(t *testing.T) { one.verify(t, s) })
	}
}

// stall is a Set one of whose requests is held until after its deadline.
type stall struct {
	*fixture
	path  *path
	fault *Fault
	// returned is closed when Set is back with err after took; it had to be freed when stuck.
	returned chan struct{}
	err      error
	took     time.Duration
	stuck    bool
}

func (l *stall) set(t *testing.T) {
	defer close(l.returned)
	ctx, cancel := context.WithTimeout(t.Context(), holdTime)
	defer cancel()
	done := make(chan struct{})
	begin := time.Now()
	go func() {
		defer close(done)
		l.err = l.watched.set(ctx, l.target, l.path.setting())
	}()
	select {
	case <-done:
	case <-time.After(holdTime + lateness):
		l.stuck = true
		l.fault.Release()
		<-done
	}
	l.took = time.Since(begin)
}

func (l *stall) verify(t *testing.T, s *suite) {
	f := l.fixture
	f.t, f.watched.t = t, t
	if l.stuck {
		t.Fatalf("Set came back %v after it began, and its deadline was %v", l.took, holdTime)
	}
	if !l.fault.WasHit() {
		return // a busy machine did not come that far
	}
	var partial, then bool
	applied := f.acceptsSomewhere(l.path.next, &partial)
	f.honest(l.err, true, applied, partial) // a success is true when it was the farewell that never arrived
	l.fault.Release()
	if _, ok := s.Exceptions[DeadlineAtTarget]; !ok {
		time.Sleep(lateness / 5)
		if f.acceptsSomewhere(l.path.next, &then) != applied || then != partial {
			t.Error("a request that arrived after the deadline took effect")
		}
	}
	f.heal()
	f.must(l.path.set(), "Set again")
	l.path.isSet("set again after a stall")
}

// down: a target that cannot be reached changes nothing and proves nothing.
func (s *suite) down(t *testing.T, strategy rotator.Strategy) {
	s.skip(t, len(s.Endpoints) == 0, "endpoints")
	f := s.fixture(t)
	p := f.path(strategy)
	for _, proxy := range f.proxies {
		proxy.Down()
	}
	f.class(p.set(), "Set", rotator.NotApplied)
	f.class(p.revoke(), "Revoke", rotator.NotApplied)
	if o, ok := s.Rotator.(rotator.Observer); ok {
		_, err := o.Sessions(f.ctx(), f.target, p.old.Account)
		if err == nil {
			t.Error("Sessions of a target that is down is a list, which is evidence, and no error")
		}
		f.cleanError("Sessions", err)
	}
	f.heal()
	p.isUntouched("after the target was down")
	f.must(p.set(), "Set when the target is up again")
	p.isSet("up again")
}
