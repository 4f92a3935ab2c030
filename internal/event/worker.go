package event

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// worker delivers one subscription's events.
type worker struct {
	service *Service
	id      string
	wake    chan struct{}
	cancel  context.CancelFunc
	// revision is that of the subscription when the worker was woken for it last.
	revision atomic.Int64

	// The rest belongs to run.
	sub     *Subscription
	client  *http.Client
	limiter *rate.Limiter
	// inFlight are the deliveries under way; done tells of those that ended.
	inFlight map[int64]bool
	done     chan result
	underway sync.WaitGroup
}

// result says how a delivery ended.
type result struct {
	seq int64
	err error
}

// workAfter is how long a worker waits after the store or the keyring failed it.
const workAfter = 5 * time.Second

// run delivers until its context ends.
func (w *worker) run(ctx context.Context) {
	w.inFlight, w.done = make(map[int64]bool), make(chan result, maxConcurrency)
	defer func() {
		w.underway.Wait()
		if w.client != nil {
			w.client.CloseIdleConnections()
		}
	}()
	for {
		next, err := w.begin(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, errGone):
			return
		case err != nil:
			w.service.Logger.ErrorContext(ctx, "events wait to be delivered; it is tried again", "subscription", w.id, "error", err)
			next = workAfter
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-w.wake:
		case r := <-w.done:
			w.ended(ctx, r)
		case <-timer.C:
		}
		timer.Stop()
	}
}

