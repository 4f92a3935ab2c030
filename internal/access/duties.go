package access

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// DutiesFlagged is the event of a grant that put duties into one hand although a rule minds it.
const DutiesFlagged = "Keywright.Access.DutiesFlagged"

// Finding is two duties in the hand of one principal.
type Finding struct {
	Principal principal.ID
	authz.Conflict
}

func rulesKey(t vault.TenantID) string { return "access/duties/" + string(t) }

// rules returns the tenant's rules, or the default ones.
func rules(ctx context.Context, tx store.Tx, t vault.TenantID) ([]authz.Rule, error) {
	data, err := tx.Setting(ctx, rulesKey(t))
	if fault.Is(err, fault.NotFound) {
		return authz.DefaultRules(), nil
	}
	if err != nil {
		return nil, err
	}
	var list []authz.Rule
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("reading the rules of duties of tenant %s: %w", t, err)
	}
	return list, nil
}

// Rules returns which duties the tenant keeps apart.
func (s *Service) Rules(ctx context.Context, call *guard.Call) (list []authz.Rule, err error) {
	need := guard.Need{Action: authz.TenantRead, Scope: "/"}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) (err error) {
			list, err = rules(ctx, tx, call.Caller.Tenant)
			return err
		})
	})
	return list, err
}

// SetRules says which duties the tenant keeps apart. Grants that exist stay: Conflicts lists those against the new rules.
func (s *Service) SetRules(ctx context.Context, call *guard.Call, list []authz.Rule) error {
	need := guard.Need{Action: authz.TenantWrite, Scope: "/"}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	if err := authz.CheckRules(list); err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	data, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return s.Guard.Commit(ctx, call, need, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		return tx.PutSetting(ctx, rulesKey(call.Caller.Tenant), data)
	})
}

// judge finds what a grant that is about to be stored puts into one hand, for its principal and for everybody in it. What the
// rules refuse is a fault.Forbidden. Conflicts that were there before are not the grant's and are left out.
func (j *judgement) judge(ctx context.Context, g *principal.Grant, role *principal.Role) ([]Finding, error) {
	fresh, err := authz.HoldingOf(g, role)
	if err != nil {
		return nil, err
	}
	who, err := reached(ctx, j.tx, g.Tenant, g.Principal, g.PrincipalKind)
	if err != nil {
		return nil, err
	}
	j.work += len(who)
	return j.judgeHands(ctx, who, fresh, func(held *principal.Grant) bool { return held.ID == g.ID })
}

// reached lists whom a grant to a principal reaches.
func reached(ctx context.Context, tx store.Tx, t vault.TenantID, id principal.ID, kind principal.Kind) ([]principal.ID, error) {
	if kind != principal.GroupKind {
		return []principal.ID{id}, nil
	}
	members, err := membersOf(ctx, tx, t, id)
	return append([]principal.ID{id}, members...), err
}

// judgeHands finds the conflicts of a fresh holding with all that each of the principals holds besides. replaced tells which
// stored grant the fresh holding takes the place of.
func (j *judgement) judgeHands(ctx context.Context, who []principal.ID, fresh authz.Holding,
	replaced func(*principal.Grant) bool) ([]Finding, error) {
	list, err := rules(ctx, j.tx, j.tenant)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, id := range who {
		held, err := j.holdings(ctx, id, replaced)
		if err != nil {
			return nil, err
		}
		for _, c := range authz.Conflicts(append(held, fresh), list) {
			if c.A == fresh || c.B == fresh {
				found = append(found, Finding{id, c})
			}
		}
	}
	return found, refusal(found)
}

func refusal(found []Finding) error {
	for _, f := range found {
		if err := authz.CheckConflicts([]authz.Conflict{f.Conflict}); err != nil {
			e := fault.As(err)
			return fault.New(e.Kind, "for the principal %s, %s", f.Principal, e.Message).Because(e.Reason)
		}
	}
	return nil
}

