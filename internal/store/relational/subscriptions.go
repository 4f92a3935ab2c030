package relational

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// subscriptionSchema is the step of the schema that makes room for subscriptions, deliveries, and what was told of expiries. A delivery is
// the head of its subject when no older one waits. Versions without an expiry are in neither of their new indexes, and those of
// which all is told leave them.
const subscriptionSchema = `
CREATE TABLE event_subscriptions (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, vault TEXT NOT NULL, name_key TEXT NOT NULL, name TEXT NOT NULL,
  revision INTEGER NOT NULL, doc BLOB);
CREATE UNIQUE INDEX event_subscriptions_name ON event_subscriptions (tenant, name_key);

CREATE TABLE deliveries (subscription TEXT NOT NULL, seq INTEGER NOT NULL, subject TEXT NOT NULL, dead INTEGER NOT NULL, head INTEGER NOT NULL,
  next_at INTEGER NOT NULL, doc BLOB);
CREATE UNIQUE INDEX deliveries_seq ON deliveries (subscription, dead, seq);
CREATE INDEX deliveries_subject ON deliveries (subscription, subject, seq) WHERE dead = 0;
CREATE INDEX deliveries_due ON deliveries (subscription, next_at, seq) WHERE head = 1;

ALTER TABLE versions ADD COLUMN near_told INTEGER;
ALTER TABLE versions ADD COLUMN expired_told INTEGER;
CREATE INDEX versions_near ON versions (expires, id) WHERE expires IS NOT NULL AND near_told IS DISTINCT FROM expires;
CREATE INDEX versions_expired ON versions (expires, id) WHERE expires IS NOT NULL AND expired_told IS DISTINCT FROM expires;
`

const subscriptionColumns = "SELECT id, tenant, vault, name, revision, doc FROM event_subscriptions "

func (t *Tx) eventSubscriptions(ctx context.Context, condition string, args ...any) ([]*store.EventSubscription, error) {
	var list []*store.EventSubscription
	err := t.query(ctx, subscriptionColumns+condition, args, func(r Row) error {
		list = append(list, &store.EventSubscription{ID: r.Text(0), Tenant: vault.TenantID(r.Text(1)), Vault: vault.ID(r.Text(2)), Name: r.Text(3),
			Revision: r.Integer(4), Doc: r.Blob(5)})
		return nil
	})
	return list, err
}

func (t *Tx) eventSubscription(ctx context.Context, key, condition string, args ...any) (*store.EventSubscription, error) {
	list, err := t.eventSubscriptions(ctx, condition, args...)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, notFound("event subscription", key)
	}
	return list[0], nil
}

// EventSubscription implements store.Subscriptions.
func (t *Tx) EventSubscription(ctx context.Context, id string) (*store.EventSubscription, error) {
	return t.eventSubscription(ctx, id, "WHERE id = ?", id)
}

// EventSubscriptionByName implements store.Subscriptions.
func (t *Tx) EventSubscriptionByName(ctx context.Context, tenant vault.TenantID, name string) (*store.EventSubscription, error) {
	return t.eventSubscription(ctx, name, "WHERE tenant = ? AND name_key = ?", string(tenant), fold(name))
}

// EventSubscriptions implements store.Subscriptions.
func (t *Tx) EventSubscriptions(ctx context.Context, tenant vault.TenantID) ([]*store.EventSubscription, error) {
	return t.eventSubscriptions(ctx, "WHERE ?1 = '' OR tenant = ?1 ORDER BY id", string(tenant))
}

// PutEventSubscription implements store.Subscriptions.
func (t *Tx) PutEventSubscription(ctx context.Context, s *store.EventSubscription) error {
	ch := notingEventSubscription(s.Tenant, s.Vault, s.ID)
	var err error
	if s.Revision > 0 {
		err = t.swap(ctx, ch, "event subscription", s.Name, `UPDATE event_subscriptions SET tenant = ?, vault = ?, name_key = ?, name = ?, doc = ?,
			revision = revision + 1 WHERE id = ? AND revision = ?`,
			string(s.Tenant), string(s.Vault), fold(s.Name), s.Name, s.Doc, s.ID, s.Revision)
	} else {
		_, err = t.put(ctx, ch, "INSERT INTO event_subscriptions (id, tenant, vault, name_key, name, revision, doc) VALUES (?, ?, ?, ?, ?, 1, ?)",
			s.ID, string(s.Tenant), string(s.Vault), fold(s.Name), s.Name, s.Doc)
	}
	if taken(err) {
		return &fault.Error{Kind: fault.Conflict, Reason: store.StaleRevision, Err: err,
			Message: fmt.Sprintf("there is an event subscription %q already: choose another name, or change that one", s.Name)}
	}
	return err
}

