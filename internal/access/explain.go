package access

import (
	"context"
	"slices"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Question asks about one action at one scope. An action on what a vault keeps needs the scope of the vault or of one object.
type Question struct {
	Action authz.Action
	Scope  string
}

// Answer says whether a principal may, and why.
type Answer struct {
	authz.Explanation
	Principal *principal.Principal
	Groups    []principal.ID
	// Allowed is the whole answer: a principal that is disabled may nothing, whatever it holds.
	Allowed bool
}

// facts is what decides about a question.
type facts struct {
	at       authz.Scope
	snapshot *authz.Snapshot
	request  authz.Request
}

// Explain says whether and why a principal may do something. Network rules, which depend on the address of each request, are left
// out. The caller needs the action AccessExplain at the scope.
func (s *Service) Explain(ctx context.Context, call *guard.Call, id principal.ID, q Question) (a Answer, err error) {
	err = s.ask(ctx, call, q, func(tx store.Tx, f facts) error {
		t := call.Caller.Tenant
		p, err := tx.Principal(ctx, t, id)
		if fault.Is(err, fault.NotFound) {
			return fault.New(fault.NotFound, "the principal %q does not exist: give the object id of a user, group or application", fault.Clip(string(id))).Because(PrincipalNotFound)
		}
		if err != nil {
			return err
		}
		groups, err := groupsOf(ctx, tx, t, id)
		if err != nil {
			return err
		}
		f.request.Caller = authz.Caller{Tenant: t, Principal: p.ID, Groups: groups, AppID: p.AppID}
		a = Answer{Principal: p, Groups: groups}
		if q.Action.Plane() == authz.Data {
			a.Explanation = authz.Explain(f.request, f.snapshot, call.Started)
		} else {
			a.Explanation = authz.ExplainAt(f.request, f.at, f.snapshot, call.Started)
		}
		a.Allowed = a.Decision.Allowed && !p.Disabled
		return nil
	})
	return a, err
}

// ask authorises a question, gathers its facts in one view of the store and hands them to answer.
func (s *Service) ask(ctx context.Context, call *guard.Call, q Question, answer func(store.Tx, facts) error) error {
	at, err := authz.ParseScope(q.Scope)
	if err != nil {
		return err
	}
	need := guard.Need{Action: authz.AccessExplain, Scope: at.String()}
	return s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			f, err := gather(ctx, tx, call.Caller.Tenant, at, q.Action)
			if err != nil {
				return err
			}
			return answer(tx, f)
		})
	})
}

func gather(ctx context.Context, tx store.Tx, t vault.TenantID, at authz.Scope, a authz.Action) (facts, error) {
	p := at.Parts()
	f := facts{at: at, request: authz.Request{Action: a}}
	if a.Plane() == authz.Data {
		switch {
		case p.Vault == "":
			return f, fault.New(fault.Invalid, "%s is about what a vault keeps: ask at the scope of a vault or of one object", a)
		case p.Kind != "" && p.Kind != a.Kind():
			return f, fault.New(fault.Invalid, "%s is about a %s and the scope is a %s: ask about the same kind", a, a.Kind(), p.Kind)
		}
		if p.Object != "" {
			f.request.Kind, f.request.Name = p.Kind, p.Object
		}
	}
	known := authz.Facts{Tenant: t}
	err := exists(ctx, tx, t, at)
	if err != nil {
		return f, err
	}
	if p.Vault != "" {
		if known.Vault, err = liveVault(ctx, tx, t, at); err != nil {
			return f, err
		}
	}
	if known.Grants, err = grantsAround(ctx, tx, t, at, false); err != nil {
		return f, err
	}
	if known.Roles, err = tx.Roles(ctx, t); err != nil {
		return f, err
	}
	f.snapshot = authz.Compile(known)
	return f, nil
}

// Holder is somebody who may do what was asked.
type Holder struct {
	authz.Holder
	// Who is the principal itself, or somebody in the group that holds the right; nil when the directory does not know it.
	Who *principal.Principal
	// Via is the group through which Who holds the right; empty when directly.
	Via principal.ID
}

// WhoCan lists everybody who may do something, one entry for each right. Groups are listed, and everybody in them. Disabled
// principals are left out. The caller needs the action AccessExplain at the scope.
func (s *Service) WhoCan(ctx context.Context, call *guard.Call, q Question) (list []Holder, err error) {
	err = s.ask(ctx, call, q, func(tx store.Tx, f facts) error {
		list = nil
		found := authz.WhoCanAt(f.request, f.at, f.snapshot, call.Started)
		if q.Action.Plane() == authz.Data {
			found = authz.WhoCan(f.request, f.snapshot, call.Started)
		}
		for _, h := range found {
			more, err := expand(ctx, tx, call.Caller.Tenant, h)
			if err != nil {
				return err
			}
			list = append(list, more...)
		}
		return nil
	})
	return list, err
}

// expand lists a holder and, when it is a group, everybody in it.
func expand(ctx context.Context, tx store.Tx, t vault.TenantID, h authz.Holder) ([]Holder, error) {
	who, err := tx.Principal(ctx, t, h.Principal)
	if fault.Is(err, fault.NotFound) {
		return []Holder{{Holder: h}}, nil
	}
	if err != nil || who.Disabled {
		return nil, err
	}
	list := []Holder{{Holder: h, Who: who}}
	if who.Kind != principal.GroupKind {
		return list, nil
	}
	members, err := membersOf(ctx, tx, t, who.ID)
	if err != nil {
		return nil, err
	}
	for _, id := range members {
		m, err := tx.Principal(ctx, t, id)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// A disabled group on the way gives nothing to those in it.
		groups, err := groupsOf(ctx, tx, t, id)
		if err != nil {
			return nil, err
		}
		if !m.Disabled && slices.Contains(groups, who.ID) {
			list = append(list, Holder{Holder: h, Who: m, Via: who.ID})
		}
	}
	return list, nil
}
