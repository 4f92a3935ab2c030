package tenancy

import (
	"context"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// ResourceType is a type of resources that can have a managed identity.
type ResourceType string

// The types of resources with identities. A site stands for an application that runs somewhere else: it is known here only
// by its identity.
const (
	Site         ResourceType = "Microsoft.Web/sites"
	UserAssigned ResourceType = "Microsoft.ManagedIdentity/userAssignedIdentities"
)

// identityActions are what it takes to see, make and remove the identity of a resource.
var identityActions = map[ResourceType]struct{ read, write, remove authz.Action }{
	Site:         {authz.SiteRead, authz.SiteWrite, authz.SiteDelete},
	UserAssigned: {authz.IdentityRead, authz.IdentityWrite, authz.IdentityDelete},
}

// ResourceRef names a resource with an identity by its place.
type ResourceRef struct {
	GroupRef
	Type ResourceType
	Name string
}

// ID returns the resource id.
func (r ResourceRef) ID() string {
	return "/subscriptions/" + string(r.Subscription) + "/resourceGroups/" + r.Group + "/providers/" + string(r.Type) + "/" + r.Name
}

// maxResourceNameBytes is Azure's limit for user-assigned identities, the longer one of the two types.
const maxResourceNameBytes = 128

// check returns the scope at which access to the resource is decided: its group.
func (r ResourceRef) check() (authz.Scope, error) {
	at, err := r.GroupRef.Scope()
	if err != nil {
		return at, err
	}
	ok := len(r.Name) >= 1 && len(r.Name) <= maxResourceNameBytes
	for _, c := range []byte(r.Name) {
		ok = ok && (c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}
	if _, known := identityActions[r.Type]; !known || !ok {
		return at, badRequest("%q cannot be the name of a resource: use 1 to %d letters, digits, hyphens and underscores", fault.Clip(r.Name), maxResourceNameBytes)
	}
	return at, nil
}

// Identity finds the managed identity of a resource, with its group. A resource without an identity is a nil principal.
func (s *Service) Identity(ctx context.Context, call *guard.Call, ref ResourceRef) (p *principal.Principal, g *vault.ResourceGroup, err error) {
	at, err := ref.check()
	if err != nil {
		return nil, nil, err
	}
	need := guard.Need{Action: identityActions[ref.Type].read, Scope: at.String(), Name: ref.Name}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) (err error) {
			if g, err = group(ctx, tx, ref.GroupRef); err != nil {
				return err
			}
			p, err = identityOf(ctx, tx, call.Caller.Tenant, ref)
			return err
		})
	})
	return p, g, err
}

func identityOf(ctx context.Context, tx store.Tx, t vault.TenantID, ref ResourceRef) (*principal.Principal, error) {
	p, err := tx.PrincipalByResource(ctx, t, ref.ID())
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return p, err
}

// AssignIdentity gives a resource a managed identity, or finds the one that it has.
func (s *Service) AssignIdentity(ctx context.Context, call *guard.Call, ref ResourceRef) (p *principal.Principal, created bool, err error) {
	at, err := ref.check()
	if err != nil {
		return nil, false, err
	}
	need := guard.Need{Action: identityActions[ref.Type].write, Scope: at.String(), Name: ref.Name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, false, err
	}
	if s.Identities == nil {
		return nil, false, s.Guard.Refuse(ctx, call, need, fault.New(fault.Unsupported, "this installation has no managed identities"))
	}
	fresh, create, err := s.Identities.PrepareManaged(call.Caller.Tenant, ref.ID(), ref.Name)
	if err != nil {
		return nil, false, s.Guard.Refuse(ctx, call, need, err)
	}
	err = s.Guard.Commit(ctx, call, need, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		if _, err := group(ctx, tx, ref.GroupRef); err != nil {
			return err
		}
		if p, err = identityOf(ctx, tx, call.Caller.Tenant, ref); err != nil || p != nil {
			created = false
			return err
		}
		p, created = fresh, true
		return create(ctx, tx)
	})
	return p, created, err
}

