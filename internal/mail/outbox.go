package mail

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// Config makes an Outbox. Everything is required.
type Config struct {
	Store  store.Store
	Clock  clock.Clock
	Logger *slog.Logger
	Relay  *Relay
	// Node names the process among those who may send.
	Node string
}

// Outbox keeps letters until the relay has them.
type Outbox struct {
	Config
	sent, failed, dropped atomic.Int64
	wake                  chan struct{}
}

// New checks the configuration. The caller hooks Changed to the store's commits.
func New(c Config) (*Outbox, error) {
	if c.Store == nil || c.Clock == nil || c.Logger == nil || c.Relay == nil || c.Node == "" {
		return nil, errors.New("the outbox of mail needs a store, a clock, a logger, a relay and the node's name")
	}
	return &Outbox{Config: c, wake: make(chan struct{}, 1)}, nil
}

// queue is the subscriber under which the deliveries of letters stand. Ids of event subscriptions are hexadecimal, so it is none of them.
const queue = "mail"

// Add puts a letter into the outbox, in the transaction of what it tells. One that is there already stays as it is.
func (o *Outbox) Add(ctx context.Context, tx store.Tx, l Letter) error {
	for _, to := range l.To {
		p := l.parcel(to)
		d, err := p.delivery(l.At)
		if err != nil {
			return err
		}
		if _, err := tx.Delivery(ctx, d.DeliveryKey); err == nil {
			continue
		} else if !fault.Is(err, fault.NotFound) {
			return err
		}
		if err := tx.AddDelivery(ctx, d); err != nil {
			return err
		}
	}
	return nil
}

// Changed hears of a commit. It belongs to the store's watchers: what letters tell is an event too.
func (o *Outbox) Changed(c *store.Commit) {
	if len(c.Events) == 0 {
		return
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// delivery is the parcel as it is stored. Each is a subject of its own: nobody's letter waits for another one.
func (p *parcel) delivery(at time.Time) (*store.Delivery, error) {
	id, err := hex.DecodeString(p.ID)
	if err != nil {
		return nil, err
	}
	doc, err := json.Marshal(p)
	return &store.Delivery{DeliveryKey: store.DeliveryKey{Subscription: queue, Seq: int64(binary.BigEndian.Uint64(id) >> 1)}, Subject: p.ID, NextAt: at, Doc: doc}, err
}

// waits are the pauses after each attempt that failed. With one attempt more a letter is given up: by then the relay was tried for two days.
var waits = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour}

const (
	// maxAttempts bounds those that are begun.
	maxAttempts = 9
	// leaseName is the lease of the one worker that sends. It is prolonged with every letter.
	leaseName  = "mail"
	leaseTime  = 3 * time.Minute
	leaseSlack = 5 * time.Second
	// sendAtOnce bounds the letters of one round.
	sendAtOnce = 50
	// lookEvery is how often the outbox is looked at without being woken.
	lookEvery = 15 * time.Second
	// lookAfter is how long it waits after the store failed it.
	lookAfter = time.Minute
)

// Run sends what is due, until ctx ends.
func (o *Outbox) Run(ctx context.Context) {
	for ctx.Err() == nil {
		wait := lookEvery
		if _, err := o.Due(ctx); err != nil && ctx.Err() == nil {
			o.Logger.ErrorContext(ctx, "letters wait in the outbox; it is tried again", "after", lookAfter, "error", err)
			wait = lookAfter
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-o.wake:
		}
		timer.Stop()
	}
}

// Due sends the letters that are due, unless another worker is at it, and returns how many were tried.
func (o *Outbox) Due(ctx context.Context) (n int, err error) {
	lease, err := o.lease(ctx)
	if lease == nil {
		return 0, err
	}
	defer o.release(lease)
	for {
		due, err := o.due(ctx, sendAtOnce)
		if err != nil || len(due) == 0 {
			return n, err
		}
		for _, d := range due {
			if err := o.deliver(ctx, lease, d); err != nil {
				return n, err
			}
			n++
		}
	}
}

func (o *Outbox) due(ctx context.Context, limit int) (due []*store.Delivery, err error) {
	err = o.Store.View(ctx, func(tx store.Tx) error {
		due, err = tx.DueDeliveries(ctx, queue, o.Clock.Now(), limit)
		return err
	})
	return due, err
}

// lease takes the right to send; nil when there is nothing to send, or another worker has it.
func (o *Outbox) lease(ctx context.Context) (lease *store.Lease, err error) {
	due, err := o.due(ctx, 1)
	if err != nil || len(due) == 0 {
		return nil, err
	}
	err = o.update(ctx, func(tx store.Tx) (err error) {
		lease, err = tx.AcquireLease(ctx, leaseName, o.Node, leaseTime, leaseSlack)
		return err
	})
	if fault.Is(err, fault.Conflict) {
		return nil, nil
	}
	return lease, err
}

func (o *Outbox) release(lease *store.Lease) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseSlack)
	defer cancel()
	if err := o.update(ctx, func(tx store.Tx) error { return tx.ReleaseLease(ctx, lease) }); err != nil {
		o.Logger.WarnContext(ctx, "the right to send mail could not be given back; it runs out by itself", "error", err)
	}
}

