package identity_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/identity/identitytest"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

// enrolment issues one for a principal.
func (w *world) enrolment(p *principal.Principal, life time.Duration) (code redact.String, id string) {
	w.t.Helper()
	code, id, put, err := w.svc.PrepareEnrolment(w.tenant, p.ID, life)
	w.must(err)
	w.apply(put)
	return code, id
}

// exchange exchanges an enrolment and applies what comes of it.
func (w *world) exchange(r identity.EnrolRequest) (*identity.Enrolled, error) {
	r.Tenant, r.From = w.tenant, w.from()
	e, put, err := w.svc.PrepareEnrol(w.ctx, r)
	if err != nil {
		return nil, err
	}
	return e, w.svc.Apply(w.ctx, nil, put)
}

func TestAnEnrolmentIsGoodOnce(t *testing.T) {
	w := newWorld(t)
	app := w.make(identity.Spec{Kind: principal.Service, Name: "deploy"})
	code, _ := w.enrolment(app, time.Hour)
	if strings.Contains(code.String(), "kwe-") || len(code.Reveal()) < 32 {
		t.Errorf("the enrolment prints as %s and has %d characters", code, len(code.Reveal()))
	}
	e, err := w.exchange(identity.EnrolRequest{Code: code, Kind: "secret"})
	w.must(err)
	if e.AppID != app.AppID || !strings.HasPrefix(e.ID, "secret/") || e.Caller.Principal != app.ID || strings.Contains(e.Caller.Credential, code.Reveal()) {
		t.Errorf("%+v", e)
	}
	if _, err := w.try(app.AppID, e.Secret); err != nil {
		t.Errorf("the secret does not sign in: %v", err)
	}
	if _, err := w.exchange(identity.EnrolRequest{Code: code, Kind: "secret"}); !fault.Is(err, fault.Unauthenticated) || fault.As(err).Reason != identity.WrongEnrolment {
		t.Errorf("a second time: %v", err)
	}
	if last := w.audit.last(); last.Flow != identity.FlowFirst || last.Reason != identity.WrongEnrolment || last.Principal != "" {
		t.Errorf("the refusal is recorded as %+v", last)
	}
}

