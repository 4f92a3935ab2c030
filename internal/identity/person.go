package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Person is a user who proved itself just now. Only this package makes one.
type Person struct {
	tenant     vault.TenantID
	id         principal.ID
	name       string
	credential string
}

// Name is the sign-in name, for the page that answers.
func (p *Person) Name() string { return p.name }

// Caller is the person as records name it. It holds no groups: nothing is decided by it.
func (p *Person) Caller() *guard.Caller {
	return &guard.Caller{Principal: p.id, Tenant: p.tenant, Kind: principal.User, UPN: p.name, Credential: p.credential}
}

// PasswordSignIn is what a person types. All three are needed.
type PasswordSignIn struct {
	Tenant   vault.TenantID
	UPN      string
	Password redact.String
	// Code is six digits of a code generator.
	Code redact.String
	From
}

// SignInWithPassword proves a person by password and code. One answer covers every failure: nobody learns which users exist.
func (s *Service) SignInWithPassword(ctx context.Context, r PasswordSignIn) (*Person, error) {
	event := SignInEvent{Tenant: r.Tenant, Subject: fault.Clip(r.UPN), Flow: FlowPassword, Address: r.Address, Correlation: r.Correlation}
	pass, err := s.gate.enter(attempt{"user", string(r.Tenant) + "/" + strings.ToLower(r.UPN), r.Address})
	if err != nil {
		return nil, s.refuse(ctx, event, err)
	}
	person, err := s.provePerson(ctx, r)
	if err != nil {
		pass.failed(err)
		return nil, s.refuse(ctx, event, err)
	}
	pass.succeeded()
	return s.recordPerson(ctx, event, person)
}

// recordPerson records that a person proved itself, before anybody acts on it.
func (s *Service) recordPerson(ctx context.Context, event SignInEvent, p *Person) (*Person, error) {
	event.At, event.Principal, event.Credential = s.Clock.Now(), p.id, p.credential
	if err := s.Auditor.SignIn(ctx, event); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "The sign-in cannot be recorded now, so it does not count; try again.")
	}
	return p, nil
}

func wrongPassword() *fault.Error {
	return unauthenticated(WrongPassword, "The sign-in name, the password or the code is not right. Each code is good once; wait for the next.")
}

func (s *Service) provePerson(ctx context.Context, r PasswordSignIn) (*Person, error) {
	user := &principal.Principal{Tenant: r.Tenant} // stands in for one who does not exist, and has nothing
	err := s.Store.View(ctx, func(tx store.Tx) error {
		if err := enabledTenant(ctx, tx, r.Tenant); err != nil {
			return err
		}
		found, err := tx.PrincipalByUPN(ctx, r.Tenant, r.UPN)
		if err == nil {
			user = found
		}
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("looking up a user: %w", err)
	}
	known, err := s.passwordMatches(ctx, user.Password, r.Password)
	if err != nil {
		return nil, err
	}
	generator, step, err := s.totpMatch(ctx, user, r.Code, s.Clock.Now())
	if err != nil {
		return nil, err
	}
	if !known || generator == "" || user.Disabled || user.Kind != principal.User {
		return nil, wrongPassword()
	}
	if err := s.spendCode(ctx, user, generator, step); err != nil {
		return nil, err
	}
	return &Person{r.Tenant, user.ID, user.UPN, credentialName(credTOTP, generator)}, nil
}

// spendCode notes the time step of a code, so that it and older ones are good no more.
func (s *Service) spendCode(ctx context.Context, user *principal.Principal, generator string, step int64) error {
	return s.Apply(ctx, nil, s.alter(user.Tenant, user.ID, func(p *principal.Principal) error {
		i := slices.IndexFunc(p.TOTP, func(g principal.TOTP) bool { return g.ID == generator })
		if i < 0 || p.TOTP[i].LastStep >= step || p.Disabled || string(p.Password) != string(user.Password) {
			return wrongPassword()
		}
		p.TOTP[i].LastStep = step
		return nil
	}))
}
