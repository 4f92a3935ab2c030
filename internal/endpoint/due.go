package endpoint

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

const (
	// leaseName is the lease of the one worker that looks. It is held for leaseTime at a time: longer than a look takes, which prolongs it.
	leaseName  = "endpoints"
	leaseTime  = 2 * time.Minute
	leaseSlack = 5 * time.Second
	// dueAtOnce bounds the endpoints of one round, maxConcurrent how many of them are looked at at the same time.
	dueAtOnce     = 64
	maxConcurrent = 8
)

// Due looks at every endpoint that is due, unless another worker is at it, and returns how many there were. It belongs to one background job, which calls it again
// and again, at once when Woken says so.
func (s *Service) Due(ctx context.Context) (n int, err error) {
	lease, err := s.lease(ctx)
	if lease == nil {
		return 0, err
	}
	defer s.release(lease)
	for {
		var rows []*store.Endpoint
		err := s.Store.View(ctx, func(tx store.Tx) (err error) {
			rows, err = tx.Endpoints(ctx, store.EndpointQuery{DueBefore: s.Clock.Now(), Limit: dueAtOnce})
			return err
		})
		if err != nil {
			return n, err
		}
		var all errgroup.Group
		all.SetLimit(maxConcurrent)
		for _, row := range rows {
			all.Go(func() error { return s.due(ctx, lease, row) })
		}
		if err := all.Wait(); err != nil {
			return n, err
		}
		if n += len(rows); len(rows) < dueAtOnce {
			return n, nil
		}
	}
}

// lease takes the right to look; nil when another worker has it. Without anything to do it is not asked for: that would be a write each time.
func (s *Service) lease(ctx context.Context) (lease *store.Lease, err error) {
	idle := false
	err = s.Store.View(ctx, func(tx store.Tx) error {
		rows, err := tx.Endpoints(ctx, store.EndpointQuery{DueBefore: s.Clock.Now(), Limit: 1})
		idle = len(rows) == 0
		return err
	})
	if err != nil || idle {
		return nil, err
	}
	err = s.Store.Update(ctx, store.NewOp(s.Clock.Now()), func(tx store.Tx) (err error) {
		lease, err = tx.AcquireLease(ctx, leaseName, s.Node, leaseTime, leaseSlack)
		return err
	})
	if fault.Is(err, fault.Conflict) {
		return nil, nil
	}
	return lease, err
}

func (s *Service) release(lease *store.Lease) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseSlack)
	defer cancel()
	if err := s.Store.Update(ctx, store.NewOp(s.Clock.Now()), func(tx store.Tx) error { return tx.ReleaseLease(ctx, lease) }); err != nil {
		s.Logger.WarnContext(ctx, "the right to look at endpoints could not be given back; it runs out by itself", "error", err)
	}
}

// due looks at one endpoint. An error says that nothing more can be looked at now; what is wrong with this endpoint alone is logged.
func (s *Service) due(ctx context.Context, lease *store.Lease, row *store.Endpoint) error {
	e, err := Read(row)
	if err != nil {
		return err
	}
	var v *vault.Vault
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		v, err = tx.Vault(ctx, e.Vault)
		return err
	})
	switch {
	case fault.Is(err, fault.NotFound): // purged, and nobody can ask for it any more
		return s.update(ctx, lease, func(tx store.Tx, _ store.Op) error { return tx.DeleteEndpoint(ctx, e.ID) })
	case err != nil:
		return err
	case v.Deleted != nil:
		rest := *row
		rest.NextAt = s.Clock.Now().Add(e.Every)
		return s.update(ctx, lease, func(tx store.Tx, _ store.Op) error { return tx.PutEndpoint(ctx, &rest) })
	}
	seen, err := s.observe(ctx, e)
	if err != nil {
		return err
	}
	kept := false
	err = s.update(ctx, lease, func(tx store.Tx, op store.Op) error {
		err := s.keep(ctx, tx, v, seen, op)
		kept = err == nil
		return err
	})
	if err == nil && kept {
		s.testify(ctx, seen)
	}
	return err
}

// update changes the store as long as the lease is held, and prolongs it. Whoever changed or removed the endpoint meanwhile comes first.
func (s *Service) update(ctx context.Context, lease *store.Lease, change func(store.Tx, store.Op) error) error {
	op := store.NewOp(s.Clock.Now())
	err := s.Store.Update(ctx, op, func(tx store.Tx) error {
		if _, err := tx.RenewLease(ctx, lease, leaseTime); err != nil {
			return err
		}
		return change(tx, op)
	})
	if f := fault.As(err); f != nil && f.Reason == store.LeaseLost {
		return err
	}
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
