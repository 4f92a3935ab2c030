package access

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Assignment is a role assignment to be made.
type Assignment struct {
	// ID is a GUID; drawn when empty.
	ID string
	// Scope is a resource id; Role the GUID or resource id of a role.
	Scope, Role string
	Principal   principal.ID
	// PrincipalKind, when set, must be the principal's. A managed identity counts as a service principal too.
	PrincipalKind principal.Kind
	Description   string
	// Condition must be empty: see authz.CheckCondition.
	Condition string
	// NotBefore and Expires bound the grant in time; zero means unbounded.
	NotBefore, Expires time.Time
}

// Assigned is a role assignment with what is noteworthy about it.
type Assigned struct {
	Grant   *principal.Grant
	Created bool
	// Flagged are the duties that the grant puts into one hand although a rule minds it.
	Flagged []Finding
}

// maxDescriptionBytes is Azure's limit for the description of a role assignment.
const maxDescriptionBytes = 1024

// Assign makes a role assignment. Doing it again under the same id changes the description and the times; role, principal and
// scope of an assignment never change (fault.Conflict with reason RoleAssignmentUpdateNotPermitted). The same role for the same
// principal at the same scope and an overlapping time under another id is a fault.Conflict with reason RoleAssignmentExists.
func (s *Service) Assign(ctx context.Context, call *guard.Call, a Assignment) (Assigned, error) {
	at, err := authz.ParseScope(a.Scope)
	if err != nil {
		return Assigned{}, err
	}
	need := needFor(authz.RoleAssignmentWrite, at, a.ID, a.Role, a.Principal)
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Assigned{}, err
	}
	g, err := s.newGrant(call, &a)
	if err != nil {
		return Assigned{}, s.Guard.Refuse(ctx, call, need, err)
	}
	need.Name = g.ID
	var done Assigned
	err = s.again(ctx, call, need, func() error {
		d, err := s.judgeGrant(ctx, g, at)
		if err != nil {
			return s.Guard.Refuse(ctx, call, need, err)
		}
		op := store.NewOp(s.Clock.Now())
		return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
			fresh := *g
			fresh.Created, fresh.Updated = op.At, op.At
			var err error
			done, err = s.assign(ctx, tx, &fresh, at, a.PrincipalKind, d, op)
			return err
		})
	})
	return done, err
}

// judgeGrant judges a grant ahead. One whose role or principal does not exist is judged by nobody: storing it fails.
func (s *Service) judgeGrant(ctx context.Context, g *principal.Grant, at authz.Scope) (*judged, error) {
	return s.ahead(ctx, g.Tenant, at, func(ctx context.Context, j *judgement) ([]Finding, error) {
		role, err := j.role(ctx, g.Role)
		if err != nil || role == nil {
			return nil, err
		}
		fresh := *g
		fresh.PrincipalKind, err = kindOf(ctx, j.tx, g, "")
		if fault.Is(err, fault.Invalid) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return j.judge(ctx, &fresh, role)
	})
}

// needFor returns what it takes to write or remove a role assignment, whose record tells who is granted what. The names may be
// anything that a caller sent.
func needFor(action authz.Action, at authz.Scope, id, role string, who principal.ID) guard.Need {
	return guard.Need{Action: action, Scope: at.String(), AssignedRole: role, Name: fault.Clip(id),
		Detail: fmt.Sprintf("role %s, principal %s", fault.Clip(role), fault.Clip(string(who)))}
}

// newGrant checks what can be checked without the store.
func (s *Service) newGrant(call *guard.Call, a *Assignment) (*principal.Grant, error) {
	if err := authz.CheckCondition(a.Condition); err != nil {
		return nil, err
	}
	if a.ID == "" {
		a.ID = vault.NewGUID()
	}
	id, err := vault.ParseGUID(a.ID)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the role assignment id %q must be a GUID: make a new one", fault.Clip(a.ID)).Because("InvalidRoleAssignmentId")
	}
	who, err := vault.ParseGUID(string(a.Principal))
	if err != nil {
		return nil, fault.New(fault.Invalid, "the principal id %q must be a GUID: give the principal's object id", fault.Clip(string(a.Principal))).Because("InvalidPrincipalId")
	}
	role := authz.RoleID(a.Role)
	if role == "" {
		return nil, roleMissing(a.Role)
	}
	if len(a.Description) > maxDescriptionBytes {
		return nil, fault.New(fault.Invalid, "the description has %d bytes: at most %d are allowed", len(a.Description), maxDescriptionBytes)
	}
	scope := a.Scope
	if len(scope) > 1 {
		scope = strings.TrimSuffix(scope, "/") // as ParseScope does; the store finds a grant by the scope's text
	}
	g := &principal.Grant{ID: id, Tenant: call.Caller.Tenant, Scope: scope, Role: role, Principal: principal.ID(who), Description: a.Description,
		NotBefore: clock.Micro(a.NotBefore), Expires: clock.Micro(a.Expires), CreatedBy: call.Caller.Principal}
	if !g.Expires.IsZero() && (!g.Expires.After(g.NotBefore) || !g.Expires.After(s.Clock.Now())) {
		return nil, fault.New(fault.Invalid, "the grant ends at %s, before it begins or has begun: choose a later end", g.Expires.Format(time.RFC3339))
	}
	return g, nil
}

