package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var subscriptionCases = []testCase{
	{name: "Subscriptions/RoundTrip", run: subscriptionsRoundTrip},
	{name: "Subscriptions/NotFound", run: subscriptionsNotFound},
	{name: "Subscriptions/CompareAndSwap", run: func(e *env) {
		f := newFixture()
		swaps(e, f, func(tx store.Tx, revision int64) error {
			c := *f.subscription
			c.Revision = revision
			return tx.PutEventSubscription(e.ctx, &c)
		}, func(s *state) int64 { return s.EventSubscriptions[0].Revision })
	}},
	{name: "Subscriptions/Names", run: subscriptionNames},
	{name: "Deliveries/RoundTrip", run: deliveriesRoundTrip, reopens: true},
	{name: "Deliveries/Order", run: deliveriesOrder},
	{name: "Deliveries/Delete", run: deliveriesDelete},
	{name: "Expiries/Expiring", run: expiring},
	{name: "Expiries/Pages", run: expiringPages},
	{name: "Expiries/Told", run: expiryTold},
	{name: "Expiries/Skip", run: expiriesSkip},
}

var subscriptionMutations = []mutation{
	{method: "PutEventSubscription", want: subscriptionChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.subscription.Revision, f.subscription.Doc = 1, []byte("other")
		return tx.PutEventSubscription(e.ctx, f.subscription)
	}},
	{method: "DeleteEventSubscription", want: subscriptionChange, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeleteEventSubscription(e.ctx, f.subscription.ID)
	}},
	{method: "AddDelivery", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.AddDelivery(e.ctx, newDelivery(f, 9, "db"))
	}},
	{method: "PutDelivery", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.delivery.Dead = true
		return tx.PutDelivery(e.ctx, f.delivery)
	}},
	{method: "DeleteDelivery", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.DeleteDelivery(e.ctx, f.delivery.DeliveryKey)
	}},
	{method: "DeleteDeliveries", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		_, err := tx.DeleteDeliveries(e.ctx, f.subscription.ID, time.Time{}, 0)
		return err
	}},
	{method: "TellExpiry", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.TellExpiry(e.ctx, f.object.ID, f.second.ID, store.NearExpiry)
	}},
	{method: "SkipExpiries", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		_, err := tx.SkipExpiries(e.ctx, noon.Add(24*time.Hour), 0)
		return err
	}},
}

func subscriptionChange(f *fixture) []store.Change {
	return []store.Change{{Kind: store.SubscriptionChanged, Tenant: f.tenant.ID, Vault: f.vault.ID, Key: f.subscription.ID}}
}

func newEventSubscription(f *fixture, n int, name string) *store.EventSubscription {
	return &store.EventSubscription{ID: hex32(n), Tenant: f.tenant.ID, Vault: f.vault.ID, Name: name, Doc: []byte{0, byte(n), 255}}
}

func newDelivery(f *fixture, seq int64, subject string) *store.Delivery {
	return &store.Delivery{DeliveryKey: store.DeliveryKey{Subscription: f.subscription.ID, Seq: seq}, Subject: subject,
		NextAt: noon.Add(time.Duration(seq) * time.Second), Doc: []byte{0, byte(seq), 255}}
}

func eventSubscriptions(e *env, t vault.TenantID) []*store.EventSubscription {
	e.Helper()
	return read(e, func(tx store.Tx) ([]*store.EventSubscription, error) { return tx.EventSubscriptions(e.ctx, t) })
}

func subscriptionsRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	s := f.subscription
	s.Revision = 1
	get := func() *store.EventSubscription {
		return read(e, func(tx store.Tx) (*store.EventSubscription, error) { return tx.EventSubscription(e.ctx, s.ID) })
	}
	same(e, "the subscription", get(), s)
	other := newEventSubscription(f, 62, "other")
	other.Tenant, other.Vault = vault.TenantID(guid(99)), ""
	e.update(func(tx store.Tx) error {
		s.Vault, s.Name, s.Doc = "", "Renamed", []byte("other")
		return firstOf(tx.PutEventSubscription(e.ctx, s), tx.PutEventSubscription(e.ctx, other))
	})
	s.Revision, other.Revision = 2, 1
	same(e, "the changed subscription", get(), s)
	same(e, "the tenant's subscriptions", eventSubscriptions(e, f.tenant.ID), []*store.EventSubscription{s})
	same(e, "all subscriptions", eventSubscriptions(e, ""), []*store.EventSubscription{s, other})
	e.update(func(tx store.Tx) error { return tx.DeleteEventSubscription(e.ctx, s.ID) })
	same(e, "those that are left", eventSubscriptions(e, ""), []*store.EventSubscription{other})
}

