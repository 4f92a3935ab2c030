package event

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Sealer encrypts the secrets of subscriptions; the keyring is one.
type Sealer interface {
	SealFor(ctx context.Context, t vault.TenantID, purpose, id string, plain []byte) (vault.Envelope, error)
	OpenFor(ctx context.Context, t vault.TenantID, purpose, id string, e vault.Envelope) ([]byte, error)
}

// Links are the URLs and names that events tell to the outside.
type Links struct {
	// Vault returns a vault's URL, without a slash at its end.
	Vault func(name string) string
	// Validation returns where a handshake is confirmed by hand: a request to it must lead to Service.Validate.
	Validation func(id, code string) string
	// Origin is the DNS name by which this installation introduces itself to CloudEvents endpoints.
	Origin string
}

// Config makes a Service. Store, Keys, Clock and Links are required.
type Config struct {
	Store   store.Store
	Keys    Sealer
	Clock   clock.Clock
	Links   Links
	Network Network
	// Logger discards when nil.
	Logger *slog.Logger
	// Fence is asked in each transaction of the work in the background, and fails when another node does it by now. Nil never does.
	Fence func(context.Context, store.Tx) error
	// Jitter returns a random duration below its argument; nil means a uniform one.
	Jitter func(time.Duration) time.Duration
}

// Service keeps subscriptions and delivers events. It asks nobody whether the caller may.
type Service struct {
	Config
	dispatcher dispatcher
	counters   counters
}

// New checks the configuration. The caller hooks Changed to the store's commits and then calls Start.
func New(c Config) (*Service, error) {
	if c.Store == nil || c.Keys == nil || c.Clock == nil || c.Links.Vault == nil || c.Links.Validation == nil || c.Links.Origin == "" {
		return nil, errors.New("the event service needs a store, keys, a clock and links")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Jitter == nil {
		c.Jitter = func(d time.Duration) time.Duration {
			if d <= 0 {
				return 0
			}
			return rand.N(d)
		}
	}
	s := &Service{Config: c}
	s.dispatcher.init()
	return s, nil
}

// Prepare checks what is asked for, seals its secrets, and returns the record to be stored. After it was committed, Handshake
// makes the subscription active.
func (s *Service) Prepare(ctx context.Context, spec Spec) (*store.EventSubscription, error) {
	sub, secret, err := s.check(&spec)
	if err != nil {
		return nil, err
	}
	now := clock.Micro(s.Clock.Now())
	sub.ID = string(vault.NewObjectID(now))
	sub.Created, sub.Since, sub.State = now, now, Creating
	if sub.Sealed, err = s.seal(ctx, sub, secret); err != nil {
		return nil, err
	}
	return sub.row()
}

// Get returns a subscription of the tenant by its name.
func (s *Service) Get(ctx context.Context, t vault.TenantID, name string) (sub *Subscription, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		row, err := tx.EventSubscriptionByName(ctx, t, name)
		if fault.Is(err, fault.NotFound) {
			return fault.New(fault.NotFound, "there is no event subscription %q: list those that there are", name)
		}
		if err == nil {
			sub, err = fromRow(row)
		}
		return err
	})
	return sub, err
}

// List returns the subscriptions of a tenant in the order of their creation.
func (s *Service) List(ctx context.Context, t vault.TenantID) (list []*Subscription, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		list, err = subscriptions(ctx, tx, t)
		return err
	})
	return list, err
}

func subscriptions(ctx context.Context, tx store.Tx, t vault.TenantID) (list []*Subscription, err error) {
	rows, err := tx.EventSubscriptions(ctx, t)
	for _, row := range rows {
		sub, err := fromRow(row)
		if err != nil {
			return nil, err
		}
		list = append(list, sub)
	}
	return list, err
}

// MarkDeleting returns the record of a subscription that gets no more events. Once it is stored, Remove does the rest.
func MarkDeleting(row *store.EventSubscription, now time.Time) (*store.EventSubscription, error) {
	sub, err := fromRow(row)
	if err != nil {
		return nil, err
	}
	sub.State, sub.Since = Deleting, now
	return sub.row()
}

// removeAtOnce bounds the deliveries that one transaction removes, so that writers wait for milliseconds only.
const removeAtOnce = 1000

// Remove removes a subscription with all of its deliveries. What it leaves after an error, the next call or the next Sweep removes.
func (s *Service) Remove(ctx context.Context, id string) error {
	for {
		removed := 0
		err := s.update(ctx, func(tx store.Tx) (err error) {
			if removed, err = tx.DeleteDeliveries(ctx, id, time.Time{}, removeAtOnce); err != nil || removed > 0 {
				return err
			}
			return tx.DeleteEventSubscription(ctx, id)
		})
		if err != nil || removed == 0 {
			return err
		}
	}
}

func (s *Service) update(ctx context.Context, fn func(tx store.Tx) error) error {
	return s.Store.Update(ctx, store.NewOp(s.Clock.Now()), fn)
}