// RemoveIdentity takes a resource's identity away, with all that it was granted. existed is false when there was none.
func (s *Service) RemoveIdentity(ctx context.Context, call *guard.Call, ref ResourceRef) (existed bool, err error) {
	at, err := ref.check()
	if err != nil {
		return false, err
	}
	need := guard.Need{Action: identityActions[ref.Type].remove, Scope: at.String(), Name: ref.Name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return false, err
	}
	err = s.Guard.Commit(ctx, call, need, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		p, err := identityOf(ctx, tx, call.Caller.Tenant, ref)
		if existed = p != nil; !existed {
			return err
		}
		return s.Identities.PrepareRemoval(p.Tenant, p.ID)(ctx, tx)
	})
	return existed, err
}

// ListIdentities lists the identities of one type of resources in a group or, without a group, in a subscription.
func (s *Service) ListIdentities(ctx context.Context, call *guard.Call, ref GroupRef, typ ResourceType) (list []*principal.Principal, err error) {
	at, err := subscriptionScope(ref.Subscription)
	if ref.Group != "" {
		at, err = ref.Scope()
	}
	if err != nil {
		return nil, err
	}
	read := identityActions[typ].read
	need := guard.Need{Action: read, Scope: at.String()}
	err = s.Guard.List(ctx, call, &need, func(sight *guard.Sight) error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			list = nil
			if err := ownSubscription(ctx, tx, call, ref.Subscription); err != nil {
				return err
			}
			all, err := identitiesUnder(ctx, tx, call.Caller.Tenant, at)
			for _, p := range all {
				if r, ok := ParseResource(p.Resource); ok && r.Type == typ {
					if scope, err := r.GroupRef.Scope(); err == nil && sight.May(read, scope) {
						list = append(list, p)
					}
				}
			}
			return err
		})
	})
	return list, err
}

// identitiesUnder lists the managed identities of resources at or below a scope.
func identitiesUnder(ctx context.Context, tx store.Tx, t vault.TenantID, at authz.Scope) ([]*principal.Principal, error) {
	all, err := tx.Principals(ctx, store.PrincipalQuery{Tenant: t, Kind: principal.ManagedIdentity})
	if err != nil {
		return nil, err
	}
	var list []*principal.Principal
	for _, p := range all {
		r, ok := ParseResource(p.Resource)
		if !ok {
			continue
		}
		if scope, err := r.GroupRef.Scope(); err == nil && at.Contains(scope) {
			list = append(list, p)
		}
	}
	return list, nil
}

// dropIdentities removes the identities of a group's resources.
func (s *Service) dropIdentities(ctx context.Context, tx store.Tx, t vault.TenantID, at authz.Scope) error {
	if s.Identities == nil {
		return nil
	}
	list, err := identitiesUnder(ctx, tx, t, at)
	if err != nil {
		return err
	}
	for _, p := range list {
		if err := s.Identities.PrepareRemoval(t, p.ID)(ctx, tx); err != nil {
			return err
		}
	}
	return nil
}

// ParseResource takes the resource id of something with an identity apart.
func ParseResource(id string) (ResourceRef, bool) {
	p := strings.Split(id, "/")
	if len(p) != 9 || p[0] != "" || !strings.EqualFold(p[1], "subscriptions") || !strings.EqualFold(p[3], "resourceGroups") || !strings.EqualFold(p[5], "providers") {
		return ResourceRef{}, false
	}
	for typ := range identityActions {
		if strings.EqualFold(p[6]+"/"+p[7], string(typ)) {
			return ResourceRef{GroupRef{vault.SubscriptionID(strings.ToLower(p[2])), p[4]}, typ, p[8]}, true
		}
	}
	return ResourceRef{}, false
}

// FromIdentity returns the identity service as Identities.
func FromIdentity(s *identity.Service) Identities { return fromIdentity{s} }

type fromIdentity struct{ *identity.Service }

// PrepareManaged implements Identities.
func (f fromIdentity) PrepareManaged(t vault.TenantID, resource, name string) (*principal.Principal, Change, error) {
	p, change, err := f.PreparePrincipal(identity.Spec{Tenant: t, Kind: principal.ManagedIdentity, Name: name, Resource: resource})
	return p, Change(change), err
}

// PrepareRemoval implements Identities.
func (f fromIdentity) PrepareRemoval(t vault.TenantID, id principal.ID) Change {
	return Change(f.PrepareDelete(t, id))
}
