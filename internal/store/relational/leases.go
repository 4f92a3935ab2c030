package relational

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// leaseSchema notes when a lease was last given or prolonged, for a clock that may have been set back since.
const leaseSchema = `
ALTER TABLE leases ADD COLUMN granted INTEGER NOT NULL DEFAULT 0;
`

func (t *Tx) lease(ctx context.Context, name string) (l *store.Lease, err error) {
	_, err = t.one(ctx, "SELECT owner, fence, until FROM leases WHERE name = ?", []any{name}, func(r Row) {
		l = &store.Lease{Name: name, Owner: r.Text(0), Fence: r.Integer(1), Until: r.Instant(2)}
	})
	return l, err
}

// putLease gives a lease from now on.
func (t *Tx) putLease(ctx context.Context, name, owner string, fence int64, now time.Time, ttl time.Duration) (*store.Lease, error) {
	until := now.Add(ttl).UTC().Truncate(time.Microsecond)
	_, err := t.put(ctx, silent, `INSERT INTO leases (name, owner, fence, until, granted) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, fence = excluded.fence, until = excluded.until, granted = excluded.granted`,
		name, owner, fence, until.UnixMicro(), now.UnixMicro())
	return &store.Lease{Name: name, Owner: owner, Fence: fence, Until: until}, err
}

// AcquireLease implements store.Leases.
func (t *Tx) AcquireLease(ctx context.Context, name, owner string, ttl, slack time.Duration) (*store.Lease, error) {
	l, err := t.lease(ctx, name)
	if err != nil {
		return nil, err
	}
	now, err := t.clock(ctx)
	if err != nil {
		return nil, t.fail(err)
	}
	fence := int64(1)
	switch {
	case l == nil:
	case l.Owner == owner:
		fence = l.Fence
	case l.Owner != "" && now.Before(l.Until.Add(slack)):
		return nil, fault.New(fault.Conflict, "the lease %s is held by %s until %s", name, l.Owner, l.Until.Format(time.RFC3339Nano)).Because(store.LeaseHeld)
	default:
		fence = l.Fence + 1
	}
	return t.putLease(ctx, name, owner, fence, now, ttl)
}

// RenewLease implements store.Leases.
func (t *Tx) RenewLease(ctx context.Context, l *store.Lease, ttl time.Duration) (*store.Lease, error) {
	if _, err := t.ownLease(ctx, l); err != nil {
		return nil, err
	}
	now, err := t.clock(ctx)
	if err != nil {
		return nil, t.fail(err)
	}
	return t.putLease(ctx, l.Name, l.Owner, l.Fence, now, ttl)
}

// CheckLease implements store.Leases.
func (t *Tx) CheckLease(ctx context.Context, l *store.Lease) error {
	stored, err := t.ownLease(ctx, l)
	if err != nil {
		return err
	}
	now, err := t.clock(ctx)
	if err != nil {
		return t.fail(err)
	}
	if !now.Before(stored.Until) {
		return leaseLost(l)
	}
	return nil
}

// ReleaseLease implements store.Leases. The row stays: its fence must never be given twice.
func (t *Tx) ReleaseLease(ctx context.Context, l *store.Lease) error {
	return t.arrange(ctx, "UPDATE leases SET owner = '', until = 0 WHERE name = ? AND owner = ? AND fence = ?", l.Name, l.Owner, l.Fence)
}

func (t *Tx) ownLease(ctx context.Context, l *store.Lease) (*store.Lease, error) {
	stored, err := t.lease(ctx, l.Name)
	if err == nil && (stored == nil || stored.Owner != l.Owner || stored.Fence != l.Fence) {
		err = leaseLost(l)
	}
	return stored, err
}

func leaseLost(l *store.Lease) error {
	return fault.New(fault.Conflict, "the lease %s was lost by %s: whoever has it now goes on", l.Name, l.Owner).Because(store.LeaseLost)
}