// DeleteEventSubscription implements store.Subscriptions.
func (t *Tx) DeleteEventSubscription(ctx context.Context, id string) error {
	s, err := t.EventSubscription(ctx, id)
	if err != nil {
		return err
	}
	return t.mustChange(ctx, notingEventSubscription(s.Tenant, s.Vault, id), "event subscription", id, "DELETE FROM event_subscriptions WHERE id = ?", id)
}

func notingEventSubscription(tenant vault.TenantID, v vault.ID, id string) change {
	return noting(store.Change{Kind: store.SubscriptionChanged, Tenant: tenant, Vault: v, Key: id})
}

const deliveryColumns = "SELECT subscription, seq, subject, dead, next_at, doc FROM deliveries "

func (t *Tx) deliveries(ctx context.Context, condition string, args ...any) ([]*store.Delivery, error) {
	var list []*store.Delivery
	err := t.query(ctx, deliveryColumns+condition, args, func(r Row) error {
		list = append(list, &store.Delivery{DeliveryKey: store.DeliveryKey{Subscription: r.Text(0), Seq: r.Integer(1)}, Subject: r.Text(2),
			Dead: r.Bool(3), NextAt: r.Instant(4), Doc: r.Blob(5)})
		return nil
	})
	return list, err
}

// Delivery implements store.Deliveries.
func (t *Tx) Delivery(ctx context.Context, k store.DeliveryKey) (*store.Delivery, error) {
	list, err := t.deliveries(ctx, "WHERE subscription = ? AND dead IN (0, 1) AND seq = ?", k.Subscription, k.Seq)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, notFound("delivery", k.Seq)
	}
	return list[0], nil
}

// AddDelivery implements store.Deliveries.
func (t *Tx) AddDelivery(ctx context.Context, d *store.Delivery) error {
	_, err := t.Delivery(ctx, d.DeliveryKey)
	if err == nil {
		return fault.New(fault.Conflict, "the delivery %d of the subscription %s exists already", d.Seq, d.Subscription)
	}
	if !fault.Is(err, fault.NotFound) {
		return err
	}
	if _, err := t.put(ctx, silent, "INSERT INTO deliveries (subscription, seq, subject, dead, head, next_at, doc) VALUES (?, ?, ?, ?, 0, ?, ?)",
		d.Subscription, d.Seq, d.Subject, d.Dead, d.NextAt.UnixMicro(), d.Doc); err != nil {
		return err
	}
	return t.findHead(ctx, d.Subscription, d.Subject)
}

// PutDelivery implements store.Deliveries.
func (t *Tx) PutDelivery(ctx context.Context, d *store.Delivery) error {
	if err := t.mustChange(ctx, silent, "delivery", d.Seq, "UPDATE deliveries SET dead = ?, next_at = ?, doc = ? WHERE subscription = ? AND dead IN (0, 1) AND seq = ?",
		d.Dead, d.NextAt.UnixMicro(), d.Doc, d.Subscription, d.Seq); err != nil {
		return err
	}
	return t.findHead(ctx, d.Subscription, d.Subject)
}

// DeleteDelivery implements store.Deliveries.
func (t *Tx) DeleteDelivery(ctx context.Context, k store.DeliveryKey) error {
	d, err := t.Delivery(ctx, k)
	if err != nil {
		return err
	}
	if err := t.mustChange(ctx, silent, "delivery", k.Seq, "DELETE FROM deliveries WHERE subscription = ? AND dead = ? AND seq = ?", k.Subscription, d.Dead, k.Seq); err != nil {
		return err
	}
	return t.findHead(ctx, k.Subscription, d.Subject)
}

// findHead makes the oldest delivery of a subject that waits its head, and no other.
func (t *Tx) findHead(ctx context.Context, subscription, subject string) error {
	const oldest = "(SELECT min(seq) FROM deliveries WHERE subscription = ?1 AND subject = ?2 AND dead = 0)"
	if err := t.arrange(ctx, `UPDATE deliveries SET head = 0 WHERE subscription = ?1 AND (dead, seq) IN (SELECT dead, seq FROM deliveries
		WHERE subscription = ?1 AND subject = ?2 AND head = 1 AND (dead = 1 OR seq IS DISTINCT FROM `+oldest+`))`, subscription, subject); err != nil {
		return err
	}
	return t.arrange(ctx, "UPDATE deliveries SET head = 1 WHERE subscription = ?1 AND dead = 0 AND head = 0 AND seq = "+oldest, subscription, subject)
}

// Deliveries implements store.Deliveries.
func (t *Tx) Deliveries(ctx context.Context, q store.DeliveryQuery) ([]*store.Delivery, error) {
	return t.deliveries(ctx, "WHERE subscription = ? AND dead = ? AND seq > ? ORDER BY seq LIMIT ?", q.Subscription, q.Dead, q.After, limit(q.Limit))
}

