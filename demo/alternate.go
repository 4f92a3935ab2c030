package main

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/client/api"
)

// alternate is the chapter in which the password changes over and over.
func (c *changing) alternate(ctx context.Context) (err error) {
	chapter(2, fmt.Sprintf("%d rotations in a row", c.rotations))
	holders, err := c.vault.Holders(ctx, shopSecret, "", 0)
	if err != nil {
		return err
	}
	c.before = holders.Items
	begin := time.Now()
	for n := range c.rotations {
		if err := c.alternateOnce(ctx, n+1); err != nil {
			return fmt.Errorf("rotation %d: %w", n+1, err)
		}
	}
	if err := c.tally.check(); err != nil {
		return err
	}
	return step("nobody noticed", func() (string, error) {
		return fmt.Sprintf("%d rotations in %.0f s, %d queries, %d logins, 0 failures", c.rotations, time.Since(begin).Seconds(),
			c.tally.queries.Load(), c.tally.logins.Load()), nil
	})
}

func (c *changing) alternateOnce(ctx context.Context, n int) error {
	begin, logins := time.Now(), c.tally.logins.Load()
	old, run, err := c.rotate(ctx, fmt.Sprintf("rotation %d of the demonstration", n))
	if err != nil {
		return err
	}
	if run, err = c.follow(ctx, run.ID, api.RunDone); err != nil {
		return err
	}
	took := run.Ended.Sub(begin)
	revocation, err := c.revocation(ctx, run)
	if err != nil {
		return err
	}
	if n == 1 {
		hops(run)
	}
	d, err := c.bury(ctx, fmt.Sprint("rotation ", n), old, revocation)
	if err != nil {
		return err
	}
	if n == 1 {
		last, err := c.vault.Rotation(ctx, revocation.ID)
		if err != nil {
			return err
		}
		hops(last)
	}
	if run.Account == d.account {
		return fmt.Errorf("%s was changed while it was in use", run.Account)
	}
	remark("%2d  %s current after %.1f s; %s dead at %s, %.1f s later: %s; %d logins meanwhile", n, run.Account, took.Seconds(),
		d.account, clockTime(d.at), d.at.Sub(d.promoted).Seconds(), d.evidence, c.tally.logins.Load()-logins)
	return nil
}