func subscriptionsNotFound(e *env) {
	key := store.DeliveryKey{Subscription: "x", Seq: 1}
	missing(e, map[string]func(tx store.Tx) error{
		"EventSubscription":       func(tx store.Tx) error { _, err := tx.EventSubscription(e.ctx, "x"); return err },
		"EventSubscriptionByName": func(tx store.Tx) error { _, err := tx.EventSubscriptionByName(e.ctx, "x", "y"); return err },
		"Delivery":                func(tx store.Tx) error { _, err := tx.Delivery(e.ctx, key); return err },
	}, map[string]func(tx store.Tx) error{
		"DeleteEventSubscription": func(tx store.Tx) error { return tx.DeleteEventSubscription(e.ctx, "x") },
		"DeleteDelivery":          func(tx store.Tx) error { return tx.DeleteDelivery(e.ctx, key) },
		"PutDelivery":             func(tx store.Tx) error { return tx.PutDelivery(e.ctx, &store.Delivery{DeliveryKey: key, NextAt: noon}) },
		"TellExpiry":              func(tx store.Tx) error { return tx.TellExpiry(e.ctx, "x", "y", store.Expired) },
	})
}

func subscriptionNames(e *env) {
	f := newFixture()
	f.seed(e)
	byName := func(t vault.TenantID, name string) func(tx store.Tx) (*store.EventSubscription, error) {
		return func(tx store.Tx) (*store.EventSubscription, error) { return tx.EventSubscriptionByName(e.ctx, t, name) }
	}
	if got := read(e, byName(f.tenant.ID, strings.ToUpper(f.subscription.Name))); got.ID != f.subscription.ID {
		e.Errorf("the name in other letters is of %s", got.ID)
	}
	is(e, "another tenant's", readErr(e, byName("other", f.subscription.Name)), fault.NotFound)
	twin := newEventSubscription(f, 63, strings.ToUpper(f.subscription.Name))
	is(e, "a taken name", e.try(func(tx store.Tx) error { return tx.PutEventSubscription(e.ctx, twin) }), fault.Conflict)
	twin.Tenant = "other"
	e.update(func(tx store.Tx) error { return tx.PutEventSubscription(e.ctx, twin) })
}

func deliveriesRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	d := f.delivery
	get := func() *store.Delivery {
		return read(e, func(tx store.Tx) (*store.Delivery, error) { return tx.Delivery(e.ctx, d.DeliveryKey) })
	}
	same(e, "the delivery", get(), d)
	is(e, "adding it again", e.try(func(tx store.Tx) error { return tx.AddDelivery(e.ctx, d) }), fault.Conflict)
	d.Dead, d.NextAt, d.Doc = true, noon.Add(time.Hour), []byte("other")
	e.update(func(tx store.Tx) error { return tx.PutDelivery(e.ctx, d) })
	e.reopen()
	same(e, "the dead delivery", get(), d)
	is(e, "adding a dead one again", e.try(func(tx store.Tx) error { return tx.AddDelivery(e.ctx, newDelivery(f, d.Seq, "db")) }), fault.Conflict)
}

// seqs lists the sequence numbers of deliveries.
func seqs(list []*store.Delivery) (text string) {
	for _, d := range list {
		text += fmt.Sprint(d.Seq, " ")
	}
	return text
}