// DueDeliveries implements store.Deliveries.
func (t *Tx) DueDeliveries(ctx context.Context, subscription string, at time.Time, n int) ([]*store.Delivery, error) {
	return t.deliveries(ctx, "WHERE subscription = ? AND head = 1 AND next_at <= ? ORDER BY next_at, seq LIMIT ?", subscription, at.UnixMicro(), limit(n))
}

// NextDelivery implements store.Deliveries.
func (t *Tx) NextDelivery(ctx context.Context, subscription string) (next time.Time, err error) {
	_, err = t.one(ctx, "SELECT next_at FROM deliveries WHERE subscription = ? AND head = 1 ORDER BY next_at LIMIT 1", []any{subscription},
		func(r Row) { next = r.Instant(0) })
	return next, err
}

// CountDeliveries implements store.Deliveries.
func (t *Tx) CountDeliveries(ctx context.Context, subscription string, n int) (waiting, dead int, err error) {
	for value, count := range []*int{&waiting, &dead} {
		_, err := t.one(ctx, "SELECT count(*) FROM (SELECT 1 FROM deliveries WHERE subscription = ? AND dead = ? LIMIT ?) AS counted",
			[]any{subscription, value, limit(n)}, func(r Row) { *count = int(r.Integer(0)) })
		if err != nil {
			return 0, 0, err
		}
	}
	return waiting, dead, nil
}

// DeleteDeliveries implements store.Deliveries.
func (t *Tx) DeleteDeliveries(ctx context.Context, subscription string, deadBefore time.Time, n int) (int, error) {
	var removed int64
	var err error
	if deadBefore.IsZero() {
		removed, err = t.write(ctx, silent, `DELETE FROM deliveries WHERE subscription = ?1 AND (dead, seq) IN
			(SELECT dead, seq FROM deliveries WHERE subscription = ?1 LIMIT ?2)`, subscription, limit(n))
	} else {
		removed, err = t.write(ctx, silent, `DELETE FROM deliveries WHERE subscription = ?1 AND dead = 1 AND seq IN
			(SELECT seq FROM deliveries WHERE subscription = ?1 AND dead = 1 AND next_at < ?2 LIMIT ?3)`, subscription, deadBefore.UnixMicro(), limit(n))
	}
	return int(removed), err
}

// untold are the conditions of the two indexes, which a query has to repeat for SQLite to use them.
var untold = map[store.ExpiryStage]string{
	store.NearExpiry: "v.expires IS NOT NULL AND v.near_told IS DISTINCT FROM v.expires",
	store.Expired:    "v.expires IS NOT NULL AND v.expired_told IS DISTINCT FROM v.expires",
}

// Expiring implements store.Expiries.
func (t *Tx) Expiring(ctx context.Context, q store.ExpiryQuery) ([]store.ObjectVersion, error) {
	var after int64
	if !q.AfterExpiry.IsZero() {
		after = q.AfterExpiry.UnixMicro()
	}
	var list []store.ObjectVersion
	err := t.query(ctx, "SELECT "+objectColumns+", "+versionColumns+` FROM versions v CROSS JOIN objects o ON o.id = v.object
		WHERE `+untold[q.Stage]+` AND v.expires >= ?1 AND v.expires <= ?2 AND (v.expires > ?1 OR v.id > ?3)
		AND o.current = v.id AND o.kind = ?4 AND o.purge_at IS NULL ORDER BY v.expires, v.id LIMIT ?5`,
		[]any{after, q.Before.UnixMicro(), string(q.AfterVersion), string(q.Kind), limit(q.Limit)}, func(r Row) error {
			o, err := r.object()
			if err != nil {
				return err
			}
			v, err := r[objectWidth:].version()
			list = append(list, store.ObjectVersion{Object: o, Version: v})
			return err
		})
	return list, err
}

// TellExpiry implements store.Expiries.
func (t *Tx) TellExpiry(ctx context.Context, o vault.ObjectID, id vault.VersionID, stage store.ExpiryStage) error {
	query := "UPDATE versions SET near_told = expires WHERE object = ? AND id = ?"
	if stage == store.Expired {
		query = "UPDATE versions SET expired_told = expires WHERE object = ? AND id = ?"
	}
	return t.mustChange(ctx, unseen, "version", id, query, string(o), string(id))
}

// SkipExpiries implements store.Expiries.
func (t *Tx) SkipExpiries(ctx context.Context, before time.Time, n int) (int, error) {
	skipped, err := t.write(ctx, unseen, `UPDATE versions SET near_told = expires, expired_told = expires WHERE (object, id) IN
		(SELECT v.object, v.id FROM versions v CROSS JOIN objects o ON o.id = v.object WHERE `+untold[store.Expired]+`
		AND v.expires <= ? AND o.current <> v.id ORDER BY v.expires LIMIT ?)`, before.UnixMicro(), limit(n))
	return int(skipped), err
}
