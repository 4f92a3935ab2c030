package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

const (
	laggardName = "nightly-report"
	// namedWithin is how soon who holds up a revocation has to be named.
	namedWithin = 30 * time.Second
	orderNote   = "the nightly report is switched off until it reads its secret again"
)

// laggard is the chapter of a program that reads its secret once, at its start, and never again.
func (c *changing) laggard(ctx context.Context) error {
	chapter(5, "a consumer that never moves")
	own := machine(firstMachine + instances)
	vault, err := c.as(laggardName, own)
	if err != nil {
		return err
	}
	s, err := vault.Get(ctx, shopSecret)
	if err != nil {
		return err
	}
	held, err := readCredential(s)
	if err != nil {
		return err
	}
	conn, err := own.connect(ctx, c.database.DSN(held.User, held.Password, shopDatabase))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	remark("%s reads %s once, signs in, and never asks again", laggardName, short(held.version))
	_, run, err := c.rotate(ctx, "one consumer will not follow")
	if err != nil {
		return err
	}
	if run, err = c.follow(ctx, run.ID, api.RunDone); err != nil {
		return err
	}
	remark("%s  %s is current, %s waits to be revoked", clockTime(*run.Ended), run.Account, held.User)
	revocation, err := c.revocation(ctx, run)
	if err != nil {
		return err
	}
	if err := step("who holds it up is named", func() (string, error) { return c.name(ctx, held, run, revocation) }); err != nil {
		return err
	}
	if err := step("its credential is not touched", func() (string, error) { return c.stays(ctx, held, conn, revocation) }); err != nil {
		return err
	}
	return c.force(ctx, held, conn, revocation)
}

// name waits until the ledger waits for the laggard and for nobody else.
func (c *changing) name(ctx context.Context, held *credential, run, revocation *api.Rotation) (string, error) {
	r, err := c.await(ctx, revocation.ID, func(r *api.Rotation) bool { return len(r.Waiting) == 1 })
	if err != nil {
		return "", err
	}
	after := time.Since(*run.Ended)
	if w := r.Waiting[0]; w.Instance != laggardName || after > namedWithin {
		return "", fmt.Errorf("%s was waited for after %.1f s", w.Instance, after.Seconds())
	}
	list, err := c.vault.Holders(ctx, shopSecret, held.version, 0)
	if err != nil {
		return "", err
	}
	for _, h := range list.Items {
		if h.Instance != laggardName {
			continue
		}
		if h.State != api.Live || h.First == nil || list.Safe {
			return "", fmt.Errorf("it is %s (%s), and the version %s", h.State, h.Reason, list.Reason)
		}
		return fmt.Sprintf("after %.1f s: %s, %s, since %s: %s", after.Seconds(), holder(&h), h.State, clockTime(*h.First), h.Reason), nil
	}
	return "", errors.New("it is not among the holders")
}

// stays proves that the old version is good while it is waited for, however often the engine looks.
func (c *changing) stays(ctx context.Context, held *credential, conn *pgx.Conn, revocation *api.Rotation) (string, error) {
	const looks = 3
	r, err := c.vault.Rotation(ctx, revocation.ID)
	if err != nil {
		return "", err
	}
	from := r.Revision
	if r, err = c.await(ctx, revocation.ID, func(r *api.Rotation) bool { return r.Revision >= from+looks }); err != nil {
		return "", err
	}
	if r.State != "awaiting" {
		return "", fmt.Errorf("the revocation stands at %s", r.State)
	}
	if err := errors.Join(conn.Ping(ctx), c.signIn(ctx, held)); err != nil {
		return "", fmt.Errorf("the old credential died under its holder: %w", err)
	}
	return fmt.Sprintf("%d looks later %s still signs in, and its session is open", looks, held.User), nil
}

// force is an operator's word, and what it leaves behind.
func (c *changing) force(ctx context.Context, held *credential, conn *pgx.Conn, revocation *api.Rotation) error {
	begin := time.Now()
	var d *death
	if err := step("an operator revokes it all the same, and says why", func() (string, error) {
		if _, err := c.vault.OrderRotation(ctx, revocation.ID, api.OrderRotation{Order: api.ForceOrder, Note: orderNote}); err != nil {
			return "", err
		}
		var err error
		if d, err = c.bury(ctx, "forced by an operator", held, revocation); err != nil {
			return "", err
		}
		if conn.Ping(ctx) == nil {
			return "", errors.New("the session of the old credential goes on")
		}
		return fmt.Sprintf("%s dead at %s, its session ended", held.User, clockTime(d.at)), nil
	}); err != nil {
		return err
	}
	return step("the audit log has it", func() (string, error) { return c.recorded(ctx, begin) })
}

func (c *changing) recorded(ctx context.Context, since time.Time) (string, error) {
	for r, err := range c.everything.AuditRecords(ctx, client.AuditFilter{From: since.Add(-time.Second), Vault: vaultName, Object: shopSecret}) {
		if err != nil {
			return "", err
		}
		if tells(r, orderNote) {
			return fmt.Sprintf("%s  %s  %s by %s: %s", clockTime(r.Time), r.Outcome, r.Action, r.Principal, r.Reason), nil
		}
	}
	return "", errors.New("no record has the operator's reason")
}