func deliveriesOrder(e *env) {
	f := newFixture()
	f.seed(e)
	// The fixture's delivery is the first, of the subject "db".
	add := func(seq int64, subject string) *store.Delivery {
		d := newDelivery(f, seq, subject)
		e.update(func(tx store.Tx) error { return tx.AddDelivery(e.ctx, d) })
		return d
	}
	second, third := add(2, "db"), add(3, "web")
	add(4, "web")
	elsewhere := newDelivery(f, 1, "db")
	elsewhere.Subscription = hex32(77)
	e.update(func(tx store.Tx) error { return tx.AddDelivery(e.ctx, elsewhere) })
	expect := func(what, due, waiting, dead string, next time.Time) {
		e.Helper()
		got := read(e, func(tx store.Tx) ([]*store.Delivery, error) {
			return tx.DueDeliveries(e.ctx, f.subscription.ID, noon.Add(time.Minute), 0)
		})
		if seqs(got) != due {
			e.Errorf("%s: %sare due, want %s", what, seqs(got), due)
		}
		for _, c := range []struct {
			dead bool
			want string
		}{{false, waiting}, {true, dead}} {
			got = read(e, func(tx store.Tx) ([]*store.Delivery, error) {
				return tx.Deliveries(e.ctx, store.DeliveryQuery{Subscription: f.subscription.ID, Dead: c.dead})
			})
			if seqs(got) != c.want {
				e.Errorf("%s: %sare listed with dead %v, want %s", what, seqs(got), c.dead, c.want)
			}
		}
		if at := read(e, func(tx store.Tx) (time.Time, error) { return tx.NextDelivery(e.ctx, f.subscription.ID) }); !at.Equal(next) {
			e.Errorf("%s: the next is at %s, want %s", what, at, next)
		}
	}
	expect("at first", "1 3 ", "1 2 3 4 ", "", f.delivery.NextAt)
	f.delivery.NextAt = noon.Add(time.Hour)
	e.update(func(tx store.Tx) error { return tx.PutDelivery(e.ctx, f.delivery) })
	expect("after a failed try", "3 ", "1 2 3 4 ", "", third.NextAt)
	f.delivery.Dead = true
	e.update(func(tx store.Tx) error { return tx.PutDelivery(e.ctx, f.delivery) })
	expect("after the first is dead", "2 3 ", "2 3 4 ", "1 ", second.NextAt)
	e.update(func(tx store.Tx) error { return tx.DeleteDelivery(e.ctx, third.DeliveryKey) })
	expect("after the third is done", "2 4 ", "2 4 ", "1 ", second.NextAt)
	f.delivery.Dead, f.delivery.NextAt = false, noon
	e.update(func(tx store.Tx) error { return tx.PutDelivery(e.ctx, f.delivery) })
	expect("after the first is replayed", "1 4 ", "1 2 4 ", "", noon)
	one := read(e, func(tx store.Tx) ([]*store.Delivery, error) {
		return tx.DueDeliveries(e.ctx, f.subscription.ID, noon.Add(time.Minute), 1)
	})
	page := read(e, func(tx store.Tx) ([]*store.Delivery, error) {
		return tx.Deliveries(e.ctx, store.DeliveryQuery{Subscription: f.subscription.ID, After: 1, Limit: 1})
	})
	if seqs(one) != "1 " || seqs(page) != "2 " {
		e.Errorf("limits gave %sand %s", seqs(one), seqs(page))
	}
	if at := read(e, func(tx store.Tx) (time.Time, error) { return tx.NextDelivery(e.ctx, "nobody") }); !at.IsZero() {
		e.Errorf("nobody waits until %s", at)
	}
}

