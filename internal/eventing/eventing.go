// Package eventing is the service by which people say who is told of the events of a vault: it authorises and records what
// package event does. Subscriptions are made, removed and looked at with the actions that Event Grid's resources have in Azure, at the
// vault's scope.
package eventing

import (
	"context"
	"errors"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/event"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Config makes a Service. Everything is required.
type Config struct {
	Guard  *guard.Guard
	Store  store.Store
	Events *event.Service
}

// Service manages subscriptions.
type Service struct{ Config }

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Events == nil {
		return nil, errors.New("the eventing service needs a guard, a store and the event service")
	}
	return &Service{c}, nil
}

// NotFound is the reason when there is no such subscription.
const NotFound fault.Reason = "EventSubscriptionNotFound"

// Subscription is a subscription and how its deliveries are.
type Subscription struct {
	*event.Subscription
	event.Usage
}

func need(a authz.Action, v *vault.Vault, name string) guard.Need {
	return guard.Need{Action: a, Scope: authz.VaultScope(v).String(), Name: name}
}

// Create makes a subscription to the events of a vault and asks its endpoint whether it wants them. One that refuses leaves nothing behind;
// one that neither refuses nor agrees leaves a subscription that awaits its confirmation. A taken name is a fault.Conflict.
func (s *Service) Create(ctx context.Context, call *guard.Call, v *vault.Vault, spec event.Spec) (*Subscription, error) {
	n := need(authz.EventSubscriptionWrite, v, spec.Name)
	if err := s.Guard.Authorize(ctx, call, &n); err != nil {
		return nil, err
	}
	spec.Tenant, spec.Vault = v.Tenant, v.ID
	row, err := s.Events.Prepare(ctx, spec)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, n, err)
	}
	err = s.Guard.Commit(ctx, call, n, store.NewOp(call.Started), func(tx store.Tx) error {
		if _, err := tx.EventSubscriptionByName(ctx, v.Tenant, spec.Name); err == nil {
			return fault.New(fault.Conflict, "there is an event subscription %q in this tenant already: choose another name, or delete that one", spec.Name)
		} else if !fault.Is(err, fault.NotFound) {
			return err
		}
		return tx.PutEventSubscription(ctx, row)
	})
	if err != nil {
		return nil, err
	}
	sub, err := s.Events.Handshake(ctx, row.ID)
	if err != nil {
		// Nobody can use what failed, and the name is free for the next try. Should this fail too, the sweep ends the subscription.
		return nil, errors.Join(err, s.Events.Remove(context.WithoutCancel(ctx), row.ID))
	}
	return &Subscription{Subscription: sub}, nil
}

// find reads a subscription of the vault.
func (s *Service) find(ctx context.Context, v *vault.Vault, name string) (*event.Subscription, error) {
	sub, err := s.Events.Get(ctx, v.Tenant, name)
	if fault.Is(err, fault.NotFound) || err == nil && sub.Vault != v.ID {
		return nil, noSubscription(v, name)
	}
	return sub, err
}

func noSubscription(v *vault.Vault, name string) error {
	return fault.New(fault.NotFound, "the vault %q has no event subscription %q: list those that it has", v.Name, name).Because(NotFound)
}

// row reads the stored subscription within a change.
func row(ctx context.Context, tx store.Tx, v *vault.Vault, name string) (*store.EventSubscription, error) {
	r, err := tx.EventSubscriptionByName(ctx, v.Tenant, name)
	if fault.Is(err, fault.NotFound) || err == nil && r.Vault != v.ID {
		return nil, noSubscription(v, name)
	}
	return r, err
}

// Get shows a subscription.
func (s *Service) Get(ctx context.Context, call *guard.Call, v *vault.Vault, name string) (out *Subscription, err error) {
	n := need(authz.EventSubscriptionRead, v, name)
	err = s.Guard.Read(ctx, call, &n, func() error {
		sub, err := s.find(ctx, v, name)
		if err != nil {
			return err
		}
		out, err = s.used(ctx, sub)
		return err
	})
	return out, err
}

func (s *Service) used(ctx context.Context, sub *event.Subscription) (*Subscription, error) {
	u, err := s.Events.Usage(ctx, sub.ID)
	return &Subscription{sub, u}, err
}

// List lists the subscriptions to the events of a vault.
func (s *Service) List(ctx context.Context, call *guard.Call, v *vault.Vault) (list []*Subscription, err error) {
	n := need(authz.EventSubscriptionRead, v, "")
	err = s.Guard.Read(ctx, call, &n, func() error {
		all, err := s.Events.List(ctx, v.Tenant)
		for _, sub := range all {
			if sub.Vault != v.ID {
				continue
			}
			one, err := s.used(ctx, sub)
			if err != nil {
				return err
			}
			list = append(list, one)
		}
		return err
	})
	return list, err
}

// Delete removes a subscription with everything that was still to be delivered.
func (s *Service) Delete(ctx context.Context, call *guard.Call, v *vault.Vault, name string) error {
	n := need(authz.EventSubscriptionDelete, v, name)
	if err := s.Guard.Authorize(ctx, call, &n); err != nil {
		return err
	}
	id, op := "", store.NewOp(call.Started)
	err := s.Guard.Commit(ctx, call, n, op, func(tx store.Tx) error {
		r, err := row(ctx, tx, v, name)
		if err != nil {
			return err
		}
		id = r.ID
		if r, err = event.MarkDeleting(r, op.At); err != nil {
			return err
		}
		return tx.PutEventSubscription(ctx, r)
	})
	if err != nil {
		return err
	}
	return s.Events.Remove(ctx, id)
}

// Validate repeats the handshake with a subscription's endpoint.
func (s *Service) Validate(ctx context.Context, call *guard.Call, v *vault.Vault, name string) (*Subscription, error) {
	n := need(authz.EventSubscriptionWrite, v, name)
	if err := s.Guard.Authorize(ctx, call, &n); err != nil {
		return nil, err
	}
	id := ""
	err := s.Guard.Commit(ctx, call, n, store.NewOp(call.Started), func(tx store.Tx) error {
		r, err := row(ctx, tx, v, name)
		if err == nil {
			id = r.ID
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	sub, err := s.Events.Handshake(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.used(ctx, sub)
}

// DeadLetters lists what could not be delivered to a subscriber, after a sequence number.
func (s *Service) DeadLetters(ctx context.Context, call *guard.Call, v *vault.Vault, name string, after int64, limit int) (list []event.DeadLetter, err error) {
	n := need(authz.EventSubscriptionRead, v, name)
	err = s.Guard.Read(ctx, call, &n, func() error {
		sub, err := s.find(ctx, v, name)
		if err != nil {
			return err
		}
		list, err = s.Events.DeadLetters(ctx, sub.ID, after, limit)
		return err
	})
	return list, err
}

// Replay delivers dead letters again: one, or when seq is 0 as many as one transaction takes. It returns how many there were.
func (s *Service) Replay(ctx context.Context, call *guard.Call, v *vault.Vault, name string, seq int64) (count int, err error) {
	n := need(authz.EventSubscriptionWrite, v, name)
	if err := s.Guard.Authorize(ctx, call, &n); err != nil {
		return 0, err
	}
	op := store.NewOp(call.Started)
	err = s.Guard.Commit(ctx, call, n, op, func(tx store.Tx) error {
		r, err := row(ctx, tx, v, name)
		if err != nil {
			return err
		}
		count, err = s.Events.Replay(ctx, tx, r.ID, seq, op.At)
		return err
	})
	s.Events.Wake()
	return count, err
}
