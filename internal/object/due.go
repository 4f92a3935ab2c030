package object

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// dueAtOnce bounds the objects of one look.
const dueAtOnce = 100

// EachDue hands each object of the kind for which something is due to do, what has waited longest first, so many at once that one which takes its time does
// not keep all others waiting. What do puts off is due again after so long, unless it was moved meanwhile, so that it does not stand before others; 0 puts nothing off. It
// ends when nothing is due any more, with the store's error, or with that of a context that ended.
func (s *Objects) EachDue(ctx context.Context, atOnce int, do func(row *store.Policy, now time.Time) (putOff time.Duration)) error {
	for {
		var rows []*store.Policy
		now := s.Clock.Now()
		err := s.Store.View(ctx, func(tx store.Tx) (err error) {
			rows, err = tx.Policies(ctx, store.PolicyQuery{Kind: s.Kind.Kind, DueBefore: now, Limit: dueAtOnce})
			return err
		})
		if err != nil {
			return err
		}
		work, ctx := errgroup.WithContext(ctx)
		work.SetLimit(atOnce)
		for _, row := range rows {
			work.Go(func() error {
				if err := ctx.Err(); err != nil {
					return err
				}
				if retry := do(row, now); retry > 0 {
					return s.putOff(ctx, row, now, retry)
				}
				return nil
			})
		}
		if err := work.Wait(); err != nil {
			return err
		}
		if len(rows) < dueAtOnce {
			return nil
		}
	}
}

// putOff makes an object due later. One that was moved, or is gone, since it was found due is left alone.
func (s *Objects) putOff(ctx context.Context, row *store.Policy, now time.Time, retry time.Duration) error {
	err := s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		fresh, err := tx.Policy(ctx, row.Object)
		if err != nil || fresh.DueAt.IsZero() || fresh.DueAt.After(now) {
			return err
		}
		next := *fresh
		next.DueAt = now.Add(retry)
		return tx.PutPolicy(ctx, &next)
	})
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
