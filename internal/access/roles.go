package access

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// findRole finds a built-in or custom role by its id.
func findRole(ctx context.Context, tx store.Tx, t vault.TenantID, id string) (*principal.Role, error) {
	if r, ok := authz.BuiltinRole(id); ok {
		return r, nil
	}
	r, err := tx.Role(ctx, t, authz.RoleID(id))
	if fault.Is(err, fault.NotFound) {
		return nil, roleMissing(id)
	}
	return r, err
}

func roleMissing(id string) error {
	return fault.New(fault.NotFound, "the role definition '%s' does not exist: list the role definitions to see those that do", fault.Clip(id)).
		Because(RoleDefinitionMissing)
}

// Roles lists the built-in roles and the custom roles that can be assigned at the scope, by name.
func (s *Service) Roles(ctx context.Context, call *guard.Call, scope string) (list []*principal.Role, err error) {
	at, err := authz.ParseScope(scope)
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.RoleDefinitionRead, Scope: at.String()}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			list = nil
			custom, err := tx.Roles(ctx, call.Caller.Tenant)
			for _, r := range append(authz.BuiltinRoles(), custom...) {
				if authz.CheckAssignable(r, at) == nil {
					list = append(list, r)
				}
			}
			slices.SortStableFunc(list, func(a, b *principal.Role) int { return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) })
			return err
		})
	})
	return list, err
}

// Role finds one role definition.
func (s *Service) Role(ctx context.Context, call *guard.Call, scope, id string) (r *principal.Role, err error) {
	at, err := authz.ParseScope(scope)
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.RoleDefinitionRead, Scope: at.String()}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			if r, err = findRole(ctx, tx, call.Caller.Tenant, id); err != nil {
				return err
			}
			if authz.CheckAssignable(r, at) != nil {
				return roleMissing(id)
			}
			return nil
		})
	})
	return r, err
}

// PutRole makes a custom role or changes it. The caller must be allowed to write roles at every scope at which the role can be
// assigned, before and after the change: whoever changes it changes access at all of them.
func (s *Service) PutRole(ctx context.Context, call *guard.Call, scope string, r principal.Role) (done *principal.Role, created bool, err error) {
	need, err := s.mayWriteRoles(ctx, call, authz.RoleDefinitionWrite, append([]string{scope}, r.AssignableScopes...))
	if err != nil {
		return nil, false, err
	}
	id, err := vault.ParseGUID(r.ID)
	if err != nil {
		return nil, false, s.Guard.Refuse(ctx, call, need, err)
	}
	r.ID, r.Tenant, r.BuiltIn = id, call.Caller.Tenant, false
	if err := authz.CheckRole(&r); err != nil {
		return nil, false, s.Guard.Refuse(ctx, call, need, err)
	}
	old, err := s.custom(ctx, call, id)
	if err != nil {
		return nil, false, err
	}
	if old != nil {
		if _, err := s.mayWriteRoles(ctx, call, authz.RoleDefinitionWrite, old.AssignableScopes); err != nil {
			return nil, false, err
		}
	}
	err = s.again(ctx, call, need, func() error {
		d, err := s.ahead(ctx, r.Tenant, authz.TenantScope(), func(ctx context.Context, j *judgement) ([]Finding, error) {
			if old == nil {
				return nil, nil // nobody holds it
			}
			return judgeRole(ctx, j, &r)
		})
		if err != nil {
			return s.Guard.Refuse(ctx, call, need, err)
		}
		op := store.NewOp(s.Clock.Now())
		return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
			fresh := r
			done = &fresh
			created, err = s.putRole(ctx, tx, old, done, d, op)
			return err
		})
	})
	return done, created, err
}

// putRole stores r over the role that the caller was allowed to change.
func (s *Service) putRole(ctx context.Context, tx store.Tx, seen, r *principal.Role, d *judged, op store.Op) (created bool, err error) {
	all, err := tx.Roles(ctx, r.Tenant)
	if err != nil {
		return false, err
	}
	var old *principal.Role
	for _, other := range append(all, authz.BuiltinRoles()...) {
		switch {
		case other.ID == r.ID:
			old = other
		case strings.EqualFold(other.Name, r.Name):
			return false, fault.New(fault.Conflict, "there is another role with the name %q, %s: choose another name", other.Name, other.ID).Because(RoleDefinitionNameTaken)
		}
	}
	if err := sameReach(seen, old); err != nil {
		return false, err
	}
	r.Created, r.Updated = op.At, op.At
	if old != nil {
		r.Created = old.Created
	}
	if old == nil {
		return true, tx.PutRole(ctx, r)
	}
	found, err := d.stands(ctx, tx)
	if err != nil {
		return false, err
	}
	if err := tx.PutRole(ctx, r); err != nil {
		return false, err
	}
	return false, flag(tx, r.Tenant, r.ID, found, op)
}

