package rotatortest

import (
	"testing"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// preflight: a run that can succeed is let through, nothing changes, and every account has a name of its own.
func (s *suite) preflight(t *testing.T, strategy rotator.Strategy) {
	f := s.fixture(t)
	p := f.path(strategy)
	before := p.snapshot(p.accounts...)
	report, err := f.preflight(f.ctx(), f.target, p.plan())
	f.must(err, "a run that can succeed")
	if report.System == "" {
		t.Error("the report does not name the system")
	}
	seen := map[string]bool{}
	for _, a := range p.accounts {
		id := report.Identities[a]
		if id == "" || seen[id] {
			t.Errorf("the identity of %q is %q: it is empty, or another account has it", a, id)
		}
		seen[id] = true
	}
	p.isUntouched("after Preflight")
	if after := p.snapshot(p.accounts...); after != before {
		t.Errorf("Preflight changed an account: %s, now %s", before, after)
	}

	// The way to the target says nothing about the account: through other addresses it is the same one.
	other := s.fixture(t)
	again, err := other.preflight(other.ctx(), other.target, p.plan())
	other.must(err, "a second Preflight")
	for _, a := range p.accounts {
		if again.Identities[a] != report.Identities[a] {
			t.Errorf("the identity of %q is %q, and %q through another address", a, report.Identities[a], again.Identities[a])
		}
	}
	first := p.plan()
	first.Current = nil
	_, err = f.preflight(f.ctx(), f.target, first)
	f.must(err, "the first rotation of an account whose value is unknown")
	f.disconnected()
}

// preflightRefuses: what would stop a run is found before it begins, and told apart.
func (s *suite) preflightRefuses(t *testing.T, strategy rotator.Strategy) {
	try := func(t *testing.T, f *fixture, plan rotator.Plan, want ...rotator.Class) {
		t.Helper()
		report, err := f.preflight(f.ctx(), f.target, plan)
		f.class(err, "Preflight", want...)
		if err != nil && report != nil {
			t.Error("a failed Preflight returned a report")
		}
		f.heal()
		f.disconnected()
	}
	t.Run("a wrong administrator", func(t *testing.T) {
		f := s.fixture(t)
		s.skip(t, f.target.Admin.IsZero(), "administrator")
		f.target.Admin.Value = f.value()
		try(t, f, f.path(strategy).plan(), rotator.Denied)
	})
	t.Run("an administrator without the right", func(t *testing.T) {
		s.skip(t, s.Powerless == nil, "administrator without rights")
		f := s.fixture(t)
		f.target.Admin = s.Powerless(t)
		try(t, f, f.path(strategy).plan(), rotator.Denied)
	})
	t.Run("an absent account", func(t *testing.T) {
		f := s.fixture(t)
		plan := f.path(strategy).plan()
		plan.Next.KeyID = ""
		plan.Accounts = append([]string{s.Absent}, plan.Accounts[1:]...)
		plan.Current, plan.Next.Account = nil, s.Absent
		try(t, f, plan, rotator.Misconfigured)
	})
	t.Run("a present credential that does not work", func(t *testing.T) {
		f := s.fixture(t)
		plan := f.path(strategy).plan()
		wrong := f.fresh(*plan.Current)
		plan.Current = &wrong
		try(t, f, plan, rotator.Misconfigured)
	})
	t.Run("a strategy that the target does not have", func(t *testing.T) {
		f := s.fixture(t)
		plan := f.path(strategy).plan()
		plan.Strategy = "no-such-strategy"
		try(t, f, plan, rotator.Misconfigured)
	})
	t.Run("a wrong number of accounts", func(t *testing.T) {
		f := s.fixture(t)
		plan := f.path(strategy).plan()
		plan.Accounts = nil
		try(t, f, plan, rotator.Misconfigured)
	})
	t.Run("an endpoint that is down", func(t *testing.T) {
		s.skip(t, len(s.Endpoints) == 0, "endpoints")
		for i := range s.Endpoints {
			f := s.fixture(t)
			plan := f.path(strategy).plan()
			f.proxies[i].Down()
			try(t, f, plan, rotator.NotApplied)
		}
	})
	t.Run("an unequal pair", func(t *testing.T) {
		s.skip(t, s.Unequal == nil || strategy != rotator.Alternating, "pair that can be made unequal")
		f := s.fixture(t)
		p := f.path(strategy)
		s.Unequal(t, p.accounts)
		try(t, f, p.plan(), rotator.Misconfigured)
	})
}

// probing: a probe says what the target says, and proves who it became.
func (s *suite) probing(t *testing.T) {
	identity := func(f *fixture, c rotator.Credential) string {
		f.t.Helper()
		report, err := f.preflight(f.ctx(), f.target, rotator.Plan{Strategy: s.plain(), Accounts: s.accounts(f, c), Current: &c, Next: c})
		f.must(err, "Preflight")
		return report.Identities[c.Account]
	}
	t.Run("the right value", func(t *testing.T) {
		f := s.fixture(t)
		c := s.Make(t, 1)[0]
		logins, err := f.probe(f.ctx(), f.target, c)
		f.must(err, "probing")
		if len(logins) != max(1, len(s.Endpoints)) {
			t.Errorf("%d logins at %d endpoints", len(logins), len(s.Endpoints))
		}
		id := identity(f, c)
		for i, l := range logins {
			if l.Verdict != rotator.Accepted || l.Identity != id {
				t.Errorf("the login is %v as %q, want accepted as %q: %s", l.Verdict, l.Identity, id, l.Detail)
			}
			if i < len(f.proxies) && l.Endpoint != f.proxies[i].Address() {
				t.Errorf("login %d is at %q, want %q", i, l.Endpoint, f.proxies[i].Address())
			}
		}
		f.disconnected()
	})
	t.Run("a wrong value", func(t *testing.T) {
		f := s.fixture(t)
		f.verdict(f.fresh(s.Make(t, 1)[0]), rotator.Rejected, "a wrong value")
		f.disconnected()
	})
	t.Run("no value", func(t *testing.T) {
		// An empty password is an anonymous login in some protocols.
		f := s.fixture(t)
		c := s.Make(t, 1)[0]
		c.Value = redact.Bytes{}
		if logins, err := f.probe(f.ctx(), f.target, c); err == nil && logins.Verdict() == rotator.Accepted {
			t.Error("a login without a value was accepted")
		}
	})
	t.Run("an absent account", func(t *testing.T) {
		f := s.fixture(t)
		if logins, err := f.probe(f.ctx(), f.target, rotator.Credential{Account: s.Absent, Value: f.value()}); err == nil && logins.Verdict() == rotator.Accepted {
			t.Error("the login of an absent account was accepted")
		}
	})
	t.Run("a target that is down", func(t *testing.T) {
		s.skip(t, len(s.Endpoints) == 0, "endpoints")
		for i := range s.Endpoints {
			f := s.fixture(t)
			c := s.Make(t, 1)[0]
			f.proxies[i].Down()
			for what, c := range map[string]rotator.Credential{"the right value": c, "a wrong value": f.fresh(c)} {
				logins, err := f.probe(f.ctx(), f.target, c)
				if err != nil {
					continue // it could not try
				}
				if len(logins) != len(s.Endpoints) || logins[i].Verdict != rotator.Unknown || logins[i].Detail == "" {
					t.Errorf("%s at an endpoint that is down: %+v, want unknown with a detail", what, logins)
				}
			}
		}
	})
	t.Run("an account that is locked out", func(t *testing.T) {
		s.skip(t, s.LockOut == nil, "way to lock an account out")
		f := s.fixture(t)
		c := s.Make(t, 1)[0]
		undo := s.LockOut(t, c.Account)
		defer undo()
		f.verdict(c, rotator.Unknown, "an account that is locked out")
	})
	t.Run("an account that is shadowed", func(t *testing.T) {
		s.skip(t, s.Shadow == nil, "way to shadow an account")
		f := s.fixture(t)
		c := s.Make(t, 1)[0]
		undo := s.Shadow(t, c)
		defer undo()
		f.verdict(c, rotator.Unknown, "a login that becomes somebody else")
	})
	for _, kind := range []Kind{LoseReply, CutRequest} {
		t.Run(kind.String(), func(t *testing.T) {
			s.skip(t, len(s.Endpoints) == 0, "endpoints")
			f := s.fixture(t)
			right := s.Make(t, 1)[0]
			wrong := f.fresh(right)
			s.everyRequest(t, kind, func(t *testing.T, f *fixture, fault *Fault) (again bool) {
				for c, never := range map[*rotator.Credential]rotator.Verdict{&right: rotator.Rejected, &wrong: rotator.Accepted} {
					if logins, err := f.probe(f.ctx(), f.target, *c); err == nil && logins.Verdict() == never {
						t.Errorf("with a %v the probe says %v", kind, never)
					}
				}
				return fault.WasHit()
			})
		})
	}
}

// plain is a strategy for a plan that only asks for an identity.
func (s *suite) plain() rotator.Strategy { return s.Strategies[0] }

// accounts are those of a plan by the plain strategy that has this account.
func (s *suite) accounts(f *fixture, c rotator.Credential) []string {
	if s.plain() == rotator.Alternating {
		return []string{c.Account, s.Make(f.t, 1)[0].Account}
	}
	return []string{c.Account}
}
