package directory

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
)

// Self is what people do to their own account. It takes no right but to have proved just now to be its owner.
type Self struct{ service *Service }

// NewSelf returns that part of a directory. It is a type of its own so that every method of Service asks for a right.
func NewSelf(s *Service) *Self { return &Self{s} }

// RegisterPasskey gives a person the passkey that the browser made in the ceremony which the person began. It is recorded like
// any change of credentials, with the person as the caller, and as a failure when the answer was wrong.
func (s *Self) RegisterPasskey(ctx context.Context, call guard.Call, a identity.PasskeyAnswer) (*identity.Person, *principal.Passkey, error) {
	who, k, put, err := s.service.Identity.PreparePasskey(ctx, a)
	if who == nil {
		return nil, nil, err // nobody was proved; identity recorded that
	}
	call.Caller = who.Caller()
	need := guard.Need{Action: authz.PrincipalCredentials, Scope: tenantScope, Name: string(call.Caller.Principal)}
	if err != nil {
		return nil, nil, s.service.Guard.Refuse(ctx, &call, need, err)
	}
	err = s.service.Guard.Commit(ctx, &call, need, store.NewOp(s.service.Clock.Now()), func(tx store.Tx) error { return put(ctx, tx) })
	if err != nil {
		return nil, nil, err
	}
	return who, k, nil
}

// Enrol exchanges an enrolment for the principal's first own credential, and is recorded in the same way.
func (s *Self) Enrol(ctx context.Context, call guard.Call, r identity.EnrolRequest) (*identity.Enrolled, error) {
	e, put, err := s.service.Identity.PrepareEnrol(ctx, r)
	if e == nil {
		return nil, err
	}
	call.Caller = e.Caller
	need := guard.Need{Action: authz.PrincipalCredentials, Scope: tenantScope, Name: string(call.Caller.Principal)}
	if err != nil {
		return nil, s.service.Guard.Refuse(ctx, &call, need, err)
	}
	err = s.service.Guard.Commit(ctx, &call, need, store.NewOp(s.service.Clock.Now()), func(tx store.Tx) error { return put(ctx, tx) })
	if err != nil {
		return nil, err
	}
	return e, nil
}
