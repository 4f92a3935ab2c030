package tenancy

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// PutSubscription makes a subscription of the caller's tenant, with an id that is drawn, when id is empty; else it renames one. Nobody
// chooses an id but the operator: that one is taken would tell of another tenant.
func (s *Service) PutSubscription(ctx context.Context, call *guard.Call, id vault.SubscriptionID, name string) (*vault.Subscription, error) {
	need := guard.Need{Action: authz.SubscriptionWrite, Scope: "/"}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	sub, err := s.newSubscription(call.Caller.Tenant, id, name)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	return sub, s.commitSubscription(ctx, call, need, sub, func(old *vault.Subscription) error {
		if id != "" && (old == nil || old.Tenant != sub.Tenant) {
			return subscriptionMissing(id)
		}
		return nil
	})
}

// FoundSubscription makes the first subscription of a tenant, when nobody is there yet who could be allowed to. Like
// FoundTenant it belongs to the operator of the machine.
func (s *Service) FoundSubscription(ctx context.Context, t vault.TenantID, id vault.SubscriptionID, name string) (*vault.Subscription, error) {
	sub, err := s.newSubscription(t, id, name)
	if err != nil {
		return nil, err
	}
	call := guard.System(t, "SubscriptionFound", s.Clock.Now())
	return sub, s.commitSubscription(ctx, call, guard.Need{Action: authz.SubscriptionWrite, Scope: "/"}, sub, func(old *vault.Subscription) error {
		if old != nil && old.Tenant != t {
			return fault.New(fault.Conflict, "the subscription id %s cannot be used: choose another", sub.ID)
		}
		return nil
	})
}

func (s *Service) newSubscription(t vault.TenantID, id vault.SubscriptionID, name string) (*vault.Subscription, error) {
	if id == "" {
		id = vault.NewSubscriptionID()
	}
	if _, err := subscriptionScope(id); err != nil {
		return nil, err
	}
	return &vault.Subscription{ID: id, Tenant: t, Name: name, Created: clock.Micro(s.Clock.Now())}, checkDisplayName("subscription", name)
}

// commitSubscription stores a subscription unless check minds the one that has its id, which is nil when there is none.
func (s *Service) commitSubscription(ctx context.Context, call *guard.Call, need guard.Need, sub *vault.Subscription,
	check func(old *vault.Subscription) error) error {
	return s.Guard.Commit(ctx, call, need, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		old, err := tx.Subscription(ctx, sub.ID)
		if fault.Is(err, fault.NotFound) {
			old, err = nil, nil
		}
		if err == nil {
			err = check(old)
		}
		if err != nil {
			return err
		}
		if old != nil {
			sub.Created = old.Created
		}
		return tx.PutSubscription(ctx, sub)
	})
}

// Subscription finds a subscription that the caller may see.
func (s *Service) Subscription(ctx context.Context, call *guard.Call, id vault.SubscriptionID) (found *vault.Subscription, err error) {
	at, err := subscriptionScope(id)
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.SubscriptionRead, Scope: at.String()}
	err = s.Guard.List(ctx, call, &need, func(sight *guard.Sight) error {
		return s.Store.View(ctx, func(tx store.Tx) (err error) {
			found, err = tx.Subscription(ctx, id)
			if fault.Is(err, fault.NotFound) || err == nil && (found.Tenant != call.Caller.Tenant || !sees(sight, at)) {
				return subscriptionMissing(id)
			}
			return err
		})
	})
	return found, err
}

func subscriptionMissing(id vault.SubscriptionID) error {
	return fault.New(fault.NotFound, "the subscription %q could not be found: check its id and the tenant that you signed in to", id).
		Because(SubscriptionNotFound)
}

// sees reports whether the caller may see the subscription or holds anything in it: clients have to find the way there.
func sees(sight *guard.Sight, at authz.Scope) bool {
	return sight.May(authz.SubscriptionRead, at) || sight.Holds(at)
}

// Subscriptions lists the subscriptions that the caller may see or holds anything in.
func (s *Service) Subscriptions(ctx context.Context, call *guard.Call) (list []*vault.Subscription, err error) {
	need := guard.Need{Action: authz.SubscriptionRead, Scope: "/"}
	err = s.Guard.List(ctx, call, &need, func(sight *guard.Sight) error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			all, err := tx.Subscriptions(ctx, call.Caller.Tenant)
			list = nil
			for _, sub := range all {
				if sees(sight, authz.SubscriptionScope(sub.ID)) {
					list = append(list, sub)
				}
			}
			return err
		})
	})
	return list, err
}