func deliveriesDelete(e *env) {
	f := newFixture()
	f.seed(e)
	e.update(func(tx store.Tx) error {
		for seq := int64(2); seq <= 6; seq++ {
			d := newDelivery(f, seq, "db")
			d.Dead = seq > 3
			if err := tx.AddDelivery(e.ctx, d); err != nil {
				return err
			}
		}
		return nil
	})
	count := func(wantWaiting, wantDead int) {
		e.Helper()
		e.view(func(tx store.Tx) error {
			waiting, dead, err := tx.CountDeliveries(e.ctx, f.subscription.ID, 10)
			if waiting != wantWaiting || dead != wantDead {
				e.Errorf("%d wait and %d are dead, want %d and %d", waiting, dead, wantWaiting, wantDead)
			}
			return err
		})
	}
	count(3, 3)
	e.view(func(tx store.Tx) error {
		waiting, dead, err := tx.CountDeliveries(e.ctx, f.subscription.ID, 2)
		if waiting != 2 || dead != 2 {
			e.Errorf("counted %d and %d, want no more than 2", waiting, dead)
		}
		return err
	})
	for _, c := range []struct {
		before                time.Time
		limit, want           int
		waitingLeft, deadLeft int
	}{{noon.Add(6 * time.Second), 0, 2, 3, 1}, {time.Time{}, 3, 3, -1, -1}, {time.Time{}, 3, 1, 0, 0}} {
		e.update(func(tx store.Tx) error {
			n, err := tx.DeleteDeliveries(e.ctx, f.subscription.ID, c.before, c.limit)
			if n != c.want {
				e.Errorf("removed %d, want %d", n, c.want)
			}
			return err
		})
		if c.waitingLeft >= 0 {
			count(c.waitingLeft, c.deadLeft)
		}
	}
}

// expiringNames lists the names of what expires.
func expiringNames(e *env, q store.ExpiryQuery) (names string) {
	e.Helper()
	for _, ov := range read(e, func(tx store.Tx) ([]store.ObjectVersion, error) { return tx.Expiring(e.ctx, q) }) {
		if ov.Version == nil || ov.Object.Current != ov.Version.ID {
			e.Errorf("%s is listed without its current version", ov.Object)
		}
		names += ov.Object.Name + " "
	}
	return names
}

// putExpiring stores an object whose current version expires so long after noon.
func putExpiring(e *env, v vault.ID, name string, in time.Duration) (*vault.Object, *vault.Version) {
	e.Helper()
	o, version := newObject(v, vault.Secret, name)
	if version.Attributes.Expires = noon.Add(in); in == 0 {
		version.Attributes.Expires = time.Time{}
	}
	e.update(func(tx store.Tx) error { return firstOf(tx.PutObject(e.ctx, o), tx.AddVersion(e.ctx, version)) })
	o.Revision = 1
	return o, version
}

func expiring(e *env) {
	in := vault.ID(hex32(30))
	hour := time.Hour
	putExpiring(e, in, "second", 2*hour)
	putExpiring(e, in, "first", hour)
	putExpiring(e, in, "third", 3*hour)
	putExpiring(e, in, "never", 0)
	deleted, _ := putExpiring(e, in, "deleted", hour)
	superseded, _ := putExpiring(e, in, "superseded", hour)
	key, version := newObject(in, vault.Key, "key")
	e.update(func(tx store.Tx) error {
		gone, err := deleted.Delete(noon, hour)
		next := newVersion(superseded, noon.Add(time.Minute))
		next.Attributes.Expires = noon.Add(9 * hour)
		return firstOf(err, tx.PutObject(e.ctx, gone), tx.AddVersion(e.ctx, next), tx.PutObject(e.ctx, superseded.Promote(next.ID)),
			tx.PutObject(e.ctx, key), tx.AddVersion(e.ctx, version))
	})
	for _, stage := range []store.ExpiryStage{store.NearExpiry, store.Expired} {
		for in, want := range map[time.Duration]string{hour - 1: "", hour: "first ", 2 * hour: "first second ", 4 * hour: "first second third ",
			9 * hour: "first second third superseded "} {
			if got := expiringNames(e, store.ExpiryQuery{Kind: vault.Secret, Stage: stage, Before: noon.Add(in)}); got != want {
				e.Errorf("within %s there expire %q, want %q", in, got, want)
			}
		}
	}
	if got := expiringNames(e, store.ExpiryQuery{Kind: vault.Key, Before: noon.Add(hour)}); got != "key " {
		e.Errorf("of keys %q expire", got)
	}
	e.update(func(tx store.Tx) error {
		o, err := tx.Object(e.ctx, in, vault.Secret, "deleted")
		if err != nil {
			return err
		}
		back, err := o.Recover(noon)
		return firstOf(err, tx.PutObject(e.ctx, back))
	})
	if got := expiringNames(e, store.ExpiryQuery{Kind: vault.Secret, Before: noon.Add(hour)}); !strings.Contains(got, "deleted ") {
		e.Errorf("a recovered object is not among %q", got)
	}
}

