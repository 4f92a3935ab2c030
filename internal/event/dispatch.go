package event

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Cursor names the dispatcher among the journal's readers.
const Cursor = "events"

// dispatcher is the part of a service that runs in the background.
type dispatcher struct {
	wake chan struct{}
	stop context.CancelFunc
	done sync.WaitGroup

	mu      sync.Mutex
	workers map[string]*worker

	// position is how far the journal was read. It may be ahead of the cursor while there is nothing to deliver. The follower alone uses
	// it, and moved, which is when the cursor was moved last.
	position store.Position
	moved    time.Time
}

func (d *dispatcher) init() {
	d.wake = make(chan struct{}, 1)
	d.workers = make(map[string]*worker)
}

// signal wakes whoever reads the channel, now or when it looks next.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Changed hears of a commit. It belongs to the store's watchers.
func (s *Service) Changed(c *store.Commit) {
	if len(c.Events) > 0 {
		signal(s.dispatcher.wake)
		return
	}
	for i := range c.Changes {
		if c.Changes[i].Kind == store.SubscriptionChanged {
			signal(s.dispatcher.wake)
			return
		}
	}
}

// Wake makes the service look at what is due, at once.
func (s *Service) Wake() {
	signal(s.dispatcher.wake)
	s.dispatcher.mu.Lock()
	defer s.dispatcher.mu.Unlock()
	for _, w := range s.dispatcher.workers {
		signal(w.wake)
	}
}

const (
	// followInterval is for what no commit announced: the rows of the process before, and the cursor that has to move on.
	followInterval = 10 * time.Second
	// followPace is how long the follower rests after a round, so that a burst of commits costs few rounds.
	followPace = 20 * time.Millisecond
	// followAfter is how long the follower waits after an error.
	followAfter = 5 * time.Second
	// pageSize bounds the entries of the journal that one transaction spreads.
	pageSize = 256
	// cursorLag bounds how many entries without deliveries are passed without moving the cursor.
	cursorLag = 4096
)

// Start begins following the journal and delivering, until Stop.
func (s *Service) Start(ctx context.Context) {
	ctx, s.dispatcher.stop = context.WithCancel(context.WithoutCancel(ctx))
	s.dispatcher.done.Go(func() { s.follow(ctx) })
}

// Stop ends deliveries under way and waits for them. It is safe twice and before Start.
func (s *Service) Stop() {
	if s.dispatcher.stop == nil {
		return
	}
	s.dispatcher.stop()
	s.dispatcher.done.Wait()
}

func (s *Service) follow(ctx context.Context) {
	for {
		wait := followInterval
		if err := s.round(ctx); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "events wait in the journal; reading it is tried again", "error", err)
			wait = followAfter
		}
		if !rest(ctx, followPace, nil) || !rest(ctx, wait, s.dispatcher.wake) {
			return
		}
	}
}

// rest waits for so long, or until it is woken. It reports false when ctx ended.
func rest(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-timer.C:
	}
	return true
}

// round spreads everything that the journal has and lets the workers know.
func (s *Service) round(ctx context.Context) error {
	for {
		n, woken, err := s.spread(ctx)
		if err != nil {
			return err
		}
		if err := s.hire(ctx, woken); err != nil {
			return err
		}
		if n < pageSize {
			return nil
		}
	}
}

// spread makes deliveries of one page of the journal and moves the cursor behind it. It returns how many entries there were, and
// the subscriptions that have something new.
func (s *Service) spread(ctx context.Context) (n int, woken map[string]bool, err error) {
	d := &s.dispatcher
	var list []*store.Delivery
	var last store.Position
	now := s.Clock.Now()
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		cursor, err := tx.Cursor(ctx, Cursor)
		if err != nil {
			return err
		}
		d.position = max(d.position, cursor)
		n, last, list, err = s.next(ctx, tx, now)
		return err
	})
	if err != nil || last <= d.position {
		return 0, nil, err
	}
	from := d.position
	d.position = last
	if len(list) == 0 && now.Sub(d.moved) < followInterval && last/cursorLag == from/cursorLag {
		return n, nil, nil
	}
	woken = make(map[string]bool)
	err = s.updateInTurn(ctx, func(tx store.Tx) error {
		clear(woken)
		cursor, err := tx.Cursor(ctx, Cursor)
		if err != nil {
			return err
		}
		// After a commit that was reported lost, or beside another node, the deliveries are there already.
		if cursor <= from {
			for _, delivery := range list {
				if err := add(ctx, tx, delivery); err != nil {
					return err
				}
				woken[delivery.Subscription] = true
			}
		}
		return tx.SetCursor(ctx, Cursor, last)
	})
	if err != nil {
		d.position = from
		return 0, nil, err
	}
	d.moved = now
	return n, woken, nil
}