// ended forgets a delivery under way, after a pause when its outcome could not be stored: it would be tried again at once.
func (w *worker) ended(ctx context.Context, r result) {
	delete(w.inFlight, r.seq)
	if r.err == nil || ctx.Err() != nil {
		return
	}
	w.service.Logger.ErrorContext(ctx, "the outcome of a delivery could not be stored; it is delivered again", "subscription", w.id, "error", r.err)
	timer := time.NewTimer(workAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// idle is how long a worker without anything to do sleeps, unless it is woken.
const idle = time.Hour

// begin starts deliveries that are due, as far as there is room, and returns after how long to look again.
func (w *worker) begin(ctx context.Context) (time.Duration, error) {
	if err := w.refresh(ctx); err != nil {
		return 0, err
	}
	now := w.service.Clock.Now()
	var due []*store.Delivery
	var next time.Time
	err := w.service.Store.View(ctx, func(tx store.Tx) (err error) {
		// Those under way are still the first of their subjects.
		if due, err = tx.DueDeliveries(ctx, w.id, now, w.sub.Concurrency+len(w.inFlight)); err != nil {
			return err
		}
		next, err = tx.NextDelivery(ctx, w.id)
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, d := range due {
		if len(w.inFlight) >= w.sub.Concurrency {
			break
		}
		if w.inFlight[d.Seq] {
			continue
		}
		w.inFlight[d.Seq] = true
		sub, client, limiter := w.sub, w.client, w.limiter
		w.underway.Go(func() {
			err := limiter.Wait(ctx)
			if err == nil {
				err = w.service.deliver(ctx, sub, client, d)
			}
			w.done <- result{d.Seq, err}
		})
	}
	if next.IsZero() || !next.After(now) {
		return idle, nil // what is due is under way, and its end wakes the worker
	}
	return next.Sub(now), nil
}

// refresh reads the subscription and makes a new client when it has changed.
func (w *worker) refresh(ctx context.Context) error {
	var row *store.EventSubscription
	err := w.service.Store.View(ctx, func(tx store.Tx) (err error) {
		row, err = tx.EventSubscription(ctx, w.id)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return errGone
	}
	if err != nil {
		return err
	}
	if w.sub != nil && w.sub.Revision == row.Revision {
		return nil
	}
	sub, err := fromRow(row)
	if err != nil {
		return err
	}
	if sub.State != Active {
		return errGone
	}
	client, err := w.service.Network.client(sub.CA, sub.Concurrency)
	if err != nil {
		return err
	}
	if w.client != nil {
		w.client.CloseIdleConnections()
	}
	w.sub, w.client, w.limiter = sub, client, rate.NewLimiter(rate.Inf, 1)
	if sub.Rate > 0 {
		w.limiter = rate.NewLimiter(rate.Limit(float64(sub.Rate)/60), 1)
	}
	return nil
}

// deliver makes one attempt and stores what became of it.
func (s *Service) deliver(ctx context.Context, sub *Subscription, client *http.Client, d *store.Delivery) error {
	p, err := opened(d)
	if err != nil {
		return err
	}
	end := p.Published.Add(sub.TTL)
	if !s.Clock.Now().Before(end) {
		return s.bury(ctx, d, p, tooOld)
	}
	secret, err := s.open(ctx, sub)
	if err != nil {
		return err // a locked keyring is not the endpoint's fault
	}
	o, err := s.send(ctx, sub, client, secret, p)
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, ctx.Err())
	}
	if o.delivered() {
		s.counters.delivered.Add(1)
		return s.updateInTurn(ctx, func(tx store.Tx) error { return present(tx.DeleteDelivery(ctx, d.DeliveryKey)) })
	}
	s.counters.failed.Add(1)
	now := s.Clock.Now()
	p.Attempts++
	p.Last, p.Outcome, p.Status = now, o.name, o.status
	s.Logger.WarnContext(ctx, "an event could not be delivered", "subscription", sub.Name, "event", p.ID, "attempt", p.Attempts, "outcome", o.name, "status", o.status)
	switch {
	case o.final():
		return s.bury(ctx, d, p, undeliverable+o.name)
	case p.Attempts >= sub.MaxAttempts:
		return s.bury(ctx, d, p, tooManyAttempts)
	}
	next := now.Add(s.wait(p.Attempts, o))
	if next.After(end) {
		next = end
	}
	return s.put(ctx, d, p, false, next)
}

// bury makes a delivery a dead letter.
func (s *Service) bury(ctx context.Context, d *store.Delivery, p *parcel, reason string) error {
	p.Reason = reason
	s.counters.dead.Add(1)
	return s.put(ctx, d, p, true, s.Clock.Now())
}

func (s *Service) put(ctx context.Context, d *store.Delivery, p *parcel, dead bool, at time.Time) error {
	c := *d
	c.Dead, c.NextAt = dead, at
	if err := p.into(&c); err != nil {
		return err
	}
	return s.updateInTurn(ctx, func(tx store.Tx) error { return present(tx.PutDelivery(ctx, &c)) })
}

// present leaves out that a delivery is not there: its subscription was removed meanwhile.
func present(err error) error {
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

// send posts the event. It returns an error only when no attempt could be made.
func (s *Service) send(ctx context.Context, sub *Subscription, client *http.Client, secret *secrets, p *parcel) (outcome, error) {
	body, contentType, err := p.body(sub.Schema)
	if err != nil {
		return outcome{}, err
	}
	r, err := sub.request(ctx, http.MethodPost, secret, body)
	if err != nil {
		return outcome{}, err
	}
	r.Header.Set("Content-Type", contentType)
	p.headers(r.Header, sub)
	answer, err := client.Do(r)
	if err != nil {
		return unanswered(plain(err)), nil
	}
	defer answer.Body.Close()
	// What is read lets the connection be used again.
	io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswerBytes))
	return answered(answer), nil
}

// counters count for metrics.
type counters struct{ delivered, failed, dead atomic.Int64 }

// Counts are how many deliveries succeeded, attempts failed, and events became dead letters since the start.
type Counts struct{ Delivered, Failed, Dead int64 }

// Counts returns the present counts.
func (s *Service) Counts() Counts {
	return Counts{s.counters.delivered.Load(), s.counters.failed.Load(), s.counters.dead.Load()}
}
