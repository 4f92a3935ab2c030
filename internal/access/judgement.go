package access

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// judgement reads what one judging of duties needs. A group may have as many members as a tenant has vaults: what the holdings of all hands share is read once, and only
// where a conflict can be. See ahead for where it is done.
type judgement struct {
	tx     store.Tx
	tenant vault.TenantID
	// at is where conflicts matter: access policies of vaults elsewhere are not read.
	at authz.Scope

	// proposed, when not nil, stands in the place of the vault that is stored.
	proposed *vault.Vault
	// work counts what was read.
	work int

	// policies are the holdings by access policies, by principal; nil until they are needed.
	policies map[principal.ID][]authz.Holding
	// roles are custom ones; nil is one that does not exist.
	roles map[string]*principal.Role
}

func newJudgement(tx store.Tx, t vault.TenantID, at authz.Scope) *judgement {
	return &judgement{tx: tx, tenant: t, at: at, roles: map[string]*principal.Role{}}
}

// holdings lists what a principal holds by role assignments, its own and those of its groups, and by the access policies of vaults
// that use them.
func (j *judgement) holdings(ctx context.Context, id principal.ID, skip func(*principal.Grant) bool) ([]authz.Holding, error) {
	groups, err := groupsOf(ctx, j.tx, j.tenant, id)
	if err != nil {
		return nil, err
	}
	if err := j.readPolicies(ctx); err != nil {
		return nil, err
	}
	j.work += 1 + len(groups)
	var list []authz.Holding
	for _, p := range append([]principal.ID{id}, groups...) {
		grants, err := j.tx.GrantsOf(ctx, j.tenant, p)
		if err != nil {
			return nil, err
		}
		j.work += len(grants)
		for _, g := range grants {
			role, err := j.role(ctx, g.Role)
			if err != nil {
				return nil, err
			}
			if role == nil || skip(g) {
				continue
			}
			if h, err := authz.HoldingOf(g, role); err == nil { // a grant whose scope cannot be read gives nothing
				list = append(list, h)
			}
		}
		list = append(list, j.policies[p]...)
	}
	return list, nil
}

// role finds a role; nil when it does not exist.
func (j *judgement) role(ctx context.Context, id string) (*principal.Role, error) {
	if r, ok := j.roles[id]; ok {
		return r, nil
	}
	r, err := findRole(ctx, j.tx, j.tenant, id)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, err
	}
	j.roles[id] = r
	return r, nil
}

func (j *judgement) readPolicies(ctx context.Context) error {
	if j.policies != nil {
		return nil
	}
	vaults, err := j.vaults(ctx)
	if err != nil {
		return err
	}
	j.policies = map[principal.ID][]authz.Holding{}
	j.work += len(vaults)
	for _, v := range vaults {
		if v.Access != vault.AccessByPolicy {
			continue
		}
		for i := range v.Policies {
			p := &v.Policies[i]
			id := principal.ID(p.Principal)
			j.policies[id] = append(j.policies[id], authz.HoldingOfPolicy(p, v))
		}
	}
	return nil
}

// vaults lists those whose scope overlaps with that of the judgement.
func (j *judgement) vaults(ctx context.Context) ([]*vault.Vault, error) {
	if j.proposed != nil {
		return []*vault.Vault{j.proposed}, nil
	}
	p := j.at.Parts()
	if p.Vault == "" {
		return j.tx.Vaults(ctx, store.VaultQuery{Tenant: j.tenant, Subscription: p.Subscription, ResourceGroup: p.Group})
	}
	v, err := liveVault(ctx, j.tx, j.tenant, j.at)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return []*vault.Vault{v}, err
}
