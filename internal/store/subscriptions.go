package store

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// Subscriptions keeps who is told of events. What is searched has a field; the rest of a record is a document of the event service's own, in
// which secrets are sealed.
type Subscriptions interface {
	// EventSubscription finds a subscription by its id.
	EventSubscription(ctx context.Context, id string) (*EventSubscription, error)
	// EventSubscriptionByName compares names without regard to case.
	EventSubscriptionByName(ctx context.Context, t vault.TenantID, name string) (*EventSubscription, error)
	// EventSubscriptions lists in the order of ids. An empty tenant selects all.
	EventSubscriptions(ctx context.Context, t vault.TenantID) ([]*EventSubscription, error)
	// PutEventSubscription inserts a subscription of revision 0 (a taken name is a fault.Conflict) or replaces the revision that was read.
	PutEventSubscription(ctx context.Context, s *EventSubscription) error
	// DeleteEventSubscription removes a subscription. The caller has removed its deliveries.
	DeleteEventSubscription(ctx context.Context, id string) error
}

// SubscriptionChanged is a change of an event subscription; its Key is the id.
const SubscriptionChanged ChangeKind = "event-subscription"

// EventSubscription says who is told of which events.
type EventSubscription struct {
	// ID is 32 hexadecimal digits.
	ID     string
	Tenant vault.TenantID
	// Vault is empty for the events of all of the tenant's vaults.
	Vault vault.ID
	// Name is unique in the tenant without regard to case.
	Name     string
	Revision int64
	Doc      []byte
}

// Deliveries keeps what is still to be told to subscribers, and what could not be. Their changes make no journal entries: a repeated
// one does no harm, as events are delivered at least once.
type Deliveries interface {
	Delivery(ctx context.Context, k DeliveryKey) (*Delivery, error)
	// AddDelivery inserts a delivery. One that is there already is a fault.Conflict.
	AddDelivery(ctx context.Context, d *Delivery) error
	// PutDelivery replaces all but the key and the subject.
	PutDelivery(ctx context.Context, d *Delivery) error
	DeleteDelivery(ctx context.Context, k DeliveryKey) error
	// Deliveries lists a subscription's in the order of sequence numbers: those that wait, or those that are dead.
	Deliveries(ctx context.Context, q DeliveryQuery) ([]*Delivery, error)
	// DueDeliveries lists what a subscription waits for: of each subject the oldest delivery that is not dead, when its NextAt is not after
	// the instant, by NextAt and then by sequence number.
	DueDeliveries(ctx context.Context, subscription string, at time.Time, limit int) ([]*Delivery, error)
	// NextDelivery returns the earliest NextAt that DueDeliveries would look at; zero when nothing waits.
	NextDelivery(ctx context.Context, subscription string) (time.Time, error)
	// CountDeliveries counts a subscription's deliveries that wait and that are dead, each at most limit.
	CountDeliveries(ctx context.Context, subscription string, limit int) (waiting, dead int, err error)
	// DeleteDeliveries removes a subscription's deliveries, all of them or only dead ones with a NextAt before the instant, at most limit, and
	// returns how many it removed.
	DeleteDeliveries(ctx context.Context, subscription string, deadBefore time.Time, limit int) (int, error)
}

// DeliveryKey identifies a delivery. Seq grows with the order of events; it is the caller's.
type DeliveryKey struct {
	Subscription string
	Seq          int64
}

// Delivery is one event on its way to one subscriber.
type Delivery struct {
	DeliveryKey
	// Subject is what the order of deliveries is kept for.
	Subject string
	// Dead deliveries are not tried any more.
	Dead bool
	// NextAt is when a delivery is tried next, or since when it is dead.
	NextAt time.Time
	Doc    []byte
}

// DeliveryQuery selects deliveries after a sequence number.
type DeliveryQuery struct {
	Subscription string
	Dead         bool
	After        int64
	Limit        int
}

// Expiries finds versions that expire, for who tells of it. What was told is remembered with the expiry: a version whose expiry changes is
// told of again.
type Expiries interface {
	// Expiring lists live objects of a kind with their current version, when that expires at or before q.Before and q.Stage has not been told of
	// it. The order is that of expiries.
	Expiring(ctx context.Context, q ExpiryQuery) ([]ObjectVersion, error)
	// TellExpiry remembers that the version's present expiry has been told at the stage.
	TellExpiry(ctx context.Context, o vault.ObjectID, id vault.VersionID, stage ExpiryStage) error
	// SkipExpiries remembers the same, at both stages, of versions that expired at or before the instant while they were not current: at
	// most limit of them. It returns how many there were.
	SkipExpiries(ctx context.Context, before time.Time, limit int) (int, error)
}

// ExpiryStage is one of the times at which an expiry is told.
type ExpiryStage int

// The stages.
const (
	NearExpiry ExpiryStage = iota
	Expired
)

// ExpiryQuery selects versions that expire. The listing resumes after the place of a version that it gave.
type ExpiryQuery struct {
	Kind         vault.Kind
	Stage        ExpiryStage
	Before       time.Time
	AfterExpiry  time.Time
	AfterVersion vault.VersionID
	Limit        int
}