func (s *Service) assign(ctx context.Context, tx store.Tx, g *principal.Grant, at authz.Scope, kind principal.Kind, d *judged, op store.Op) (done Assigned, err error) {
	if err := exists(ctx, tx, g.Tenant, at); err != nil {
		return done, err
	}
	role, err := findRole(ctx, tx, g.Tenant, g.Role)
	if err != nil {
		return done, err
	}
	if err := authz.CheckAssignable(role, at); err != nil {
		return done, err
	}
	if g.PrincipalKind, err = kindOf(ctx, tx, g, kind); err != nil {
		return done, err
	}
	old, err := tx.Grant(ctx, g.Tenant, g.ID)
	switch {
	case err == nil:
		if !sameTriple(old, g) {
			return done, fault.New(fault.Conflict, "the role assignment %s exists with another role, principal or scope, which never change: remove it first, or "+
				"use a new id", g.ID).Because(RoleAssignmentFixed)
		}
		g.Scope, g.Created, g.CreatedBy = old.Scope, old.Created, old.CreatedBy
	case fault.Is(err, fault.NotFound):
		done.Created = true
	default:
		return done, err
	}
	if err := s.checkUnique(ctx, tx, g, at, op.At); err != nil {
		return done, err
	}
	if done.Flagged, err = d.stands(ctx, tx); err != nil {
		return done, err
	}
	if err := flag(tx, g.Tenant, g.ID, done.Flagged, op); err != nil {
		return done, err
	}
	done.Grant = g
	return done, tx.PutGrant(ctx, g)
}

// kindOf returns the kind of the grant's principal, which must exist.
func kindOf(ctx context.Context, tx store.Tx, g *principal.Grant, want principal.Kind) (principal.Kind, error) {
	p, err := tx.Principal(ctx, g.Tenant, g.Principal)
	if fault.Is(err, fault.NotFound) {
		return "", fault.New(fault.Invalid, "principal %s does not exist in the directory %s: check that you have the object id, which is not the client id",
			g.Principal, g.Tenant).Because(PrincipalNotFound)
	}
	if err != nil {
		return "", err
	}
	if want != "" && want != p.Kind && (want != principal.Service || p.Kind != principal.ManagedIdentity) {
		return "", fault.New(fault.Invalid, "the principal %s has the type %s and not %s: correct the type, or leave it out", p.ID, p.Kind, fault.Clip(string(want))).
			Because(PrincipalTypeMismatch)
	}
	return p.Kind, nil
}

func sameTriple(a, b *principal.Grant) bool {
	return a.Role == b.Role && a.Principal == b.Principal && sameScope(a.Scope, b.Scope)
}

func sameScope(a, b string) bool {
	x, errX := authz.ParseScope(a)
	y, errY := authz.ParseScope(b)
	return errX == nil && errY == nil && x == y
}

// checkUnique refuses a second grant of the same for an overlapping time. One that is over does not count.
func (s *Service) checkUnique(ctx context.Context, tx store.Tx, g *principal.Grant, at authz.Scope, now time.Time) error {
	others, err := tx.GrantsAt(ctx, g.Tenant, at.String())
	if err != nil {
		return err
	}
	for _, o := range others {
		over := !o.Expires.IsZero() && !now.Before(o.Expires)
		if o.ID != g.ID && sameTriple(o, g) && !over && overlap(o, g) {
			return fault.New(fault.Conflict, "the role assignment already exists: its id is %s", o.ID).Because(RoleAssignmentExists)
		}
	}
	return nil
}

func overlap(a, b *principal.Grant) bool {
	before := func(end, start time.Time) bool { return !end.IsZero() && !start.Before(end) }
	return !before(a.Expires, b.NotBefore) && !before(b.Expires, a.NotBefore)
}

