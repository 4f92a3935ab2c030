package tenancy

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Vault finds a live vault.
func (s *Service) Vault(ctx context.Context, call *guard.Call, ref VaultRef) (v *vault.Vault, err error) {
	at, err := ref.Scope()
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.VaultRead, Scope: at.String()}
	err = s.Guard.Read(ctx, call, &need, func() error {
		v, err = s.existing(ctx, call, ref)
		if v == nil && (err == nil || fault.Is(err, fault.Conflict)) {
			return vaultNotFound(ref)
		}
		return err
	})
	return v, err
}

// Page selects a part of a listing: at most Limit entries behind the key After. A Limit of 0 means all.
type Page struct {
	After string
	Limit int
}

// Vaults is a page of vaults. Next is the key behind which the listing goes on; empty at its end.
type Vaults struct {
	Vaults []*vault.Vault
	Next   string
}

// ListVaults lists the live vaults of a subscription, or of one of its groups, that the caller may see, by name.
func (s *Service) ListVaults(ctx context.Context, call *guard.Call, ref GroupRef, p Page) (Vaults, error) {
	return s.listVaults(ctx, call, ref, p, false)
}

// ListDeletedVaults lists the deleted vaults of a subscription.
func (s *Service) ListDeletedVaults(ctx context.Context, call *guard.Call, id vault.SubscriptionID, p Page) (Vaults, error) {
	return s.listVaults(ctx, call, GroupRef{Subscription: id}, p, true)
}

func (s *Service) listVaults(ctx context.Context, call *guard.Call, ref GroupRef, p Page, gone bool) (list Vaults, err error) {
	at, err := subscriptionScope(ref.Subscription)
	if ref.Group != "" {
		at, err = ref.Scope()
	}
	if err != nil {
		return Vaults{}, err
	}
	need := guard.Need{Action: authz.VaultRead, Scope: at.String()}
	if gone {
		need.Action = authz.DeletedVaultRead
	}
	err = s.Guard.List(ctx, call, &need, func(sight *guard.Sight) error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			list = Vaults{}
			if err := ownSubscription(ctx, tx, call, ref.Subscription); err != nil {
				return err
			}
			if ref.Group != "" {
				if _, err := group(ctx, tx, ref); err != nil {
					return err
				}
			}
			q := store.VaultQuery{Tenant: call.Caller.Tenant, Subscription: ref.Subscription, ResourceGroup: ref.Group, Deleted: gone, After: p.After}
			return list.fill(ctx, tx, q, p.Limit, func(v *vault.Vault) bool {
				if gone {
					return seesDeleted(sight, ref.Subscription)
				}
				return sight.May(authz.VaultRead, authz.VaultScope(v))
			})
		})
	})
	return list, err
}

// fill reads on until the page is full of vaults that may be seen.
func (l *Vaults) fill(ctx context.Context, tx store.Tx, q store.VaultQuery, limit int, seen func(*vault.Vault) bool) error {
	q.Limit = listBatch
	for {
		batch, err := tx.Vaults(ctx, q)
		if err != nil {
			return err
		}
		for _, v := range batch {
			q.After = vault.NameKey(v.Name)
			if !seen(v) {
				continue
			}
			if limit > 0 && len(l.Vaults) == limit {
				l.Next = vault.NameKey(l.Vaults[limit-1].Name)
				return nil
			}
			l.Vaults = append(l.Vaults, v)
		}
		if len(batch) < q.Limit {
			return nil
		}
	}
}

// listBatch is how many vaults are read at once.
const listBatch = 200

// DeletedVault finds a deleted vault of a subscription and location.
func (s *Service) DeletedVault(ctx context.Context, call *guard.Call, id vault.SubscriptionID, location, name string) (v *vault.Vault, err error) {
	need, err := deletedNeed(authz.DeletedVaultReadAt, id, name)
	if err != nil {
		return nil, err
	}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) (err error) {
			v, err = deletedVault(ctx, tx, call.Caller.Tenant, id, location, name)
			return err
		})
	})
	return v, err
}

// DeletedVaultByName finds a deleted vault of the caller's tenant, wherever it was, that the caller may see.
func (s *Service) DeletedVaultByName(ctx context.Context, call *guard.Call, name string) (v *vault.Vault, err error) {
	need := guard.Need{Action: authz.DeletedVaultRead, Scope: "/"}
	err = s.Guard.List(ctx, call, &need, func(sight *guard.Sight) error {
		return s.Store.View(ctx, func(tx store.Tx) (err error) {
			v, err = tx.VaultByName(ctx, name)
			if fault.Is(err, fault.NotFound) || err == nil && (v.Deleted == nil || v.Tenant != call.Caller.Tenant || !seesDeleted(sight, v.Subscription)) {
				return fault.New(fault.NotFound, "there is no deleted vault %q: list the deleted vaults to see those that you may recover", fault.Clip(name)).
					Because(DeletedVaultNotFound)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return v, nil
}

func seesDeleted(sight *guard.Sight, id vault.SubscriptionID) bool {
	at := authz.SubscriptionScope(id)
	return sight.May(authz.DeletedVaultRead, at) || sight.May(authz.DeletedVaultReadAt, at)
}

func deletedNeed(a authz.Action, id vault.SubscriptionID, name string) (guard.Need, error) {
	at, err := subscriptionScope(id)
	if err == nil {
		err = vault.CheckName(name)
	}
	return guard.Need{Action: a, Scope: at.String()}, err
}

func deletedVault(ctx context.Context, tx store.Tx, t vault.TenantID, id vault.SubscriptionID, location, name string) (*vault.Vault, error) {
	v, err := tx.VaultByName(ctx, name)
	if fault.Is(err, fault.NotFound) || err == nil && (v.Deleted == nil || v.Tenant != t || v.Subscription != id || v.Location != Location(location)) {
		return nil, deletedVaultNotFound(name, location)
	}
	return v, err
}

func deletedVaultNotFound(name, location string) error {
	return fault.New(fault.NotFound, "the specified deleted vault '%s' does not exist in the location '%s': check both, and the subscription",
		name, fault.Clip(location)).Because(DeletedVaultNotFound)
}

// Availability says whether a name can be had. Reason and Message are empty when it can.
type Availability struct {
	Reason  fault.Reason
	Message string
}

// CheckName says whether a vault can have the name.
func (s *Service) CheckName(ctx context.Context, call *guard.Call, id vault.SubscriptionID, name string) (a Availability, err error) {
	at, err := subscriptionScope(id)
	if err != nil {
		return a, err
	}
	need := guard.Need{Action: authz.VaultCheckName, Scope: at.String()}
	err = s.Guard.Read(ctx, call, &need, func() error {
		if err := vault.CheckName(name); err != nil {
			a = Availability{"AccountNameInvalid", fault.As(err).Message}
			return nil
		}
		return s.Store.View(ctx, func(tx store.Tx) error {
			_, err := tx.VaultByName(ctx, name)
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			if err == nil {
				a = Availability{"AlreadyExists", fault.As(taken(name)).Message}
			}
			return err
		})
	})
	return a, err
}
