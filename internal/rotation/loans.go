package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// What people do with leases that are there.

// Renew moves the end of a lease of the caller's own to ttl from now, and never beyond its maximum; 0 means what the policy says. It never makes a lease shorter.
func (s *Service) Renew(ctx context.Context, call *guard.Call, id store.LoanID, ttl time.Duration) (*Loan, error) {
	return s.onLoan(ctx, call, id, authz.LeaseIssue, "renewed", func(l *Loan, now time.Time) error {
		rules := l.Policy.Lease
		switch {
		case l.Holder != string(call.Caller.Principal):
			return fault.New(fault.Forbidden, "a lease is renewed by who has it: lease an account of your own").Because("NotHolder")
		case l.State != LoanActive || !now.Before(l.Expires):
			return fault.New(fault.Conflict, "the lease %s is over: lease another account", l.ID).Because("LeaseOver")
		case ttl < 0, ttl > rules.MaxTTL.Std():
			return fault.New(fault.Invalid, "a lease of %q lasts at most %s", l.NameKey, rules.MaxTTL)
		case ttl == 0:
			ttl = rules.TTL.Std()
		}
		end := earlier(clock.Micro(now.Add(ttl)), l.Latest)
		if !end.After(l.Expires) && l.Expires.Equal(l.Latest) {
			return fault.New(fault.Conflict, "the lease %s ends at %s and lives no longer: lease another account before that", l.ID, l.Latest.UTC().Format(time.RFC3339)).Because("LeaseAtMaximum")
		}
		if l.Renewed++; end.After(l.Expires) {
			l.Since, l.Expires = now, end
		}
		l.NextAt = l.Expires
		return nil
	})
}

// EndLease has an account removed: a holder gives its own lease back, anybody else needs the right to revoke. What could not be removed is tried again.
func (s *Service) EndLease(ctx context.Context, call *guard.Call, id store.LoanID, note string) (*Loan, error) {
	action := authz.LeaseRevoke
	l, err := s.findLoan(ctx, call, id)
	if err == nil && l.Holder == string(call.Caller.Principal) {
		action = authz.LeaseIssue
	}
	return s.onLoan(ctx, call, id, action, "ended", func(l *Loan, now time.Time) error {
		switch {
		case len(note) > maxTextBytes:
			return fault.New(fault.Invalid, "the note has %d bytes: at most %d are allowed", len(note), maxTextBytes)
		case !l.Open():
			return fault.New(fault.Conflict, "the lease %s is over, and its account is gone", l.ID).Because("LeaseOver")
		case l.State == LoanCreating:
			return fault.New(fault.Conflict, "the account of the lease %s is being made: wait a moment", l.ID).Because("LeaseInTheMaking")
		case l.State == LoanActive:
			why := LeaseRevoked
			if action == authz.LeaseIssue {
				why = LeaseReturned
			}
			l.end(why, now)
		}
		l.By, l.Note, l.Tries, l.NextAt = string(call.Caller.Principal), note, 0, now
		l.State = LoanRevoking
		return nil
	})
}

// onLoan changes a lease of the call's vault.
func (s *Service) onLoan(ctx context.Context, call *guard.Call, id store.LoanID, action authz.Action, what string, edit func(*Loan, time.Time) error) (*Loan, error) {
	need := guard.Need{Action: action, Kind: vault.Secret}
	l, err := s.findLoan(ctx, call, id)
	if err != nil {
		return nil, s.unknownRun(ctx, call, need, err)
	}
	need.Name, need.Detail = l.NameKey, fmt.Sprintf("lease %s: %s: the account %s", id, what, l.Account)
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	if err := s.e.watchClock(ctx); err != nil {
		return nil, s.e.Guard.Refuse(ctx, call, need, err)
	}
	op := store.NewOp(s.e.now(l.Tenant))
	trusted := s.e.wall.resumed(l.Tenant, op.At)
	var n *Loan
	err = s.e.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		stored, err := tx.Loan(ctx, id)
		if err != nil {
			return err
		}
		if n, err = ReadLoan(stored); err != nil {
			return err
		}
		n.count(trusted, op.At)
		if err := edit(n, op.At); err != nil {
			return err
		}
		return putLoan(ctx, tx, n)
	})
	if err == nil {
		s.e.Wake()
	}
	return n, err
}

func putLoan(ctx context.Context, tx store.Tx, l *Loan) error {
	record, err := l.Record()
	if err != nil {
		return err
	}
	if record.NextAt = clock.Micro(record.NextAt); l.NextAt.IsZero() {
		record.NextAt = time.Time{}
	}
	if err := tx.PutLoan(ctx, record); err != nil {
		return err
	}
	l.Revision++
	return nil
}

func (s *Service) findLoan(ctx context.Context, call *guard.Call, id store.LoanID) (l *Loan, err error) {
	err = s.e.Store.View(ctx, func(tx store.Tx) error {
		stored, err := tx.Loan(ctx, id)
		if isMissing(err) || err == nil && stored.Vault != call.Vault.Vault.ID {
			return fault.New(fault.NotFound, "the lease %q was not found in this vault", clip(string(id))).Because("LeaseNotFound")
		}
		if err == nil {
			l, err = ReadLoan(stored)
		}
		return err
	})
	return l, err
}

// GetLoan returns one lease.
func (s *Service) GetLoan(ctx context.Context, call *guard.Call, id store.LoanID) (*Loan, error) {
	need := guard.Need{Action: authz.RotationRead, Kind: vault.Secret}
	l, err := s.findLoan(ctx, call, id)
	if err != nil {
		return nil, s.unknownRun(ctx, call, need, err)
	}
	need.Name = l.NameKey
	return l, s.e.Guard.Read(ctx, call, &need, func() error { return nil })
}

// Loans lists leases of the call's vault, or of one of its secrets alone, the oldest first.
func (s *Service) Loans(ctx context.Context, call *guard.Call, name string, q store.LoanQuery) (list []*Loan, err error) {
	need := guard.Need{Action: authz.RotationRead, Kind: vault.Secret, Name: name}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		return s.e.Store.View(ctx, func(tx store.Tx) error {
			list = nil
			q.Tenant, q.Vault, q.DueBefore = "", call.Vault.Vault.ID, time.Time{}
			if name != "" {
				o, err := live(ctx, tx, q.Vault, name)
				if err != nil {
					return err
				}
				q.Object = o.ID
			}
			found, err := tx.Loans(ctx, q)
			for _, stored := range found {
				l, err := ReadLoan(stored)
				if err != nil {
					return err
				}
				list = append(list, l)
			}
			return err
		})
	})
	return list, err
}
