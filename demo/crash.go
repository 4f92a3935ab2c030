package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/keywright/keywright/client/api"
)

// crash is the chapter in which the server is killed after it set a password and before it tested it.
func (c *changing) crash(ctx context.Context) (err error) {
	chapter(4, "the server is killed in mid-run")
	role, err := c.watchRole(ctx, idle(c.current()))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, role.close(ctx)) }()
	var old *credential
	var run *api.Rotation
	killed := make(chan struct{})
	var once atomic.Bool
	killer := func(ctx context.Context) error {
		if once.Load() {
			return errShut
		}
		changed, err := role.changed(ctx)
		if err != nil || !changed {
			return err
		}
		once.Store(true)
		defer close(killed)
		return errors.Join(c.keywright.process.Stop(syscall.SIGKILL, time.Second), errShut)
	}
	err = c.gate.meanwhile(killer, func() (err error) {
		if old, run, err = c.rotate(ctx, "the server dies in this one"); err != nil {
			return err
		}
		select {
		case <-killed:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(limit):
			return errors.New("no new password reached the database")
		}
	})
	if err != nil {
		return err
	}
	died := time.Now()
	remark("%s  kill -9: the database has taken a new password of %s, and nobody has tried it yet", clockTime(died), role.role)
	if err := c.away(ctx); err != nil {
		return err
	}
	if err := step("keywright dev is started again, on the same files", func() (string, error) { return "", c.keywright.again(ctx) }); err != nil {
		return err
	}
	if run, err = c.follow(ctx, run.ID, api.RunDone); err != nil {
		return err
	}
	hops(run)
	if run.Ended.Before(died) || entered(run, "generating") != 1 {
		return fmt.Errorf("the run ended at %s, and made %d values: it was to make one and to outlive the kill", clockTime(*run.Ended), entered(run, "generating"))
	}
	revocation, err := c.revocation(ctx, run)
	if err != nil {
		return err
	}
	d, err := c.bury(ctx, "killed in mid-run", old, revocation)
	if err != nil {
		return err
	}
	return step("the run was continued where it stood", func() (string, error) {
		return fmt.Sprintf("%s current %.1f s after the kill, %s dead at %s: %s; the application: 0 failures", run.Account, run.Ended.Sub(died).Seconds(),
			d.account, clockTime(d.at), d.evidence), c.tally.check()
	})
}

// away lets the application work for a while without its vault.
func (c *changing) away(ctx context.Context) error {
	queries, logins := c.tally.queries.Load(), c.tally.logins.Load()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
	}
	return step("the application works on without its vault", func() (string, error) {
		q, l := c.tally.queries.Load()-queries, c.tally.logins.Load()-logins
		if q == 0 || l == 0 {
			return "", fmt.Errorf("%d queries and %d logins in a second", q, l)
		}
		return fmt.Sprintf("%d queries and %d logins in a second", q, l), c.tally.check()
	})
}
