package guard

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
)

// Sight is what one caller may see of the control plane at one instant. Listings ask it for each entry, and leave out
// what the caller may not see instead of refusing the whole list.
type Sight struct {
	caller authz.Caller
	now    time.Time
	access *authz.Snapshot
	held   []authz.Scope
}

// May reports whether the caller may do the control-plane action at the scope.
func (s *Sight) May(a authz.Action, at authz.Scope) bool {
	return authz.DecideAt(authz.Request{Caller: s.caller, Action: a}, at, s.access, s.now).Allowed
}

// Holds reports whether the caller holds any grant at the scope or below it that counts now.
func (s *Sight) Holds(at authz.Scope) bool {
	for _, h := range s.held {
		if at.Contains(h) {
			return true
		}
	}
	return false
}

// List does work that shows only what the caller may see, and records it before the answer leaves. The need names the
// action that each entry takes and the scope that is listed.
func (g *Guard) List(ctx context.Context, call *Call, need *Need, work func(*Sight) error) error {
	if call.Caller == nil {
		return fault.New(fault.Unauthenticated, "this needs an authenticated caller")
	}
	if err := g.current(call, need); err != nil {
		return err
	}
	s, err := g.sight(ctx, call)
	if err != nil {
		return err
	}
	if err := work(s); err != nil {
		return g.Refuse(ctx, call, *need, err)
	}
	return g.record(ctx, call, need, audit.Allowed, nil)
}

// sight gathers the caller's own grants, wherever they are, and those of the caller's groups.
func (g *Guard) sight(ctx context.Context, call *Call) (*Sight, error) {
	c := call.Caller
	s := &Sight{caller: c.subject(), now: call.Started}
	var facts authz.Facts
	err := g.Store.View(ctx, func(tx store.Tx) error {
		facts = authz.Facts{Tenant: c.Tenant}
		for _, id := range append([]principal.ID{c.Principal}, c.Groups...) {
			grants, err := tx.GrantsOf(ctx, c.Tenant, id)
			if err != nil {
				return err
			}
			facts.Grants = append(facts.Grants, grants...)
		}
		var err error
		facts.Roles, err = tx.Roles(ctx, c.Tenant)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, grant := range facts.Grants {
		if at, err := authz.ParseScope(grant.Scope); err == nil && grant.Live(s.now) {
			s.held = append(s.held, at)
		}
	}
	s.access = authz.Compile(facts)
	return s, nil
}

// MayAssignSomewhere reports whether the caller may assign the role at any place at all.
func (s *Sight) MayAssignSomewhere(role string) bool {
	r := authz.Request{Caller: s.caller, Action: authz.RoleAssignmentWrite, AssignedRole: role}
	for _, h := range s.held {
		if authz.DecideAt(r, h, s.access, s.now).Allowed {
			return true
		}
	}
	return false
}
