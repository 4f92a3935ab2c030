package rotatortest

import (
	"context"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// survive: sessions that are there when the credential changes go on.
func (s *suite) survive(t *testing.T, strategy rotator.Strategy) {
	s.skip(t, s.Open == nil, "sessions")
	s.except(t, SessionsSurvive)
	f := s.fixture(t)
	p := f.path(strategy)
	for _, c := range []rotator.Credential{p.old, p.idle} {
		if c.IsZero() {
			continue
		}
		for _, e := range s.Endpoints {
			session := s.Open(t, e, c)
			defer session.Close()
			defer func() {
				if !session.Alive(context.WithoutCancel(t.Context())) {
					t.Errorf("a session of %q at %s ended with the change", c.Account, e)
				}
			}()
		}
	}
	f.must(p.set(), "Set")
	p.isSet("with sessions")
}

// sessions: what the target shows is what there is, and Terminate ends it, and nobody else's.
func (s *suite) sessions(t *testing.T) {
	observer, observes := s.Rotator.(rotator.Observer)
	if !observes || s.Open == nil {
		t.Skip("the rotator or its system shows no sessions")
	}
	f := s.fixture(t)
	accounts := s.Make(t, 2)
	mine, other := accounts[0], accounts[1]
	list := func(c rotator.Credential) []rotator.Session {
		t.Helper()
		found, err := observer.Sessions(f.ctx(), f.target, c.Account)
		f.cleanError("Sessions", err)
		f.must(err, "Sessions")
		return found
	}
	if found := list(mine); len(found) != 0 {
		t.Errorf("sessions of a fresh account: %+v", found)
	}
	var held []Session
	for _, e := range s.Endpoints {
		held = append(held, s.Open(t, e, mine), s.Open(t, e, mine))
	}
	bystander := s.Open(t, s.Endpoints[0], other)
	defer bystander.Close()
	s.await(t, "all sessions show", func() bool { return len(list(mine)) == len(held) })
	ids := map[string]bool{}
	for _, one := range list(mine) {
		if one.Account != mine.Account || one.Endpoint == "" || one.ID == "" || ids[one.Endpoint+" "+one.ID] {
			t.Errorf("a session lacks what tells it apart: %+v", one)
		}
		ids[one.Endpoint+" "+one.ID] = true
		if !one.Since.IsZero() && (time.Since(one.Since) < -time.Minute || time.Since(one.Since) > time.Hour) {
			t.Errorf("a session that began now is said to be from %v", one.Since)
		}
	}
	held[0].Close()
	s.await(t, "a session that was closed is gone", func() bool { return len(list(mine)) == len(held)-1 })

	terminator, ok := s.Rotator.(rotator.Terminator)
	if !ok {
		for _, one := range held[1:] {
			one.Close()
		}
		return
	}
	n, err := terminator.Terminate(f.ctx(), f.target, mine.Account)
	f.cleanError("Terminate", err)
	f.must(err, "Terminate")
	if n != len(held)-1 {
		t.Errorf("Terminate ended %d sessions, want %d", n, len(held)-1)
	}
	for _, one := range held[1:] {
		s.await(t, "a session that was terminated ends", func() bool { return !one.Alive(f.ctx()) })
		one.Close()
	}
	s.await(t, "no session shows", func() bool { return len(list(mine)) == 0 })
	if !bystander.Alive(f.ctx()) {
		t.Error("Terminate ended a session of another account")
	}
	if n, err := terminator.Terminate(f.ctx(), f.target, mine.Account); err != nil || n != 0 {
		t.Errorf("a second Terminate: %d, %v", n, err)
	}
	f.want(mine, true, "after Terminate: the credential")
	f.disconnected()
}

func (s *suite) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 15 s", what)
		}
	}
}
