package tenancy

import (
	"context"
	"maps"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// PutGroup makes a resource group or replaces its tags. The location of a group that exists cannot change.
func (s *Service) PutGroup(ctx context.Context, call *guard.Call, ref GroupRef, location string, tags map[string]string) (g *vault.ResourceGroup, created bool, err error) {
	if location = Location(location); location == "" {
		return nil, false, fault.New(fault.Invalid, "a resource group needs a location: name one").Because(LocationRequired)
	}
	g, err = s.changeGroup(ctx, call, ref, func(old *vault.ResourceGroup) (*vault.ResourceGroup, error) {
		created = old == nil
		if created {
			old = &vault.ResourceGroup{Subscription: ref.Subscription, Name: ref.Group, Location: location}
		}
		if old.Location != location {
			return nil, fault.New(fault.Conflict, "the resource group %q is in %s and cannot move to %s: use its location, or another name", old.Name, old.Location,
				fault.Clip(location)).Because(InvalidResourceLocation)
		}
		old.Tags = tags
		return old, checkTags(tags)
	})
	return g, created, err
}

// TagGroup replaces the tags of a resource group that exists; nil leaves them.
func (s *Service) TagGroup(ctx context.Context, call *guard.Call, ref GroupRef, tags map[string]string) (*vault.ResourceGroup, error) {
	return s.changeGroup(ctx, call, ref, func(old *vault.ResourceGroup) (*vault.ResourceGroup, error) {
		if old == nil {
			return nil, groupNotFound(ref.Group)
		}
		if tags != nil {
			old.Tags = tags
		}
		return old, checkTags(tags)
	})
}

// changeGroup stores what change makes of the group, which is nil when there is none.
func (s *Service) changeGroup(ctx context.Context, call *guard.Call, ref GroupRef,
	change func(*vault.ResourceGroup) (*vault.ResourceGroup, error)) (*vault.ResourceGroup, error) {
	at, err := ref.Scope()
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.ResourceGroupWrite, Scope: at.String()}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	op := store.NewOp(s.Clock.Now())
	var g *vault.ResourceGroup
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		old, err := tx.ResourceGroup(ctx, ref.Subscription, ref.Group)
		switch {
		case err == nil:
			c := *old
			c.Tags = maps.Clone(old.Tags)
			g, err = change(&c)
		case fault.Is(err, fault.NotFound):
			if g, err = change(nil); err == nil {
				g.Created = op.At
			}
		}
		if err != nil {
			return err
		}
		return tx.PutResourceGroup(ctx, g)
	})
	return g, err
}

// FoundGroup makes a resource group in the name of the system, for a new installation.
func (s *Service) FoundGroup(ctx context.Context, t vault.TenantID, ref GroupRef, location string) (*vault.ResourceGroup, error) {
	at, err := ref.Scope()
	if err != nil {
		return nil, err
	}
	now := s.Clock.Now()
	g := &vault.ResourceGroup{Subscription: ref.Subscription, Name: ref.Group, Location: Location(location), Created: clock.Micro(now)}
	need := guard.Need{Action: authz.ResourceGroupWrite, Scope: at.String()}
	return g, s.Guard.Commit(ctx, guard.System(t, "ResourceGroupFound", now), need, store.NewOp(now), func(tx store.Tx) error {
		sub, err := tx.Subscription(ctx, ref.Subscription)
		if err != nil {
			return err
		}
		if sub.Tenant != t {
			return fault.New(fault.Conflict, "the subscription %s belongs to another tenant", sub.ID)
		}
		return tx.PutResourceGroup(ctx, g)
	})
}

// Group finds a resource group.
func (s *Service) Group(ctx context.Context, call *guard.Call, ref GroupRef) (g *vault.ResourceGroup, err error) {
	at, err := ref.Scope()
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.ResourceGroupRead, Scope: at.String()}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) (err error) {
			g, err = group(ctx, tx, ref)
			return err
		})
	})
	return g, err
}

// group finds a resource group in a transaction.
func group(ctx context.Context, tx store.Tx, ref GroupRef) (*vault.ResourceGroup, error) {
	g, err := tx.ResourceGroup(ctx, ref.Subscription, ref.Group)
	if fault.Is(err, fault.NotFound) {
		return nil, groupNotFound(ref.Group)
	}
	return g, err
}

func groupNotFound(name string) error {
	return fault.New(fault.NotFound, "the resource group %q could not be found: check its name and the subscription, or make it first", fault.Clip(name)).
		Because(GroupNotFound)
}

// Groups lists the resource groups of a subscription that the caller may see or holds anything in.
func (s *Service) Groups(ctx context.Context, call *guard.Call, id vault.SubscriptionID) (list []*vault.ResourceGroup, err error) {
	at, err := subscriptionScope(id)
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.ResourceGroupRead, Scope: at.String()}
	err = s.Guard.List(ctx, call, &need, func(sight *guard.Sight) error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			if err := ownSubscription(ctx, tx, call, id); err != nil {
				return err
			}
			all, err := tx.ResourceGroups(ctx, id)
			list = nil
			for _, g := range all {
				if scope := at.Group(g.Name); sight.May(authz.ResourceGroupRead, scope) || sight.Holds(scope) {
					list = append(list, g)
				}
			}
			return err
		})
	})
	return list, err
}

// ownSubscription refuses a subscription that is not of the caller's tenant, in the same words as one that does not exist.
func ownSubscription(ctx context.Context, tx store.Tx, call *guard.Call, id vault.SubscriptionID) error {
	sub, err := tx.Subscription(ctx, id)
	if fault.Is(err, fault.NotFound) || err == nil && sub.Tenant != call.Caller.Tenant {
		return fault.New(fault.NotFound, "the subscription %q could not be found: check its id and the tenant that you signed in to", id).
			Because(SubscriptionNotFound)
	}
	return err
}

// DeleteGroup removes a resource group with every grant in it and soft-deletes its vaults, which can be recovered once a
// group of that name exists again.
func (s *Service) DeleteGroup(ctx context.Context, call *guard.Call, ref GroupRef) error {
	at, err := ref.Scope()
	if err != nil {
		return err
	}
	need := guard.Need{Action: authz.ResourceGroupDelete, Scope: at.String()}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	op := store.NewOp(s.Clock.Now())
	return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		g, err := group(ctx, tx, ref)
		if err != nil {
			return err
		}
		vaults, err := tx.Vaults(ctx, store.VaultQuery{Tenant: call.Caller.Tenant, Subscription: ref.Subscription, ResourceGroup: g.Name})
		if err != nil {
			return err
		}
		for _, v := range vaults {
			if err := tx.PutVault(ctx, softDeleted(v, op)); err != nil {
				return err
			}
		}
		if err := dropGrants(ctx, tx, call.Caller.Tenant, at); err != nil {
			return err
		}
		if err := s.dropIdentities(ctx, tx, call.Caller.Tenant, at); err != nil {
			return err
		}
		return tx.DeleteResourceGroup(ctx, ref.Subscription, g.Name)
	})
}

// dropGrants removes every role assignment at a scope and below it.
func dropGrants(ctx context.Context, tx store.Tx, t vault.TenantID, at authz.Scope) error {
	grants, err := tx.GrantsUnder(ctx, t, at.String())
	if err != nil {
		return err
	}
	for _, g := range grants {
		if err := tx.DeleteGrant(ctx, t, g.ID); err != nil {
			return err
		}
	}
	return nil
}

// Location returns the canonical form of a location's name: "East US" and "eastus" are one.
func Location(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }
