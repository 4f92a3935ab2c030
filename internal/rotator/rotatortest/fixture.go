package rotatortest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// callTime is how long a verb may take where nothing holds it up.
const callTime = 30 * time.Second

// suite is one run over a subject.
type suite struct {
	Subject
	rules   rotator.ValueRules
	secrets *canaries
}

// fixture is what one case works with: proxies of its own and a target behind them.
type fixture struct {
	*watched
	t       *testing.T
	s       *suite
	proxies []*Proxy
	target  *rotator.Target
}

func (s *suite) fixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, s: s, watched: &watched{t: t, rotator: s.Rotator, secrets: s.secrets}}
	var addresses []string
	for _, e := range s.Endpoints {
		p := StartProxy(t, e)
		f.proxies = append(f.proxies, p)
		addresses = append(addresses, p.Address())
	}
	f.target = s.Target(t, addresses)
	return f
}

// value makes a value that must not turn up anywhere.
func (f *fixture) value() redact.Bytes {
	v := Value(f.s.rules)
	f.secrets.add(v)
	return v
}

// fresh is the account with a new value.
func (f *fixture) fresh(c rotator.Credential) rotator.Credential {
	c.Value = f.value()
	return c
}

func (f *fixture) ctx() context.Context { return within(f.t, callTime) }

// accepts asks every endpoint by itself. Endpoints that do not agree fail the test.
func (f *fixture) accepts(c rotator.Credential) bool {
	f.t.Helper()
	if f.s.Settle != nil {
		if err := f.s.Settle(f.ctx()); err != nil {
			f.t.Fatalf("waiting until the endpoints agree: %v", err)
		}
	}
	endpoints := f.s.Endpoints
	if len(endpoints) == 0 {
		endpoints = []string{""}
	}
	var answers []bool
	for _, e := range endpoints {
		ok, err := f.s.Login(f.ctx(), e, c)
		if err != nil {
			f.t.Fatalf("logging in at %s without the rotator: %v", e, err)
		}
		answers = append(answers, ok)
	}
	if slices.Contains(answers, !answers[0]) {
		f.t.Errorf("the endpoints do not agree: %v", answers)
	}
	return answers[0]
}

// want fails the test unless the target's own answer is this one.
func (f *fixture) want(c rotator.Credential, accepted bool, what string) {
	f.t.Helper()
	if got := f.accepts(c); got != accepted {
		f.t.Errorf("%s: accepted is %v, want %v", what, got, accepted)
	}
}

// must fails the test at once when a verb failed.
func (f *fixture) must(err error, what string) {
	f.t.Helper()
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
}

// class fails the test unless the error has one of the classes.
func (f *fixture) class(err error, what string, want ...rotator.Class) {
	f.t.Helper()
	if err == nil {
		f.t.Errorf("%s succeeded, want an error of class %v", what, want)
	} else if got := rotator.ClassOf(err); !slices.Contains(want, got) {
		f.t.Errorf("%s: class %v, want %v: %v", what, got, want, err)
	}
}

// verdict fails the test unless the rotator's probe says so.
func (f *fixture) verdict(c rotator.Credential, want rotator.Verdict, what string) {
	f.t.Helper()
	logins, err := f.probe(f.ctx(), f.target, c)
	if err != nil {
		f.t.Errorf("%s: probing: %v", what, err)
	} else if got := logins.Verdict(); got != want {
		f.t.Errorf("%s: the probe says %v, want %v: %+v", what, got, want, logins)
	}
}

// disconnected fails the test when the rotator left a connection behind.
func (f *fixture) disconnected() {
	f.t.Helper()
	for _, p := range f.proxies {
		for deadline := time.Now().Add(5 * time.Second); p.Open() > 0; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				f.t.Errorf("%d connections are still open after the verbs have returned", p.Open())
				break
			}
		}
	}
}

func (f *fixture) heal() {
	f.t.Helper()
	for _, p := range f.proxies {
		p.Heal()
		if err := p.Up(); err != nil {
			f.t.Fatalf("bringing the proxy up: %v", err)
		}
	}
}

// skip says loudly that a case cannot run.
func (s *suite) skip(t *testing.T, missing bool, what string) {
	t.Helper()
	if missing {
		t.Skip("SKIPPED, NOT PASSED: the subject has no " + what)
	}
}

// except skips a case whose promise the system makes impossible.
func (s *suite) except(t *testing.T, p Promise) {
	t.Helper()
	if why, ok := s.Exceptions[p]; ok {
		t.Skipf("EXCEPTION: %q is not kept: %s", p, why)
	}
}
