package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// leaseSchema notes when a lease was last given or prolonged: see settleLeases.
const leaseSchema = `
ALTER TABLE leases ADD COLUMN granted INTEGER NOT NULL DEFAULT 0;
`

// leaseClock is the store's clock for leases. It tells the wall's time of when the store was opened, and from then on counts by itself: who sets the machine's
// clock by an hour neither ends every lease, under whoever relies on it, nor keeps them for an hour. One process at a time has the store, so there is one.
type leaseClock struct{ opened time.Time }

// at is the clock's reading at an instant of the process.
func (c leaseClock) at(now time.Time) time.Time { return c.opened.Add(now.Sub(c.opened)) }

// settleLeases shortens the leases that a process before this one was given by a clock that has been set back since: they keep their length and count from now.
// Nobody has to wait for a day because of a clock that was a day ahead.
func settleLeases(c *conn, now time.Time) error {
	if _, err := c.exec(fmt.Sprintf("UPDATE leases SET until = until - (granted - %[1]d), granted = %[1]d WHERE granted > %[1]d", now.UnixMicro())); err != nil {
		return fmt.Errorf("counting the leases from the present clock: %w", err)
	}
	return nil
}

func (t *tx) leaseNow() time.Time { return t.leases.at(time.Now()) }

func (t *tx) lease(ctx context.Context, name string) (l *store.Lease, err error) {
	_, err = t.one(ctx, "SELECT owner, fence, until FROM leases WHERE name = ?", []any{name}, func(r row) {
		l = &store.Lease{Name: name, Owner: r.text(0), Fence: r.integer(1), Until: r.instant(2)}
	})
	return l, err
}

func (t *tx) putLease(ctx context.Context, name, owner string, fence int64, until time.Time) (*store.Lease, error) {
	until = until.UTC().Truncate(time.Microsecond)
	_, err := t.write(ctx, silent, `INSERT INTO leases (name, owner, fence, until, granted) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, fence = excluded.fence, until = excluded.until, granted = excluded.granted`,
		name, owner, fence, until.UnixMicro(), t.leaseNow().UnixMicro())
	return &store.Lease{Name: name, Owner: owner, Fence: fence, Until: until}, err
}

// AcquireLease implements store.Leases.
func (t *tx) AcquireLease(ctx context.Context, name, owner string, ttl, slack time.Duration) (*store.Lease, error) {
	l, err := t.lease(ctx, name)
	if err != nil {
		return nil, err
	}
	now, fence := t.leaseNow(), int64(1)
	switch {
	case l == nil:
	case l.Owner == owner:
		fence = l.Fence
	case l.Owner != "" && now.Before(l.Until.Add(slack)):
		return nil, fault.New(fault.Conflict, "the lease %s is held by %s until %s", name, l.Owner, l.Until.Format(time.RFC3339Nano)).Because(store.LeaseHeld)
	default:
		fence = l.Fence + 1
	}
	return t.putLease(ctx, name, owner, fence, now.Add(ttl))
}

// RenewLease implements store.Leases.
func (t *tx) RenewLease(ctx context.Context, l *store.Lease, ttl time.Duration) (*store.Lease, error) {
	if _, err := t.ownLease(ctx, l); err != nil {
		return nil, err
	}
	return t.putLease(ctx, l.Name, l.Owner, l.Fence, t.leaseNow().Add(ttl))
}

// CheckLease implements store.Leases.
func (t *tx) CheckLease(ctx context.Context, l *store.Lease) error {
	stored, err := t.ownLease(ctx, l)
	if err == nil && !t.leaseNow().Before(stored.Until) {
		return leaseLost(l)
	}
	return err
}

// ReleaseLease implements store.Leases. The row stays: its fence must never be given twice.
func (t *tx) ReleaseLease(ctx context.Context, l *store.Lease) error {
	_, err := t.write(ctx, silent, "UPDATE leases SET owner = '', until = 0 WHERE name = ? AND owner = ? AND fence = ?", l.Name, l.Owner, l.Fence)
	return err
}

func (t *tx) ownLease(ctx context.Context, l *store.Lease) (*store.Lease, error) {
	stored, err := t.lease(ctx, l.Name)
	if err == nil && (stored == nil || stored.Owner != l.Owner || stored.Fence != l.Fence) {
		err = leaseLost(l)
	}
	return stored, err
}

func leaseLost(l *store.Lease) error {
	return fault.New(fault.Conflict, "the lease %s was lost by %s: whoever has it now goes on", l.Name, l.Owner).Because(store.LeaseLost)
}
