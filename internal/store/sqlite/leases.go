package sqlite

import (
	"context"
	"fmt"
	"time"
)

// leaseClock is the store's clock for leases. It tells the wall's time of when the store was opened, and from then on counts by itself: who sets the machine's
// clock by an hour neither ends every lease, under whoever relies on it, nor keeps them for an hour. One process at a time has the store, so there is one.
type leaseClock struct{ opened time.Time }

// at is the clock's reading at an instant of the process.
func (c leaseClock) at(now time.Time) time.Time { return c.opened.Add(now.Sub(c.opened)) }

// leaseNow is the clock of the transactions.
func (s *Store) leaseNow(context.Context) (time.Time, error) { return s.leases.at(time.Now()), nil }

// settleLeases shortens the leases that a process before this one was given by a clock that has been set back since: they keep their length and count from now.
// Nobody has to wait for a day because of a clock that was a day ahead.
func settleLeases(c *conn, now time.Time) error {
	if _, err := c.exec(fmt.Sprintf("UPDATE leases SET until = until - (granted - %[1]d), granted = %[1]d WHERE granted > %[1]d", now.UnixMicro())); err != nil {
		return fmt.Errorf("counting the leases from the present clock: %w", err)
	}
	return nil
}