// judgeRole judges every grant of a role as it is to be.
func judgeRole(ctx context.Context, j *judgement, r *principal.Role) ([]Finding, error) {
	grants, all, err := holdersOf(ctx, j.tx, r)
	if err != nil {
		return nil, err
	}
	j.work += all
	j.roles[r.ID] = r
	var found []Finding
	for _, g := range grants {
		more, err := j.judge(ctx, g, r)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// JudgePolicies judges the access policies of a vault that is about to be stored, and returns what says so in the transaction that stores it: the tenant's rules
// refuse what puts duties into one hand with a fault.Forbidden; what they only mind is found by Conflicts. A guard.ErrAgain asks to judge anew.
func (s *Service) JudgePolicies(ctx context.Context, v *vault.Vault) (func(context.Context, store.Tx) error, error) {
	if v.Access != vault.AccessByPolicy || len(v.Policies) == 0 {
		return func(context.Context, store.Tx) error { return nil }, nil
	}
	d, err := s.ahead(ctx, v.Tenant, authz.VaultScope(v), func(ctx context.Context, j *judgement) ([]Finding, error) {
		j.proposed = v
		return nil, judgePolicies(ctx, j, v)
	})
	return func(ctx context.Context, tx store.Tx) error {
		_, err := d.stands(ctx, tx)
		return err
	}, err
}

func judgePolicies(ctx context.Context, j *judgement, v *vault.Vault) error {
	for i := range v.Policies {
		p := &v.Policies[i]
		id := principal.ID(p.Principal)
		who, err := j.tx.Principal(ctx, v.Tenant, id)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		hands, err := reached(ctx, j.tx, v.Tenant, id, who.Kind)
		if err != nil {
			return err
		}
		j.work += len(hands)
		fresh := authz.HoldingOfPolicy(p, v)
		if _, err := j.judgeHands(ctx, hands, fresh, func(*principal.Grant) bool { return false }); err != nil {
			return err
		}
	}
	return nil
}

// JudgeMember judges that a principal joins a group, which hands it and everybody in it what the group holds, and returns what says so in the transaction that stores the
// membership. What the tenant's rules refuse is a fault.Forbidden; of what they mind an event tells. A disabled group counts as if it were enabled: nobody is asked again when it is. A
// guard.ErrAgain asks to judge anew.
func (s *Service) JudgeMember(ctx context.Context, group, member *principal.Principal) (func(context.Context, store.Tx, store.Op) error, error) {
	d, err := s.ahead(ctx, group.Tenant, authz.TenantScope(), func(ctx context.Context, j *judgement) ([]Finding, error) { return j.judgeMember(ctx, group, member) })
	return func(ctx context.Context, tx store.Tx, op store.Op) error {
		found, err := d.stands(ctx, tx)
		if err != nil {
			return err
		}
		return flag(tx, group.Tenant, string(group.ID), found, op)
	}, err
}

func (j *judgement) judgeMember(ctx context.Context, group, member *principal.Principal) ([]Finding, error) {
	none := func(*principal.Grant) bool { return false }
	list, err := rules(ctx, j.tx, group.Tenant)
	if err != nil {
		return nil, err
	}
	given, err := j.holdings(ctx, group.ID, none)
	if err != nil || len(given) == 0 {
		return nil, err
	}
	hands, err := reached(ctx, j.tx, group.Tenant, member.ID, member.Kind)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, id := range hands {
		held, err := j.holdings(ctx, id, none)
		if err != nil {
			return nil, err
		}
		known := make(map[authz.Conflict]bool)
		for _, c := range authz.Conflicts(held, list) {
			known[c] = true
		}
		for _, c := range authz.Conflicts(append(held, given...), list) {
			if !known[c] {
				known[c] = true
				found = append(found, Finding{id, c})
			}
		}
	}
	return found, refusal(found)
}

// flag tells of findings by one event.
func flag(tx store.Tx, t vault.TenantID, subject string, found []Finding, op store.Op) error {
	if len(found) == 0 {
		return nil
	}
	texts := make([]string, 0, len(found))
	for _, f := range found {
		texts = append(texts, string(f.Principal)+": "+f.String())
	}
	data, err := json.Marshal(map[string]any{"subject": subject, "conflicts": texts[:min(len(texts), 20)], "count": len(texts)})
	if err != nil {
		return err
	}
	tx.Emit(store.Event{ID: string(op.ID), Type: DutiesFlagged, Tenant: t, Subject: subject, At: op.At, Data: data})
	return nil
}

// Conflicts lists everybody who has duties in one hand, at or below the scope, that the tenant's rules mind. It also finds
// what came about before the rules were made, or in other ways than by a grant, such as a group that was enabled again.
func (s *Service) Conflicts(ctx context.Context, call *guard.Call, scope string) (found []Finding, err error) {
	at, err := authz.ParseScope(scope)
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.AccessExplain, Scope: at.String()}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			found = nil
			t := call.Caller.Tenant
			list, err := rules(ctx, tx, t)
			if err != nil {
				return err
			}
			everybody, err := tx.Principals(ctx, store.PrincipalQuery{Tenant: t})
			if err != nil {
				return err
			}
			j := newJudgement(tx, t, at)
			for _, p := range everybody {
				held, err := j.holdings(ctx, p.ID, func(*principal.Grant) bool { return false })
				if err != nil {
					return err
				}
				for _, c := range authz.Conflicts(held, list) {
					if at.Overlaps(c.Scope) {
						found = append(found, Finding{p.ID, c})
					}
				}
			}
			return nil
		})
	})
	return found, err
}
