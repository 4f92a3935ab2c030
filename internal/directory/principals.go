package directory

import (
	"context"
	"errors"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
)

// Query selects principals. Without a kind it selects all but groups.
type Query struct {
	Kind       principal.Kind
	NamePrefix string
	After      principal.ID
	Limit      int
}

// Listing is a page of principals in the order of their ids. Next is empty at the end.
type Listing struct {
	Principals []*principal.Principal
	Next       principal.ID
}

// List lists principals, or groups when the query's kind says so.
func (s *Service) List(ctx context.Context, call *guard.Call, q Query) (l Listing, err error) {
	need := guard.Need{Action: actionsFor(q.Kind).read, Scope: tenantScope}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			l = Listing{}
			found, err := tx.Principals(ctx, store.PrincipalQuery{Tenant: call.Caller.Tenant, Kind: q.Kind, NamePrefix: q.NamePrefix, After: q.After, Limit: q.Limit})
			for _, p := range found {
				if q.Kind != "" || p.Kind != principal.GroupKind {
					l.Principals = append(l.Principals, p)
				}
			}
			if len(found) > 0 && len(found) == q.Limit {
				l.Next = found[len(found)-1].ID
			}
			return err
		})
	})
	return l, err
}

// Entry is a principal with the groups that it is directly in and, for a group, its direct members.
type Entry struct {
	*principal.Principal
	Groups, Members []*principal.Principal
}

// Show finds a principal.
func (s *Service) Show(ctx context.Context, call *guard.Call, ref Ref) (e Entry, err error) {
	p, need, err := s.target(ctx, call, ref, func(p *principal.Principal) authz.Action { return actionsFor(p.Kind).read })
	if err != nil {
		return e, err
	}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			e = Entry{}
			if e.Principal, err = tx.Principal(ctx, p.Tenant, p.ID); err != nil {
				return orMissing(err, string(ref))
			}
			ids, err := tx.GroupsOf(ctx, p.Tenant, p.ID)
			if err != nil {
				return err
			}
			if e.Groups, err = load(ctx, tx, p, ids); err != nil || p.Kind != principal.GroupKind {
				return err
			}
			if ids, err = tx.Members(ctx, p.Tenant, p.ID); err != nil {
				return err
			}
			e.Members, err = load(ctx, tx, p, ids)
			return err
		})
	})
	return e, err
}

func load(ctx context.Context, tx store.Tx, of *principal.Principal, ids []principal.ID) (list []*principal.Principal, err error) {
	for _, id := range ids {
		p, err := tx.Principal(ctx, of.Tenant, id)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
}

// Create makes a principal in the caller's tenant, whatever the spec says about it.
func (s *Service) Create(ctx context.Context, call *guard.Call, spec identity.Spec) (*principal.Principal, error) {
	need := guard.Need{Action: actionsFor(spec.Kind).write, Scope: tenantScope}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	spec.Tenant = call.Caller.Tenant
	p, put, err := s.Identity.PreparePrincipal(spec)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	need.Name = string(p.ID)
	return p, s.change(ctx, call, need, put)
}

// Change is what to change of a principal; a nil member stays as it is.
type Change struct {
	Name     *string
	Disabled *bool
}

// Update changes a principal. Disabling it refuses its tokens at once.
func (s *Service) Update(ctx context.Context, call *guard.Call, ref Ref, ch Change) (*principal.Principal, error) {
	p, need, err := s.target(ctx, call, ref, func(p *principal.Principal) authz.Action { return actionsFor(p.Kind).write })
	if err != nil {
		return nil, err
	}
	var steps []identity.Change
	if ch.Name != nil {
		rename, err := s.Identity.PrepareRename(p.Tenant, p.ID, *ch.Name)
		if err != nil {
			return nil, s.Guard.Refuse(ctx, call, need, err)
		}
		steps = append(steps, rename)
	}
	if ch.Disabled != nil {
		steps = append(steps, s.Identity.PrepareDisabled(p.Tenant, p.ID, *ch.Disabled))
	}
	if steps == nil {
		return nil, s.Guard.Refuse(ctx, call, need, fault.New(fault.Invalid, "the request changes nothing: give a new name, or say whether it is disabled"))
	}
	return s.changed(ctx, call, need, p.ID, func(ctx context.Context, tx store.Tx) error {
		for _, step := range steps {
			if err := step(ctx, tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// RevokeTokens refuses every token that the principal was issued before now.
func (s *Service) RevokeTokens(ctx context.Context, call *guard.Call, ref Ref) error {
	p, need, err := s.target(ctx, call, ref, func(*principal.Principal) authz.Action { return authz.PrincipalCredentials })
	if err != nil {
		return err
	}
	return s.change(ctx, call, need, s.Identity.PrepareRevokeTokens(p.Tenant, p.ID))
}

// Delete removes a principal with its credentials, memberships and grants.
func (s *Service) Delete(ctx context.Context, call *guard.Call, ref Ref) error {
	p, need, err := s.target(ctx, call, ref, func(p *principal.Principal) authz.Action { return actionsFor(p.Kind).remove })
	if err != nil {
		return err
	}
	return s.change(ctx, call, need, s.Identity.PrepareDelete(p.Tenant, p.ID))
}

// Member adds a principal to a group or removes it. A membership that puts duties into one hand which the tenant's rules keep apart
// is refused or told of, like a grant.
func (s *Service) Member(ctx context.Context, call *guard.Call, group, member Ref, add bool) error {
	g, need, err := s.target(ctx, call, group, func(*principal.Principal) authz.Action { return authz.GroupWrite })
	if err != nil {
		return err
	}
	m, err := s.resolve(ctx, call, member)
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	for range maxMemberTries {
		if err = s.member(ctx, call, need, g, m, add); !errors.Is(err, guard.ErrAgain) {
			return err
		}
	}
	return s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, "others change who has access in this tenant all the time: try again").Because(store.StaleRevision))
}

// maxMemberTries bounds how often a membership is judged while others change who has access.
const maxMemberTries = 5

func (s *Service) member(ctx context.Context, call *guard.Call, need guard.Need, g, m *principal.Principal, add bool) error {
	stands := func(context.Context, store.Tx, store.Op) error { return nil }
	if add && g.Kind == principal.GroupKind {
		var err error
		if stands, err = s.Duties.JudgeMember(ctx, g, m); err != nil {
			return s.Guard.Refuse(ctx, call, need, err)
		}
	}
	put, op := s.Identity.PrepareMember(g.Tenant, g.ID, m.ID, add), store.NewOp(s.Clock.Now())
	return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		if err := stands(ctx, tx, op); err != nil {
			return err
		}
		return put(ctx, tx)
	})
}
