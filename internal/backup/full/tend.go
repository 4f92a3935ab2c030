package full

import (
	"context"
	"errors"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
)

// Tend does what is due without anybody asking: it ends what a node that died left, deletes backups whose end has come, and makes one when the
// schedule says so. Every node calls it again and again; the lease lets one at a time do something.
func (s *Service) Tend(ctx context.Context) error {
	first, err := s.Guard.Operator(ctx)
	if err != nil || first == "" {
		return err
	}
	all, err := s.list(ctx, store.BackupQuery{Kind: store.FullBackup})
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	var errs []error
	for _, b := range all {
		if b.open {
			errs = append(errs, s.abandon(ctx, b))
		}
	}
	newest := newestDone(all)
	for _, b := range all {
		switch {
		case b.open || b.Expires.IsZero() || now.Before(b.Expires):
		case b.State == Done && !s.here(b): // the node that has it deletes it
		case b == newest:
			errs = append(errs, s.prolong(ctx, b))
		default:
			need := guard.Need{Action: authz.BackupDelete, Scope: scope, Detail: "backup " + b.ID, Reason: "Expired"}
			errs = append(errs, busy(s.remove(ctx, guard.System(first, "BackupExpire", now), need, b)))
		}
	}
	if s.Every > 0 && s.due(all, now) {
		need := guard.Need{Action: authz.BackupWrite, Scope: scope, Reason: "Scheduled"}
		_, err := s.begin(ctx, guard.System(first, "BackupSchedule", now), need, 0, "")
		errs = append(errs, busy(err))
	}
	return errors.Join(errs...)
}

// busy forgives that somebody else works on backups: the next look comes.
func busy(err error) error {
	if fault.Is(err, fault.Conflict) {
		return nil
	}
	return err
}

func newestDone(all []*Backup) *Backup {
	for _, b := range all {
		if b.State == Done {
			return b
		}
	}
	return nil
}

// retryFailed is how long after a failed backup the schedule tries again, at the latest when the next one is due.
const retryFailed = 10 * time.Minute

// due reports whether the schedule wants a backup: when the newest that is done, or runs, is older than the interval.
func (s *Service) due(all []*Backup, now time.Time) bool {
	for _, b := range all {
		switch {
		case b.State == Failed && now.Sub(b.Made) < min(retryFailed, s.Every):
			return false
		case b.State != Failed:
			return now.Sub(b.Made) >= s.Every
		}
	}
	return true
}

// abandon ends a row whose work is under way for nobody: the lease is free.
func (s *Service) abandon(ctx context.Context, b *Backup) error {
	var lease *store.Lease
	owner := s.owner()
	err := s.update(ctx, func(tx store.Tx) (err error) {
		if lease, err = s.acquire(ctx, tx, owner); err != nil {
			return err
		}
		now, err := getIn(ctx, tx, b.ID)
		if err != nil || !now.open {
			return err
		}
		now.open = false
		const ended = "the node that worked on it ended before it was done"
		if now.State == Running {
			now.State, now.Error, now.Ended = Failed, ended, clock.Micro(s.Clock.Now())
		}
		if p := now.Proof; p != nil && p.State == Running {
			p.State, p.Error, p.Ended = Failed, ended, clock.Micro(s.Clock.Now())
		}
		*b = *now
		if err := now.put(ctx, tx); err != nil {
			return err
		}
		return s.hold(ctx, tx, now)
	})
	if err != nil {
		return busy(err)
	}
	defer s.giveBack(ctx, lease)
	if b.State == Failed {
		return s.removeFiles(b)
	}
	return nil
}

// prolong moves the end of the newest whole backup: the last one goes only when there is another.
func (s *Service) prolong(ctx context.Context, b *Backup) error {
	const day = 24 * time.Hour
	next := *b
	next.Expires = clock.Micro(s.Clock.Now().Add(day))
	err := s.update(ctx, func(tx store.Tx) error {
		if err := next.put(ctx, tx); err != nil {
			return err
		}
		return s.hold(ctx, tx, &next)
	})
	if isReason(err, store.StaleRevision) {
		return nil // another node did it
	}
	if err == nil {
		s.Logger.WarnContext(ctx, "the newest backup should have ended, and is kept because there is no newer one: see why none was made", "backup", b.ID, "until", next.Expires)
	}
	return err
}