// sameReach refuses a change of a role that has other scopes now, or exists only before or after: the caller was asked about those that were seen.
func sameReach(seen, now *principal.Role) error {
	if seen == nil && now == nil || seen != nil && now != nil && slices.Equal(seen.AssignableScopes, now.AssignableScopes) {
		return nil
	}
	return fault.New(fault.Conflict, "the role was changed meanwhile: look at it, and try again").Because(store.StaleRevision)
}

// mayWriteRoles authorises an action at all of the scopes; the need is the one at the first.
func (s *Service) mayWriteRoles(ctx context.Context, call *guard.Call, a authz.Action, scopes []string) (guard.Need, error) {
	var first guard.Need
	for i, scope := range scopes {
		at, err := authz.ParseScope(scope)
		if err != nil {
			return first, err
		}
		need := guard.Need{Action: a, Scope: at.String()}
		if err := s.Guard.Authorize(ctx, call, &need); err != nil {
			return first, err
		}
		if i == 0 {
			first = need
		}
	}
	return first, nil
}

// custom finds a custom role; nil when there is none.
func (s *Service) custom(ctx context.Context, call *guard.Call, id string) (r *principal.Role, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		r, err = tx.Role(ctx, call.Caller.Tenant, id)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return r, err
}

// DeleteRole removes a custom role that nobody holds. One that is not there is nil without an error.
func (s *Service) DeleteRole(ctx context.Context, call *guard.Call, scope, id string) (*principal.Role, error) {
	need, err := s.mayWriteRoles(ctx, call, authz.RoleDefinitionDelete, []string{scope})
	if err != nil {
		return nil, err
	}
	if _, builtin := authz.BuiltinRole(id); builtin {
		return nil, s.Guard.Refuse(ctx, call, need, fault.New(fault.Forbidden, "the role %s is built in and cannot be removed", fault.Clip(id)))
	}
	old, err := s.custom(ctx, call, authz.RoleID(id))
	if err != nil || old == nil {
		return nil, err
	}
	if _, err := s.mayWriteRoles(ctx, call, authz.RoleDefinitionDelete, old.AssignableScopes); err != nil {
		return nil, err
	}
	return old, s.again(ctx, call, need, func() error {
		d, err := s.ahead(ctx, old.Tenant, authz.TenantScope(), func(ctx context.Context, j *judgement) ([]Finding, error) {
			held, all, err := holdersOf(ctx, j.tx, old)
			j.work += all
			if err == nil && len(held) > 0 {
				err = fault.New(fault.Conflict, "the role %q has %d assignments: remove them first", old.Name, len(held)).Because(RoleDefinitionInUse)
			}
			return nil, err
		})
		if err != nil {
			return s.Guard.Refuse(ctx, call, need, err)
		}
		return s.Guard.Commit(ctx, call, need, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
			now, err := tx.Role(ctx, old.Tenant, old.ID)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return err
			}
			if err := sameReach(old, now); err != nil {
				return err
			}
			if _, err := d.stands(ctx, tx); err != nil {
				return err
			}
			return tx.DeleteRole(ctx, old.Tenant, old.ID)
		})
	})
}

// holdersOf lists the grants of a role, and says how many were looked through.
func holdersOf(ctx context.Context, tx store.Tx, r *principal.Role) (list []*principal.Grant, looked int, err error) {
	all, err := tx.GrantsUnder(ctx, r.Tenant, "/")
	for _, g := range all {
		if g.Role == r.ID {
			list = append(list, g)
		}
	}
	return list, len(all), err
}

// Permissions lists what the caller holds at a scope: the permissions of each role that counts there now.
func (s *Service) Permissions(ctx context.Context, call *guard.Call, scope string) (list []principal.Permission, err error) {
	at, err := authz.ParseScope(scope)
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.PermissionsRead, Scope: at.String()}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			grants, err := grantsAround(ctx, tx, call.Caller.Tenant, at, false)
			if err != nil {
				return err
			}
			list = nil
			for _, g := range grants {
				if g.Principal != call.Caller.Principal && !slices.Contains(call.Caller.Groups, g.Principal) || !g.Live(call.Started) {
					continue
				}
				r, err := findRole(ctx, tx, g.Tenant, g.Role)
				if fault.Is(err, fault.NotFound) {
					continue
				}
				if err != nil {
					return err
				}
				list = append(list, r.Permissions...)
			}
			return nil
		})
	})
	return list, err
}