// updateInTurn is update for the work in the background.
func (s *Service) updateInTurn(ctx context.Context, fn func(tx store.Tx) error) error {
	return s.update(ctx, func(tx store.Tx) error {
		if s.Fence != nil {
			if err := s.Fence(ctx, tx); err != nil {
				return err
			}
		}
		return fn(tx)
	})
}

// change applies fn to the stored subscription.
func (s *Service) change(ctx context.Context, id string, fn func(*Subscription) error) (sub *Subscription, err error) {
	err = s.update(ctx, func(tx store.Tx) error {
		row, err := tx.EventSubscription(ctx, id)
		if err != nil {
			return err
		}
		if sub, err = fromRow(row); err != nil {
			return err
		}
		if err := fn(sub); err != nil {
			return err
		}
		if row, err = sub.row(); err != nil {
			return err
		}
		return tx.PutEventSubscription(ctx, row)
	})
	return sub, err
}

// Usage says how many deliveries of a subscription wait and are dead, each up to usageLimit.
type Usage struct{ Waiting, Dead int }

const usageLimit = 100000

// Usage counts a subscription's deliveries.
func (s *Service) Usage(ctx context.Context, id string) (u Usage, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		u.Waiting, u.Dead, err = tx.CountDeliveries(ctx, id, usageLimit)
		return err
	})
	return u, err
}

// DeadLetters lists the events that could not be delivered, after a sequence number.
func (s *Service) DeadLetters(ctx context.Context, id string, after int64, limit int) (list []DeadLetter, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		rows, err := tx.Deliveries(ctx, store.DeliveryQuery{Subscription: id, Dead: true, After: after, Limit: limit})
		for _, row := range rows {
			p, err := opened(row)
			if err != nil {
				return err
			}
			list = append(list, p.deadLetter(row.Seq))
		}
		return err
	})
	return list, err
}

// replayAtOnce bounds the dead letters that one transaction brings back.
const replayAtOnce = 256

// Replay delivers dead letters again, as if they were new: one of them, or all when seq is 0. It returns how many there were. To be called
// in a transaction of the caller's, who records it.
func (s *Service) Replay(ctx context.Context, tx store.Tx, id string, seq int64, now time.Time) (int, error) {
	q := store.DeliveryQuery{Subscription: id, Dead: true, Limit: replayAtOnce}
	if seq != 0 {
		q.After, q.Limit = seq-1, 1
	}
	rows, err := tx.Deliveries(ctx, q)
	if err != nil {
		return 0, err
	}
	if seq != 0 && (len(rows) == 0 || rows[0].Seq != seq) {
		return 0, fault.New(fault.NotFound, "the subscription has no dead letter %d: list those that it has", seq)
	}
	for _, row := range rows {
		p, err := opened(row)
		if err != nil {
			return 0, err
		}
		p.Published, p.Attempts, p.Reason = now, 0, ""
		d := *row
		d.Dead, d.NextAt = false, now
		if err := p.into(&d); err != nil {
			return 0, err
		}
		if err := tx.PutDelivery(ctx, &d); err != nil {
			return 0, err
		}
	}
	return len(rows), nil
}

// deadKept is how long dead letters are kept.
const deadKept = 30 * 24 * time.Hour

// Sweep removes dead letters that are too old and the subscriptions of purged vaults, ends handshakes that nobody confirmed, and finishes
// removals. It is a background job.
func (s *Service) Sweep(ctx context.Context) error {
	var list []*Subscription
	orphans := make(map[string]bool)
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		clear(orphans)
		if list, err = subscriptions(ctx, tx, ""); err != nil {
			return err
		}
		for _, sub := range list {
			if sub.Vault == "" {
				continue
			}
			if _, err := tx.Vault(ctx, sub.Vault); fault.Is(err, fault.NotFound) {
				orphans[sub.ID] = true
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	now := s.Clock.Now()
	for _, sub := range list {
		switch {
		case sub.State == Deleting, orphans[sub.ID]:
			err = errors.Join(err, s.Remove(ctx, sub.ID))
			continue
		case (sub.State == Awaiting || sub.State == Creating) && now.After(sub.Since.Add(validationTime+answerTimeout)):
			_, e := s.change(ctx, sub.ID, func(sub *Subscription) error { return sub.fail("nobody confirmed the handshake in time", now) })
			err = errors.Join(err, e)
		}
		err = errors.Join(err, s.sweepDead(ctx, sub.ID, now.Add(-deadKept)))
	}
	return err
}

func (s *Service) sweepDead(ctx context.Context, id string, before time.Time) error {
	for {
		removed := 0
		err := s.update(ctx, func(tx store.Tx) (err error) {
			removed, err = tx.DeleteDeliveries(ctx, id, before, removeAtOnce)
			return err
		})
		if err != nil || removed < removeAtOnce {
			return err
		}
	}
}

func (sub *Subscription) fail(why string, now time.Time) error {
	if sub.State != Awaiting && sub.State != Creating {
		return nil // it was confirmed, or is being deleted, meanwhile
	}
	sub.State, sub.Detail, sub.Since, sub.Code = Failed, why, clock.Micro(now), nil
	return nil
}

func (sub *Subscription) String() string { return fmt.Sprintf("event subscription %q", sub.Name) }