// next reads what is behind the position: how many entries of the journal, the last of them, and the deliveries that they cause. While nobody
// is subscribed it passes over all of them unread.
func (s *Service) next(ctx context.Context, tx store.Tx, now time.Time) (n int, last store.Position, list []*store.Delivery, err error) {
	subs, err := subscriptions(ctx, tx, "")
	if err != nil {
		return 0, 0, nil, err
	}
	if len(subs) == 0 {
		last, err = tx.Head(ctx)
		return 0, last, nil, err
	}
	page, err := tx.Commits(ctx, s.dispatcher.position, pageSize)
	if err != nil || len(page) == 0 {
		return 0, 0, nil, err
	}
	list, err = s.deliveries(ctx, tx, subs, page, now)
	return len(page), page[len(page)-1].Position, list, err
}

// add stores a delivery, unless its subscription was removed meanwhile.
func add(ctx context.Context, tx store.Tx, d *store.Delivery) error {
	_, err := tx.EventSubscription(ctx, d.Subscription)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return tx.AddDelivery(ctx, d)
}

// deliveries finds who is to be told of the events of a page. The bits below the position number the events of one commit.
func (s *Service) deliveries(ctx context.Context, tx store.Tx, subs []*Subscription, page []*store.Commit, now time.Time) (list []*store.Delivery, err error) {
	const eventBits = 16
	for _, c := range page {
		for i := range c.Events {
			e := &c.Events[i]
			var p *parcel
			for _, sub := range subs {
				if !sub.wants(e, c.Op.At) {
					continue
				}
				if p == nil {
					if p, err = s.parcelOf(ctx, tx, e, now); err != nil {
						return nil, err
					}
				}
				d := &store.Delivery{DeliveryKey: store.DeliveryKey{Subscription: sub.ID, Seq: int64(c.Position)<<eventBits | int64(i)},
					Subject: string(e.Vault) + "/" + e.Subject, NextAt: now}
				if err := p.into(d); err != nil {
					return nil, err
				}
				list = append(list, d)
			}
		}
	}
	return list, nil
}

func (s *Service) parcelOf(ctx context.Context, tx store.Tx, e *store.Event, now time.Time) (*parcel, error) {
	var v *vault.Vault
	if e.Vault != "" {
		var err error
		if v, err = tx.Vault(ctx, e.Vault); err != nil && !fault.Is(err, fault.NotFound) {
			return nil, err
		}
	}
	return s.newParcel(e, v, now), nil
}

// hire keeps one worker for every active subscription, and wakes those that have something new.
func (s *Service) hire(ctx context.Context, woken map[string]bool) error {
	var subs []*Subscription
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		subs, err = subscriptions(ctx, tx, "")
		return err
	})
	if err != nil {
		return err
	}
	d := &s.dispatcher
	d.mu.Lock()
	defer d.mu.Unlock()
	active := make(map[string]bool, len(subs))
	for _, sub := range subs {
		if sub.State != Active {
			continue
		}
		active[sub.ID] = true
		w := d.workers[sub.ID]
		if w == nil {
			w = &worker{service: s, id: sub.ID, wake: make(chan struct{}, 1)}
			d.workers[sub.ID] = w
			workerCtx, cancel := context.WithCancel(ctx)
			w.cancel = cancel
			d.done.Go(func() {
				w.run(workerCtx)
				s.dismiss(w)
			})
		}
		if woken[sub.ID] || w.revision.Swap(sub.Revision) != sub.Revision {
			signal(w.wake)
		}
	}
	for id, w := range d.workers {
		if !active[id] {
			w.cancel()
			delete(d.workers, id)
		}
	}
	return nil
}

// dismiss forgets a worker that has ended, so that the next round can hire another.
func (s *Service) dismiss(w *worker) {
	s.dispatcher.mu.Lock()
	defer s.dispatcher.mu.Unlock()
	w.cancel()
	if s.dispatcher.workers[w.id] == w {
		delete(s.dispatcher.workers, w.id)
	}
}

// errGone says that a subscription does not get events any more.
var errGone = errors.New("the subscription is not active")
