package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// roles is a superuser's look at the passwords of the pair, and its hand on them.
type roles struct {
	conn *pgx.Conn
	role string
	// known is the verifier that the role had when it was looked at last.
	known string
}

// watchRole looks at a role of the database. The caller must call close.
func (c *changing) watchRole(ctx context.Context, role string) (*roles, error) {
	conn, err := pgx.Connect(ctx, c.database.AdminDSN())
	if err != nil {
		return nil, err
	}
	r := &roles{conn: conn, role: role}
	if _, err := r.changed(ctx); err != nil {
		return nil, errors.Join(err, r.close(ctx))
	}
	return r, nil
}

func (r *roles) close(ctx context.Context) error { return r.conn.Close(context.WithoutCancel(ctx)) }

// changed reports whether somebody gave the role another password since the last look.
func (r *roles) changed(ctx context.Context) (bool, error) {
	var now string
	err := r.conn.QueryRow(ctx, "SELECT coalesce(rolpassword, '') FROM pg_authid WHERE rolname = $1", r.role).Scan(&now)
	changed := now != r.known
	r.known = now
	return changed, err
}

// spoil gives the role a password that nobody knows.
func (r *roles) spoil(ctx context.Context) error {
	_, err := r.conn.Exec(ctx, "ALTER ROLE "+pgx.Identifier{r.role}.Sanitize()+" PASSWORD '"+rand.Text()+"'")
	if err == nil {
		_, err = r.changed(ctx)
	}
	return err
}

// idle is the role of the pair whose turn is next.
func idle(current *credential) string {
	if current.User == pair[0] {
		return pair[1]
	}
	return pair[0]
}

// badCandidate is the chapter in which somebody at the database overwrites each new password before Keywright can try it.
func (c *changing) badCandidate(ctx context.Context) (err error) {
	chapter(3, "a bad candidate, which returns by itself")
	current := c.current()
	role, err := c.watchRole(ctx, idle(current))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, role.close(ctx)) }()
	spoilt := 0
	spoiler := func(ctx context.Context) error {
		changed, err := role.changed(ctx)
		if err != nil || !changed {
			return err
		}
		spoilt++
		return role.spoil(ctx)
	}
	remark("a script at the database sets another password of %s whenever it sees a new one", role.role)
	var run *api.Rotation
	err = c.gate.meanwhile(spoiler, func() (err error) {
		if _, run, err = c.rotate(ctx, "a candidate that will not work"); err != nil {
			return err
		}
		run, err = c.follow(ctx, run.ID, api.RunAborted)
		return err
	})
	if err != nil {
		return err
	}
	hops(run)
	if sets := entered(run, "setting"); spoilt < sets || sets == 0 {
		return fmt.Errorf("%d of %d candidates were spoilt, so nothing was proved", spoilt, sets)
	}
	return step("current is what it was, and the candidate is abandoned", func() (string, error) {
		return c.provedReturn(ctx, current, run)
	})
}

func (c *changing) provedReturn(ctx context.Context, current *credential, run *api.Rotation) (string, error) {
	now, err := c.vault.Holders(ctx, shopSecret, "", 0)
	if err != nil {
		return "", err
	}
	if now.Version != current.version {
		return "", fmt.Errorf("version %s is current now, and %s was", short(now.Version), short(current.version))
	}
	if err := c.signIn(ctx, current); err != nil {
		return "", fmt.Errorf("signing in with the current version: %w", err)
	}
	if _, err := c.vault.GetVersion(ctx, shopSecret, client.Selector{Label: "pending"}); client.KindOf(err) != client.NotFound {
		return "", fmt.Errorf("a version is still pending (%v)", err)
	}
	if err := c.tally.check(); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s (%s) signs in, nothing is pending; the candidate was set %d times and promoted never; the application: 0 failures",
		short(current.version), current.User, entered(run, "setting")), nil
}