// Unassign removes a role assignment. One that is not there, or is at another scope, is nil without an error.
func (s *Service) Unassign(ctx context.Context, call *guard.Call, scope, id string) (*principal.Grant, error) {
	at, err := authz.ParseScope(scope)
	if err != nil {
		return nil, err
	}
	if call.Caller == nil {
		return nil, fault.New(fault.Unauthenticated, "this needs an authenticated caller")
	}
	found, err := s.grantAt(ctx, call.Caller.Tenant, at, id)
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.RoleAssignmentDelete, Scope: at.String(), Name: fault.Clip(id)}
	if found != nil {
		need = needFor(need.Action, at, found.ID, found.Role, found.Principal)
	}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil || found == nil {
		return nil, err
	}
	err = s.Guard.Commit(ctx, call, need, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		g, err := tx.Grant(ctx, found.Tenant, found.ID)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if !sameTriple(g, found) {
			return fault.New(fault.Conflict, "the role assignment %s was replaced meanwhile: look at it, and try again", g.ID)
		}
		return tx.DeleteGrant(ctx, g.Tenant, g.ID)
	})
	return found, err
}

// grantAt finds the grant of that id at exactly the scope; nil when there is none.
func (s *Service) grantAt(ctx context.Context, t vault.TenantID, at authz.Scope, id string) (g *principal.Grant, err error) {
	if id, err = vault.ParseGUID(id); err != nil {
		return nil, nil //nolint:nilerr // what has no valid id is not there
	}
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		g, err = tx.Grant(ctx, t, id)
		return err
	})
	if fault.Is(err, fault.NotFound) || err == nil && !sameScope(g.Scope, at.String()) {
		return nil, nil
	}
	return g, err
}

// Assignment finds a role assignment at a scope.
func (s *Service) Assignment(ctx context.Context, call *guard.Call, scope, id string) (g *principal.Grant, err error) {
	at, err := authz.ParseScope(scope)
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.RoleAssignmentRead, Scope: at.String()}
	err = s.Guard.Read(ctx, call, &need, func() error {
		if g, err = s.grantAt(ctx, call.Caller.Tenant, at, id); err == nil && g == nil {
			return fault.New(fault.NotFound, "the role assignment '%s' is not found at %s", fault.Clip(id), at).Because(RoleAssignmentNotFound)
		}
		return err
	})
	return g, err
}

// Filter selects role assignments.
type Filter struct {
	// AtScope leaves out what is below the scope.
	AtScope bool
	// Principal selects grants to exactly this principal, AssignedTo those that reach it, through groups included.
	Principal, AssignedTo principal.ID
}

// Assignments lists the role assignments that count at a scope, those above it included, and those below it.
func (s *Service) Assignments(ctx context.Context, call *guard.Call, scope string, f Filter) (list []*principal.Grant, err error) {
	at, err := authz.ParseScope(scope)
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.RoleAssignmentRead, Scope: at.String()}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			if err := exists(ctx, tx, call.Caller.Tenant, at); err != nil {
				return err
			}
			all, err := grantsAround(ctx, tx, call.Caller.Tenant, at, !f.AtScope)
			if err != nil {
				return err
			}
			list, err = f.apply(ctx, tx, call.Caller.Tenant, all)
			return err
		})
	})
	return list, err
}

// grantsAround lists the grants at and above a scope and, if asked for, those below it.
func grantsAround(ctx context.Context, tx store.Tx, t vault.TenantID, at authz.Scope, below bool) ([]*principal.Grant, error) {
	var chain []string
	for _, s := range at.Chain() {
		chain = append(chain, s.String())
	}
	if below {
		chain = chain[:len(chain)-1]
	}
	list, err := tx.GrantsAt(ctx, t, chain...)
	if err != nil || !below {
		return list, err
	}
	under, err := tx.GrantsUnder(ctx, t, at.String())
	return append(list, under...), err
}

func (f *Filter) apply(ctx context.Context, tx store.Tx, t vault.TenantID, all []*principal.Grant) ([]*principal.Grant, error) {
	if f.Principal == "" && f.AssignedTo == "" {
		return all, nil
	}
	reach := map[principal.ID]bool{f.AssignedTo: true}
	if f.AssignedTo != "" {
		groups, err := groupsOf(ctx, tx, t, f.AssignedTo)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			reach[g] = true
		}
	}
	var list []*principal.Grant
	for _, g := range all {
		if (f.Principal == "" || g.Principal == f.Principal) && (f.AssignedTo == "" || reach[g.Principal]) {
			list = append(list, g)
		}
	}
	return list, nil
}