// TestOnlyOneOfManyEnrols prepares many exchanges of one enrolment before the first of them is committed.
func TestOnlyOneOfManyEnrols(t *testing.T) {
	w := newWorld(t)
	w.roams = true
	app := w.make(identity.Spec{Kind: principal.Service, Name: "deploy"})
	code, _ := w.enrolment(app, time.Hour)
	var changes []identity.Change
	for range 8 {
		_, put, err := w.svc.PrepareEnrol(w.ctx, identity.EnrolRequest{Tenant: w.tenant, Code: code, Kind: "secret", From: w.from()})
		w.must(err)
		changes = append(changes, put)
	}
	var mu sync.Mutex
	won := 0
	var all sync.WaitGroup
	for _, put := range changes {
		all.Go(func() {
			if w.svc.Apply(w.ctx, nil, put) == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if won != 1 {
		t.Errorf("%d exchanges of one enrolment were made", won)
	}
}

func TestEnrolmentsAreRefused(t *testing.T) {
	person := func(w *world) *principal.Principal {
		return w.make(identity.Spec{Kind: principal.User, Name: "Ada", UPN: "ada@example.org"})
	}
	for name, c := range map[string]struct {
		with func(w *world, r *identity.EnrolRequest)
		kind fault.Kind
	}{
		"another code":     {func(_ *world, r *identity.EnrolRequest) { r.Code += "x" }, fault.Unauthenticated},
		"no code":          {func(_ *world, r *identity.EnrolRequest) { r.Code = "" }, fault.Unauthenticated},
		"over":             {func(w *world, _ *identity.EnrolRequest) { w.clock.Advance(time.Hour) }, fault.Unauthenticated},
		"a kind of others": {func(_ *world, r *identity.EnrolRequest) { r.Kind = "secret" }, fault.Invalid},
		"an unknown kind":  {func(_ *world, r *identity.EnrolRequest) { r.Kind = "passkey" }, fault.Invalid},
		"no password":      {func(_ *world, r *identity.EnrolRequest) { r.Password = "" }, fault.Invalid},
		"a short password": {func(_ *world, r *identity.EnrolRequest) { r.Password = "short" }, fault.Invalid},
		"a bad name":       {func(_ *world, r *identity.EnrolRequest) { r.Name = "a\nb" }, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := person(w)
			code, _ := w.enrolment(p, time.Hour)
			r := identity.EnrolRequest{Code: code, Kind: "totp", Password: "correct horse battery"}
			good := r
			c.with(w, &r)
			if _, err := w.exchange(r); !fault.Is(err, c.kind) {
				t.Errorf("%v, want %s", err, c.kind)
			}
			if name == "over" {
				return
			}
			if e, err := w.exchange(good); err != nil || !strings.HasPrefix(e.Secret.Reveal(), "otpauth://") {
				t.Errorf("a refusal used the enrolment up: %v", err)
			}
		})
	}
	w := newWorld(t)
	p := person(w)
	code, id := w.enrolment(p, time.Hour)
	r := identity.EnrolRequest{Code: code, Kind: "totp", Password: "correct horse battery"}
	foreign := r
	foreign.Tenant, foreign.From = vault.NewTenantID(), w.from()
	if _, _, err := w.svc.PrepareEnrol(w.ctx, foreign); err == nil {
		t.Error("another tenant's path takes it")
	}
	w.apply(w.svc.PrepareDisabled(w.tenant, p.ID, true))
	if _, err := w.exchange(r); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("of somebody who is disabled: %v", err)
	}
	w.apply(w.svc.PrepareDisabled(w.tenant, p.ID, false), w.svc.PrepareEndEnrolment(id), w.svc.PrepareEndEnrolment(id))
	if _, err := w.exchange(r); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("one that was ended: %v", err)
	}
	for _, life := range []time.Duration{0, -1, identity.MaxEnrolmentLife + 1} {
		if _, _, _, err := w.svc.PrepareEnrolment(w.tenant, p.ID, life); err == nil {
			t.Errorf("an enrolment of %s is issued", life)
		}
	}
}

// TestAPasskeyUsesTheEnrolmentUp registers a passkey by an enrolment, as the page does.
func TestAPasskeyUsesTheEnrolmentUp(t *testing.T) {
	w := newWorld(t)
	const origin = "https://login.test"
	p := w.make(identity.Spec{Kind: principal.User, Name: "Ada", UPN: "ada@example.org"})
	code, _ := w.enrolment(p, time.Hour)
	who, err := w.svc.ProveByEnrolment(w.ctx, w.tenant, code, w.from())
	w.must(err)
	first, err := w.svc.BeginPasskeyRegistration(w.ctx, who, origin)
	w.must(err)
	second, err := w.svc.BeginPasskeyRegistration(w.ctx, who, origin)
	w.must(err)
	register := func(c *identity.Ceremony) error {
		a := w.made(c, identitytest.NewAuthenticator(t, origin), "laptop")
		a.Origin = origin
		_, _, put, err := w.svc.PreparePasskey(w.ctx, a)
		if err != nil {
			return err
		}
		return w.svc.Apply(w.ctx, nil, put)
	}
	w.must(register(first))
	if err := register(second); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("a second passkey of one enrolment: %v", err)
	}
	if _, err := w.svc.ProveByEnrolment(w.ctx, w.tenant, code, w.from()); !fault.Is(err, fault.Unauthenticated) {
		t.Errorf("it proves somebody once more: %v", err)
	}
	app := w.make(identity.Spec{Kind: principal.Service, Name: "deploy"})
	code, _ = w.enrolment(app, time.Hour)
	if _, err := w.svc.ProveByEnrolment(w.ctx, w.tenant, code, w.from()); !fault.Is(err, fault.Invalid) {
		t.Errorf("an application registers a passkey: %v", err)
	}
}