func (o *Outbox) update(ctx context.Context, change func(store.Tx) error) error {
	return o.Store.Update(ctx, store.NewOp(o.Clock.Now()), change)
}

// deliver makes one attempt. It is in the store before the relay hears of the letter.
func (o *Outbox) deliver(ctx context.Context, lease *store.Lease, d *store.Delivery) error {
	var p parcel
	if err := json.Unmarshal(d.Doc, &p); err != nil {
		return fmt.Errorf("decoding a letter: %w", err)
	}
	if p.Attempts >= maxAttempts {
		return o.drop(ctx, lease, d, &p, "it was tried too often")
	}
	p.Attempts++
	next, err := p.delivery(o.Clock.Now().Add(waits[min(p.Attempts, len(waits))-1]))
	if err != nil {
		return err
	}
	if err := o.holding(ctx, lease, func(tx store.Tx) error { return tx.PutDelivery(ctx, next) }); err != nil {
		return err
	}
	err = o.Relay.send(ctx, &p)
	switch {
	case err == nil:
		o.sent.Add(1)
		return o.holding(ctx, lease, func(tx store.Tx) error { return tx.DeleteDelivery(ctx, d.DeliveryKey) })
	case ctx.Err() != nil:
		return ctx.Err()
	}
	o.failed.Add(1)
	if fault.Is(err, fault.Invalid) || p.Attempts == maxAttempts {
		return o.drop(ctx, lease, d, &p, err.Error())
	}
	o.Logger.WarnContext(ctx, "a letter could not be sent; it is tried again", "letter", p.ID, "attempt", p.Attempts, "at", next.NextAt, "error", err)
	return nil
}

// drop gives a letter up. What it tells stands in an event and in the state of its object all the same.
func (o *Outbox) drop(ctx context.Context, lease *store.Lease, d *store.Delivery, p *parcel, reason string) error {
	o.dropped.Add(1)
	o.Logger.ErrorContext(ctx, "a letter was given up", "letter", p.ID, "to", p.To.Address, "subject", p.Subject, "attempts", p.Attempts, "reason", reason)
	return o.holding(ctx, lease, func(tx store.Tx) error { return tx.DeleteDelivery(ctx, d.DeliveryKey) })
}

// holding changes the store as long as the lease is held, and prolongs it.
func (o *Outbox) holding(ctx context.Context, lease *store.Lease, change func(store.Tx) error) error {
	return o.update(ctx, func(tx store.Tx) error {
		if _, err := tx.RenewLease(ctx, lease, leaseTime); err != nil {
			return err
		}
		return change(tx)
	})
}

// Counts are how many letters the relay took, attempts failed, and letters were given up since the start.
type Counts struct{ Sent, Failed, Dropped int64 }

// Counts returns the present counts.
func (o *Outbox) Counts() Counts { return Counts{o.sent.Load(), o.failed.Load(), o.dropped.Load()} }
