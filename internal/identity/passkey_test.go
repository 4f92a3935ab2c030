package identity_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/identity/identitytest"
	"github.com/keywright/keywright/internal/principal"
)

const origin = "https://login.test:8443"

// enrol takes a person through the registration of a passkey and returns what was registered.
func (w *world) enrol(who *identity.Person, key *identitytest.Authenticator, name string) *principal.Passkey {
	w.t.Helper()
	c, err := w.svc.BeginPasskeyRegistration(w.ctx, who, origin)
	w.must(err)
	_, passkey, change, err := w.svc.PreparePasskey(w.ctx, w.made(c, key, name))
	w.must(err)
	w.apply(change)
	return passkey
}

func (w *world) made(c *identity.Ceremony, key *identitytest.Authenticator, name string) identity.PasskeyAnswer {
	w.t.Helper()
	return identity.PasskeyAnswer{Tenant: w.tenant, Origin: origin, Name: name, Ceremony: c.ID, Response: key.Create(c.Options), From: identity.From{Address: here}}
}

func TestPasskey(t *testing.T) {
	w := newWorld(t)
	user, code := w.user("ada@example.org")
	ada, err := w.person("ada@example.org", code())
	w.must(err)
	key := identitytest.NewAuthenticator(t, origin)
	passkey := w.enrol(ada, key, "laptop")

	begin := func() *identity.Ceremony {
		t.Helper()
		c, err := w.svc.BeginPasskey(w.ctx, w.tenant, origin, w.from())
		w.must(err)
		return c
	}
	finish := func(c *identity.Ceremony, answer []byte) (*identity.Person, error) {
		return w.svc.SignInWithPasskey(w.ctx, w.tenant, origin, c.ID, answer, identity.From{Address: here})
	}
	c := begin()
	answer := key.Get(c.Options)
	who, err := finish(c, answer)
	w.must(err)
	token := w.signInPerson(who)
	caller, err := w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
	w.must(err)
	if caller.Principal != user.ID || caller.Credential != "passkey/"+passkey.ID {
		t.Errorf("caller %+v", caller)
	}
	for name, try := range map[string]func() (*identity.Person, error){
		"the same answer again": func() (*identity.Person, error) { return finish(c, answer) },
		"another challenge":     func() (*identity.Person, error) { return finish(begin(), answer) },
		"another origin": func() (*identity.Person, error) {
			evil := *key
			evil.Origin = "https://login.evil.test"
			c := begin()
			return finish(c, evil.Get(c.Options))
		},
		"a person who was not verified": func() (*identity.Person, error) {
			bare := *key
			bare.Flags = identitytest.UserPresent
			c := begin()
			return finish(c, bare.Get(c.Options))
		},
		"an unknown key": func() (*identity.Person, error) {
			stranger := identitytest.NewAuthenticator(t, origin)
			stranger.Handle = key.Handle
			c := begin()
			return finish(c, stranger.Get(c.Options))
		},
		"a copy of the authenticator": func() (*identity.Person, error) {
			clone := *key
			clone.Counter = 0
			c := begin()
			return finish(c, clone.Get(c.Options))
		},
		"no answer": func() (*identity.Person, error) { return finish(begin(), nil) },
	} {
		w.clock.Advance(2 * time.Hour) // lets the gate forget
		if who, err := try(); who != nil || !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v, %v", name, who, err)
		}
	}
	w.clock.Advance(2 * time.Hour)
	c = begin()
	_, err = finish(c, key.Get(c.Options))
	w.must(err)
	w.apply(w.svc.PrepareRemoveCredential(w.tenant, user.ID, caller.Credential))
	c = begin()
	_, err = finish(c, key.Get(c.Options))
	reason(t, err, identity.WrongPassword)
}

func TestPasskeyNeedsAName(t *testing.T) {
	w := newWorld(t)
	for _, bad := range []string{"https://127.0.0.1:8443", "http://login.test", "https://[::1]", ""} {
		_, err := w.svc.BeginPasskey(w.ctx, w.tenant, bad, w.from())
		reason(t, err, identity.WrongRequest)
	}
}

// TestChallengeIsGoodOnce replays an answer of a passkey that does not count, so that only the challenge stands against it.
func TestChallengeIsGoodOnce(t *testing.T) {
	w := newWorld(t)
	_, code := w.user("ada@example.org")
	ada, err := w.person("ada@example.org", code())
	w.must(err)
	key := identitytest.NewAuthenticator(t, origin)
	key.Synced = true
	w.enrol(ada, key, "phone")
	c, err := w.svc.BeginPasskey(w.ctx, w.tenant, origin, w.from())
	w.must(err)
	answer := key.Get(c.Options)
	_, err = w.svc.SignInWithPasskey(w.ctx, w.tenant, origin, c.ID, answer, identity.From{})
	w.must(err)
	_, err = w.svc.SignInWithPasskey(w.ctx, w.tenant, origin, c.ID, answer, identity.From{})
	reason(t, err, identity.WrongPassword)
}

func TestRegistrationIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		// before is what happens between the proof and the answer.
		before func(*world, *principal.Principal, *identity.Person)
		answer func(*world, *identity.PasskeyAnswer, *identitytest.Authenticator)
		want   fault.Reason
		// late failures come with the change.
		late bool
	}{
		"an expired challenge":       {before: func(w *world, _ *principal.Principal, _ *identity.Person) { w.clock.Advance(5 * time.Minute) }, want: identity.WrongPassword},
		"another tenant's challenge": {answer: func(w *world, a *identity.PasskeyAnswer, _ *identitytest.Authenticator) { a.Tenant = "other" }, want: identity.WrongPassword},
		"no challenge":               {answer: func(w *world, a *identity.PasskeyAnswer, _ *identitytest.Authenticator) { a.Ceremony = "" }, want: identity.WrongPassword},
		"a challenge of a sign-in": {answer: func(w *world, a *identity.PasskeyAnswer, _ *identitytest.Authenticator) {
			c, err := w.svc.BeginPasskey(w.ctx, w.tenant, origin, w.from())
			w.must(err)
			a.Ceremony = c.ID
		}, want: identity.WrongPassword},
		"an answer to another challenge": {answer: func(w *world, a *identity.PasskeyAnswer, key *identitytest.Authenticator) {
			a.Response = key.Create(map[string]any{"publicKey": map[string]any{"challenge": "b3RoZXI", "rp": map[string]any{"id": "login.test"}}})
		}, want: identity.WrongRequest},
		"no answer":    {answer: func(w *world, a *identity.PasskeyAnswer, _ *identitytest.Authenticator) { a.Response = nil }, want: identity.WrongRequest},
		"a wrong name": {answer: func(w *world, a *identity.PasskeyAnswer, _ *identitytest.Authenticator) { a.Name = "a\x00b" }, want: identity.WrongRequest},
		"a page by its address": {answer: func(w *world, a *identity.PasskeyAnswer, _ *identitytest.Authenticator) {
			a.Origin = "https://127.0.0.1:8443"
		}, want: identity.WrongRequest},
		"a user who is disabled": {before: func(w *world, u *principal.Principal, _ *identity.Person) {
			w.apply(w.svc.PrepareDisabled(w.tenant, u.ID, true))
		}, want: identity.WrongGrant, late: true},
		"a credential that was removed": {before: func(w *world, u *principal.Principal, p *identity.Person) {
			w.apply(w.svc.PrepareRemoveCredential(w.tenant, u.ID, p.Caller().Credential))
		}, want: identity.WrongGrant, late: true},
		"a revocation": {before: func(w *world, u *principal.Principal, _ *identity.Person) {
			w.clock.Advance(time.Second)
			w.apply(w.svc.PrepareRevokeTokens(w.tenant, u.ID))
		}, want: identity.WrongGrant, late: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			user, code := w.user("ada@example.org")
			ada, err := w.person("ada@example.org", code())
			w.must(err)
			key := identitytest.NewAuthenticator(t, origin)
			c, err := w.svc.BeginPasskeyRegistration(w.ctx, ada, origin)
			w.must(err)
			answer := w.made(c, key, "laptop")
			if tt.before != nil {
				tt.before(w, user, ada)
			}
			if tt.answer != nil {
				tt.answer(w, &answer, key)
			}
			who, _, change, err := w.svc.PreparePasskey(w.ctx, answer)
			if tt.late {
				w.must(err)
				err = w.svc.Apply(w.ctx, nil, change)
			}
			reason(t, err, tt.want)
			if last := w.audit.last(); who == nil && (last.Flow != identity.FlowEnrolment || last.Reason != tt.want) {
				t.Errorf("recorded %+v", last)
			}
			if _, _, _, err := w.svc.PreparePasskey(w.ctx, answer); err == nil {
				t.Error("the challenge was good twice")
			}
		})
	}
}

func TestPasskeysAreBoundedAndDistinct(t *testing.T) {
	w := newWorld(t)
	_, code := w.user("ada@example.org")
	ada, err := w.person("ada@example.org", code())
	w.must(err)
	key := identitytest.NewAuthenticator(t, origin)
	first, err := w.svc.BeginPasskeyRegistration(w.ctx, ada, origin)
	w.must(err)
	w.enrol(ada, key, "")
	_, _, change, err := w.svc.PreparePasskey(w.ctx, w.made(first, key, "the same again"))
	w.must(err)
	if err := w.svc.Apply(w.ctx, nil, change); !fault.Is(err, fault.Conflict) {
		t.Errorf("the same passkey again: %v", err)
	}
	last, err := w.svc.BeginPasskeyRegistration(w.ctx, ada, origin)
	w.must(err)
	for range 48 { // with the code generator these are the 50 that one may have
		w.enrol(ada, identitytest.NewAuthenticator(t, origin), "more")
	}
	if _, err := w.svc.BeginPasskeyRegistration(w.ctx, ada, origin); !fault.Is(err, fault.Conflict) {
		t.Errorf("one too many: %v", err)
	}
	_, _, change, err = w.svc.PreparePasskey(w.ctx, w.made(last, identitytest.NewAuthenticator(t, origin), "begun before"))
	w.must(err)
	if err := w.svc.Apply(w.ctx, nil, change); !fault.Is(err, fault.Conflict) {
		t.Errorf("one too many that was begun before: %v", err)
	}
}
