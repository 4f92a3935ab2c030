package rotatortest

import (
	"slices"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// dynamic: accounts that live as long as a lease are made and removed, whatever gets lost on the way.
func (s *suite) dynamic(t *testing.T) {
	p, ok := s.Rotator.(rotator.Provisioner)
	if !ok {
		t.Fatal("the subject asks for dynamic accounts and the rotator provisions none")
	}
	if s.Prefix == "" {
		t.Fatal("the subject gives no prefix for the names of dynamic accounts")
	}
	number := 0
	lease := func(f *fixture) rotator.Credential {
		number++
		// The attempt ids of an engine have only letters and digits, and so have the names that embed them.
		return rotator.Credential{Account: s.Prefix + string(rune('a'+number/26%26)) + string(rune('a'+number%26)), Value: f.value()}
	}
	provision := func(f *fixture, c rotator.Credential) error {
		err := p.Provision(f.ctx(), f.target, c, time.Now().Add(time.Hour))
		f.cleanError("Provision", err)
		return err
	}
	remove := func(f *fixture, account string) error {
		err := p.Remove(f.ctx(), f.target, account)
		f.cleanError("Remove", err)
		return err
	}
	listed := func(f *fixture, account string) bool {
		f.t.Helper()
		names, err := p.Provisioned(f.ctx(), f.target, s.Prefix)
		f.cleanError("Provisioned", err)
		f.must(err, "Provisioned")
		return slices.Contains(names, account)
	}
	t.Run("whole life, each verb twice", func(t *testing.T) {
		f := s.fixture(t)
		c := lease(f)
		for range 2 {
			f.must(provision(f, c), "Provision")
			f.want(c, true, "provisioned")
		}
		f.verdict(c, rotator.Accepted, "provisioned")
		if !listed(f, c.Account) {
			t.Error("Provisioned does not list the account")
		}
		for range 2 {
			f.must(remove(f, c.Account), "Remove")
			f.want(c, false, "removed")
		}
		if listed(f, c.Account) {
			t.Error("Provisioned lists an account that was removed")
		}
		f.disconnected()
	})
	t.Run("a session ends with its account", func(t *testing.T) {
		s.skip(t, s.Open == nil, "sessions")
		f := s.fixture(t)
		c := lease(f)
		f.must(provision(f, c), "Provision")
		session := s.Open(t, s.Endpoints[0], c)
		defer session.Close()
		f.must(remove(f, c.Account), "Remove")
		s.await(t, "the session ends", func() bool { return !session.Alive(f.ctx()) })
	})
	for _, kind := range []Kind{LoseReply, CutRequest} {
		t.Run(kind.String(), func(t *testing.T) {
			s.skip(t, len(s.Endpoints) == 0, "endpoints")
			s.everyRequest(t, kind, func(t *testing.T, f *fixture, fault *Fault) bool {
				c := lease(f)
				err := provision(f, c)
				hit := fault.WasHit()
				f.heal()
				var partial bool
				f.honest(err, hit, f.acceptsSomewhere(c, &partial), partial)
				f.must(provision(f, c), "Provision again")
				f.want(c, true, "provisioned again")
				f.must(remove(f, c.Account), "Remove")
				f.want(c, false, "removed")
				return hit
			})
			if kind == CutRequest {
				return // what Remove did not send is like what it did not get an answer to, later
			}
			s.everyRequest(t, kind, func(t *testing.T, f *fixture, fault *Fault) bool {
				proxy := fault.proxy
				proxy.Heal()
				c := lease(f)
				f.must(provision(f, c), "Provision")
				f.disconnected() // what a connection says at its end must not be counted
				fault = proxy.Fail(kind, fault.request)
				err := remove(f, c.Account)
				hit := fault.WasHit()
				f.heal()
				var partial bool
				if err == nil && f.acceptsSomewhere(c, &partial) {
					t.Error("Remove claims success and the account logs in")
				}
				f.must(remove(f, c.Account), "Remove again")
				f.want(c, false, "removed again")
				if listed(f, c.Account) {
					t.Error("Provisioned lists an account that was removed")
				}
				return hit
			})
		})
	}
}
