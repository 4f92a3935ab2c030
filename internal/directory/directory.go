package directory

import (
	"context"
	"errors"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Config makes a Service. Everything is required.
type Config struct {
	Guard    *guard.Guard
	Store    store.Store
	Identity *identity.Service
	Duties   Duties
	Clock    clock.Clock
}

// Duties judges, before a membership is stored, what the group puts into the member's hand. What it returns is asked in the transaction that stores it: an error refuses it because duties
// have to stay apart; a guard.ErrAgain asks to judge anew. The access service implements it.
type Duties interface {
	JudgeMember(ctx context.Context, group, member *principal.Principal) (func(context.Context, store.Tx, store.Op) error, error)
}

// Service manages principals. It is safe for concurrent use.
type Service struct{ Config }

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Identity == nil || c.Duties == nil || c.Clock == nil {
		return nil, errors.New("the directory needs a guard, a store, the identity service, a judge of duties and a clock")
	}
	return &Service{c}, nil
}

// Reasons of errors.
const (
	NotFound  fault.Reason = "PrincipalNotFound"
	Ambiguous fault.Reason = "PrincipalAmbiguous"
)

// tenantScope is where people are managed.
const tenantScope = "/"

// actions are what it takes to see, change and remove a principal: groups have actions of their own.
type actions struct{ read, write, remove authz.Action }

func actionsFor(k principal.Kind) actions {
	if k == principal.GroupKind {
		return actions{authz.GroupRead, authz.GroupWrite, authz.GroupDelete}
	}
	return actions{authz.PrincipalRead, authz.PrincipalWrite, authz.PrincipalDelete}
}

// Ref names a principal: by its object id, its client id, its sign-in name, or a display name that only one has.
type Ref string

// find looks a principal up. Display names are compared whole.
func find(ctx context.Context, tx store.Tx, t vault.TenantID, ref Ref) (*principal.Principal, error) {
	text := strings.TrimSpace(string(ref))
	id, err := vault.ParseGUID(text)
	if err == nil {
		p, err := tx.Principal(ctx, t, principal.ID(id))
		if fault.Is(err, fault.NotFound) {
			p, err = tx.PrincipalByAppID(ctx, t, id)
		}
		return p, orMissing(err, text)
	}
	if strings.Contains(text, "@") {
		p, err := tx.PrincipalByUPN(ctx, t, text)
		return p, orMissing(err, text)
	}
	if text == "" {
		return nil, missing(text)
	}
	named, err := tx.Principals(ctx, store.PrincipalQuery{Tenant: t, Name: text, Limit: 2})
	switch {
	case err != nil:
		return nil, err
	case len(named) == 0:
		return nil, missing(text)
	case len(named) > 1:
		return nil, fault.New(fault.Conflict, "more than one principal is named %q: give the object id of the one that you mean", fault.Clip(text)).Because(Ambiguous)
	}
	return named[0], nil
}

func orMissing(err error, text string) error {
	if fault.Is(err, fault.NotFound) {
		return missing(text)
	}
	return err
}

func missing(text string) error {
	return fault.New(fault.NotFound, "there is no principal %q: give an object id, a client id, a sign-in name or a whole display name", fault.Clip(text)).Because(NotFound)
}

// resolve finds a principal outside of a change, for a caller who may see it. Who may not gets the same answer for every name.
func (s *Service) resolve(ctx context.Context, call *guard.Call, ref Ref) (p *principal.Principal, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		p, err = find(ctx, tx, call.Caller.Tenant, ref)
		return err
	})
	return p, err
}

// target resolves a principal and authorises what shall be done with it. Who may do neither with users nor with groups is
// refused before it is looked up, so that a refusal does not tell which names there are.
func (s *Service) target(ctx context.Context, call *guard.Call, ref Ref, action func(*principal.Principal) authz.Action) (*principal.Principal, guard.Need, error) {
	need := guard.Need{Action: action(&principal.Principal{Kind: principal.Service}), Scope: tenantScope, Name: fault.Clip(string(ref))}
	if call.Caller == nil {
		return nil, need, fault.New(fault.Unauthenticated, "this needs an authenticated caller")
	}
	p, err := s.resolve(ctx, call, ref)
	if err == nil {
		need.Action, need.Name = action(p), string(p.ID)
	}
	if aerr := s.Guard.Authorize(ctx, call, &need); aerr != nil {
		return nil, need, aerr
	}
	if err != nil {
		return nil, need, s.Guard.Refuse(ctx, call, need, err)
	}
	return p, need, nil
}

// change makes one prepared change of a principal.
func (s *Service) change(ctx context.Context, call *guard.Call, need guard.Need, c identity.Change) error {
	return s.Guard.Commit(ctx, call, need, store.NewOp(s.Clock.Now()), func(tx store.Tx) error { return c(ctx, tx) })
}

// changed makes a change and returns the principal as it is then.
func (s *Service) changed(ctx context.Context, call *guard.Call, need guard.Need, id principal.ID, c identity.Change) (p *principal.Principal, err error) {
	err = s.change(ctx, call, need, func(ctx context.Context, tx store.Tx) error {
		if err := c(ctx, tx); err != nil {
			return err
		}
		p, err = tx.Principal(ctx, call.Caller.Tenant, id)
		return err
	})
	return p, err
}
