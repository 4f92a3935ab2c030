package access

import (
	"context"
	"errors"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Config makes a Service. Everything is required.
type Config struct {
	Guard *guard.Guard
	Store store.Store
	Clock clock.Clock
}

// Service manages and explains access. It is safe for concurrent use.
type Service struct{ Config }

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Clock == nil {
		return nil, errors.New("the access service needs a guard, a store and a clock")
	}
	return &Service{c}, nil
}

// The reasons of errors, in the words of Azure Resource Manager.
const (
	RoleAssignmentExists    fault.Reason = "RoleAssignmentExists"
	RoleAssignmentFixed     fault.Reason = "RoleAssignmentUpdateNotPermitted"
	RoleAssignmentNotFound  fault.Reason = "RoleAssignmentNotFound"
	RoleDefinitionMissing   fault.Reason = "RoleDefinitionDoesNotExist"
	RoleDefinitionNameTaken fault.Reason = "RoleDefinitionWithSameNameExists"
	RoleDefinitionInUse     fault.Reason = "RoleDefinitionHasAssignments"
	PrincipalNotFound       fault.Reason = "PrincipalNotFound"
	PrincipalTypeMismatch   fault.Reason = "UnmatchedPrincipalType"
	GroupNotFound           fault.Reason = "ResourceGroupNotFound"
	ResourceNotFound        fault.Reason = "ResourceNotFound"
)

// exists reports whether what a scope names is there and the tenant's own. Objects need not exist: access to one is often
// granted before it is made. The guard has checked the subscription.
func exists(ctx context.Context, tx store.Tx, t vault.TenantID, at authz.Scope) error {
	p := at.Parts()
	if p.Group != "" {
		_, err := tx.ResourceGroup(ctx, p.Subscription, p.Group)
		if fault.Is(err, fault.NotFound) {
			return fault.New(fault.NotFound, "the resource group %q could not be found: check its name and the subscription", p.Group).Because(GroupNotFound)
		}
		if err != nil {
			return err
		}
	}
	if p.Vault == "" {
		return nil
	}
	_, err := liveVault(ctx, tx, t, at)
	return err
}

// liveVault finds the vault of a scope at or below a vault.
func liveVault(ctx context.Context, tx store.Tx, t vault.TenantID, at authz.Scope) (*vault.Vault, error) {
	p := at.Parts()
	v, err := tx.VaultByName(ctx, p.Vault)
	if fault.Is(err, fault.NotFound) || err == nil && (v.Tenant != t || v.Deleted != nil || !authz.VaultScope(v).Contains(at)) {
		return nil, fault.New(fault.NotFound, "the resource 'Microsoft.KeyVault/vaults/%s' under resource group '%s' was not found: check both names, and that the "+
			"vault was not deleted", p.Vault, p.Group).Because(ResourceNotFound)
	}
	return v, err
}

// groupsOf lists the groups that a principal is in, directly or through others. Disabled groups give nothing and lead nowhere.
func groupsOf(ctx context.Context, tx store.Tx, t vault.TenantID, id principal.ID) ([]principal.ID, error) {
	return walk(id, func(id principal.ID) ([]principal.ID, error) {
		direct, err := tx.GroupsOf(ctx, t, id)
		if err != nil {
			return nil, err
		}
		var list []principal.ID
		for _, g := range direct {
			group, err := tx.Principal(ctx, t, g)
			if err != nil && !fault.Is(err, fault.NotFound) {
				return nil, err
			}
			if err == nil && !group.Disabled {
				list = append(list, g)
			}
		}
		return list, nil
	})
}

// membersOf lists who is in a group, directly or through other groups, these groups included.
func membersOf(ctx context.Context, tx store.Tx, t vault.TenantID, group principal.ID) ([]principal.ID, error) {
	return walk(group, func(id principal.ID) ([]principal.ID, error) { return tx.Members(ctx, t, id) })
}

// walk follows next from one principal and returns all that it meets, once each.
func walk(from principal.ID, next func(principal.ID) ([]principal.ID, error)) ([]principal.ID, error) {
	seen := map[principal.ID]bool{from: true}
	var found []principal.ID
	for queue := []principal.ID{from}; len(queue) > 0; queue = queue[1:] {
		direct, err := next(queue[0])
		if err != nil {
			return nil, err
		}
		for _, id := range direct {
			if !seen[id] {
				seen[id] = true
				found, queue = append(found, id), append(queue, id)
			}
		}
	}
	return found, nil
}