func expiringPages(e *env) {
	in := vault.ID(hex32(30))
	for i := range 5 {
		// Two pairs expire at the same instant.
		putExpiring(e, in, fmt.Sprint("o", i), time.Duration(1+i/2)*time.Hour)
	}
	q := store.ExpiryQuery{Kind: vault.Secret, Before: noon.Add(24 * time.Hour), Limit: 2}
	seen := make(map[string]bool)
	for range 4 {
		page := read(e, func(tx store.Tx) ([]store.ObjectVersion, error) { return tx.Expiring(e.ctx, q) })
		for _, ov := range page {
			if seen[ov.Object.Name] {
				e.Errorf("%s is listed twice", ov.Object.Name)
			}
			seen[ov.Object.Name] = true
			q.AfterExpiry, q.AfterVersion = ov.Version.Attributes.Expires, ov.Version.ID
		}
	}
	if len(seen) != 5 {
		e.Errorf("%d of 5 were listed", len(seen))
	}
}

func expiryTold(e *env) {
	in := vault.ID(hex32(30))
	o, version := putExpiring(e, in, "db", time.Hour)
	expect := func(what, near, expired string) {
		e.Helper()
		for stage, want := range map[store.ExpiryStage]string{store.NearExpiry: near, store.Expired: expired} {
			if got := expiringNames(e, store.ExpiryQuery{Kind: vault.Secret, Stage: stage, Before: noon.Add(24 * time.Hour)}); got != want {
				e.Errorf("%s, at stage %d: %q, want %q", what, stage, got, want)
			}
		}
	}
	tell := func(stage store.ExpiryStage) {
		e.Helper()
		e.update(func(tx store.Tx) error { return tx.TellExpiry(e.ctx, o.ID, version.ID, stage) })
	}
	expect("at first", "db ", "db ")
	tell(store.NearExpiry)
	expect("after the first stage", "", "db ")
	tell(store.Expired)
	expect("after the second", "", "")
	// A change that leaves the expiry tells nothing anew; another expiry does.
	version.ContentType = "other"
	e.update(func(tx store.Tx) error { return tx.PutVersion(e.ctx, version) })
	expect("after another change", "", "")
	version.Attributes.Expires = noon.Add(2 * time.Hour)
	e.update(func(tx store.Tx) error { return tx.PutVersion(e.ctx, version) })
	expect("after another expiry", "db ", "db ")
}

func expiriesSkip(e *env) {
	in := vault.ID(hex32(30))
	putExpiring(e, in, "current", time.Hour)
	o, first := putExpiring(e, in, "rotated", time.Hour)
	next := newVersion(o, noon.Add(time.Minute))
	next.Attributes.Expires = noon.Add(48 * time.Hour)
	e.update(func(tx store.Tx) error {
		return firstOf(tx.AddVersion(e.ctx, next), tx.PutObject(e.ctx, o.Promote(next.ID)))
	})
	for _, c := range []struct {
		before time.Duration
		want   int
	}{{time.Minute, 0}, {2 * time.Hour, 1}, {2 * time.Hour, 0}} {
		e.update(func(tx store.Tx) error {
			n, err := tx.SkipExpiries(e.ctx, noon.Add(c.before), 0)
			if n != c.want {
				e.Errorf("%d were skipped before %s, want %d", n, c.before, c.want)
			}
			return err
		})
	}
	// What was skipped is not told when it comes back; what is current was not skipped.
	e.update(func(tx store.Tx) error {
		o, err := tx.Object(e.ctx, in, vault.Secret, "rotated")
		if err != nil {
			return err
		}
		return tx.PutObject(e.ctx, o.Promote(first.ID))
	})
	if got := expiringNames(e, store.ExpiryQuery{Kind: vault.Secret, Stage: store.Expired, Before: noon.Add(24 * time.Hour)}); got != "current " {
		e.Errorf("%q are told, want current", got)
	}
}
