package full

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// leaseName is that of all work on backups of the installation: one piece at a time.
const leaseName = "backup/full"

// work is a piece of work under the lease. It owns the backup's row while it runs.
type work struct {
	s      *Service
	b      *Backup
	lease  *store.Lease
	cancel context.CancelCauseFunc
	// progress brings the row up to date before it is stored.
	progress func(b *Backup)
}

var errLost = errors.New("another node took over the work on backups")

// owner names a piece of work, as no other is named: the lease is that work's, and not its node's or its backup's.
func (s *Service) owner() string { return s.Node + "/" + string(vault.NewVersionID(s.Clock.Now())) }

// acquire takes the lease for a piece of work. It is part of the transaction that begins the work.
func (s *Service) acquire(ctx context.Context, tx store.Tx, owner string) (*store.Lease, error) {
	l, err := tx.AcquireLease(ctx, leaseName, owner, s.timing.ttl, s.timing.slack)
	if isReason(err, store.LeaseHeld) {
		return nil, fault.New(fault.Conflict, "a backup is being made, proved or deleted: wait until that is done; the list of backups shows it")
	}
	return l, err
}

func isReason(err error, reason fault.Reason) bool {
	e := fault.As(err)
	return e != nil && e.Reason == reason
}

// start runs the work behind the request that began it, and stores how it ended.
func (w *work) start(run func(ctx context.Context) error, end func(b *Backup, err error)) {
	w.s.wait.Go(func() {
		ctx, cancel := context.WithCancelCause(w.s.ctx)
		w.cancel = cancel
		ended := make(chan struct{})
		kept := make(chan struct{})
		go func() {
			defer close(kept)
			w.keep(ctx, ended)
		}()
		err := run(ctx)
		close(ended)
		<-kept
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
		cancel(nil)
		if errors.Is(err, errLost) {
			return // whoever has the lease now ends the row
		}
		end(w.b, err)
		w.finish()
	})
}

// keep renews the lease and tells the progress until the work ends.
func (w *work) keep(ctx context.Context, ended <-chan struct{}) {
	ticker := time.NewTicker(w.s.timing.renew)
	defer ticker.Stop()
	held := time.Now().Add(w.s.timing.ttl)
	for {
		select {
		case <-ended:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		next := *w.b
		w.progress(&next)
		asked := time.Now()
		err := w.commit(ctx, &next, true)
		switch {
		case err == nil:
			held = asked.Add(w.s.timing.ttl)
		case isReason(err, store.LeaseLost), time.Now().After(held):
			w.cancel(errLost)
			return
		default:
			w.s.Logger.WarnContext(ctx, "the progress of a backup could not be stored; it is tried again", "backup", w.b.ID, "error", err)
		}
	}
}

// commit stores the row while the lease is held.
func (w *work) commit(ctx context.Context, b *Backup, renew bool) error {
	err := w.s.update(ctx, func(tx store.Tx) (err error) {
		if renew {
			if _, err = tx.RenewLease(ctx, w.lease, w.s.timing.ttl); err != nil {
				return err
			}
		} else if err := tx.CheckLease(ctx, w.lease); err != nil {
			return err
		}
		return b.put(ctx, tx)
	})
	if err == nil {
		b.revision++
		*w.b = *b
	}
	return err
}

// update commits fn and resolves an ambiguous answer.
func (s *Service) update(ctx context.Context, fn func(store.Tx) error) error {
	op := store.NewOp(s.Clock.Now())
	err := s.Store.Update(ctx, op, fn)
	if errors.Is(err, store.ErrCommitted) {
		return nil
	}
	if fault.Is(err, fault.Unavailable) {
		if done, asked := s.Store.Committed(ctx, op.ID); asked == nil && done {
			return nil
		}
	}
	return err
}

// finishTimeout bounds how long the end of a piece of work tries to be stored. What it does not manage the next look does.
const finishTimeout = 3 * time.Second

// finish stores how the work ended and gives the lease back. The service's own context may be over.
func (w *work) finish() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.s.ctx), finishTimeout)
	defer cancel()
	b := *w.b
	b.open = false
	err := w.s.update(ctx, func(tx store.Tx) error {
		if err := tx.CheckLease(ctx, w.lease); err != nil {
			return err
		}
		if err := b.put(ctx, tx); err != nil {
			return err
		}
		if err := w.s.hold(ctx, tx, &b); err != nil {
			return err
		}
		return tx.ReleaseLease(ctx, w.lease)
	})
	if err != nil {
		w.s.Logger.ErrorContext(ctx, "the end of the work on a backup could not be stored; it counts as failed when its lease has run out", "backup", b.ID, "error", err)
	}
}

// told is what may be told of an error: a fault's own sentence. Everything else is the log's.
func (s *Service) told(what, id string, err error) string {
	if errors.Is(err, context.Canceled) {
		return "the server was ended before it was done"
	}
	if e := fault.As(err); e != nil && e.Kind != fault.Internal {
		return e.Message
	}
	s.Logger.Error(what+" failed", "backup", id, "error", err)
	return fmt.Sprintf("%s failed by an internal error, which the log of the node %s shows", what, s.Node)
}
