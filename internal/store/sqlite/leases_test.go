package sqlite

import (
	"context"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock/clocktest"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// The clock of leases goes on counting when the machine's clock is set.
func TestLeasesCountWhateverTheClockSays(t *testing.T) {
	var machine clocktest.Stepped
	c := leaseClock{opened: machine.Now()}
	for _, step := range []time.Duration{time.Hour, -2 * time.Hour, 24 * time.Hour, -48 * time.Hour} {
		machine.Step(step)
		if off := c.at(machine.Now()).Round(0).Sub(c.opened.Round(0)); off < 0 || off > time.Minute {
			t.Errorf("after a step of %s the clock of leases is off by %s", step, off)
		}
	}
}

// A lease that was given by a clock that was a day ahead is not held for a day after the restart at which the clock was right.
func TestLeasesOfAClockThatWasAhead(t *testing.T) {
	dir := t.TempDir()
	open := func() *Store {
		t.Helper()
		s, err := Open(Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	acquire := func(s *Store, owner string) (l *store.Lease, err error) {
		err = s.Update(context.Background(), store.NewOp(time.Now()), func(tx store.Tx) error {
			l, err = tx.AcquireLease(context.Background(), "account", owner, time.Minute, 0)
			return err
		})
		return l, err
	}
	s := open()
	var machine clocktest.Stepped
	machine.Step(24 * time.Hour)
	s.leases.opened = machine.Now()
	if _, err := acquire(s, "a"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open()
	defer s.Close()
	if _, err := acquire(s, "b"); fault.As(err) == nil || fault.As(err).Reason != store.LeaseHeld {
		t.Errorf("the lease did not keep its length: %v", err)
	}
	l, err := acquire(s, "a")
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(l.Until); left > time.Hour {
		t.Errorf("prolonged, it has %s left", left)
	}
	// Another minute, and b may have it.
	machine.Step(-24*time.Hour + 2*time.Minute)
	s.leases.opened = machine.Now()
	if _, err := acquire(s, "b"); err != nil {
		t.Errorf("the lease is held on: %v", err)
	}
}
