package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/internal/rotator"
)

// Sessions lists who is logged in as the account, at every endpoint: standbys have sessions of their own. Without pg_read_all_stats the server
// hides since when and from where, never that a session is there.
func (r *Rotator) Sessions(ctx context.Context, t *rotator.Target, account string) ([]rotator.Session, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	sessions := []rotator.Session{}
	err := r.everywhere(ctx, t, account, func(s *session) error {
		rows, err := s.Query(ctx, `SELECT pid, coalesce(host(client_addr), ''), coalesce(application_name, ''), backend_start FROM pg_stat_activity
			WHERE usename = $1 AND pid <> pg_backend_pid() AND backend_type IS DISTINCT FROM 'parallel worker' ORDER BY pid`, account)
		if err != nil {
			return failed(err, "listing the sessions of %q at %s", account, s.endpoint)
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (rotator.Session, error) {
			one := rotator.Session{Endpoint: s.endpoint, Account: account}
			var pid int32
			var since *time.Time
			err := row.Scan(&pid, &one.Address, &one.Client, &since)
			one.ID = fmt.Sprint(pid)
			if since != nil {
				one.Since = since.UTC()
			}
			return one, err
		})
		if err != nil {
			return failed(err, "listing the sessions of %q at %s", account, s.endpoint)
		}
		sessions = append(sessions, found...)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sessions, nil
}

// Terminate ends the account's sessions at every endpoint. The administrator needs pg_signal_backend, or membership in the role.
func (r *Rotator) Terminate(ctx context.Context, t *rotator.Target, account string) (int, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	total := 0
	err := r.everywhere(ctx, t, account, func(s *session) error {
		n, err := s.terminate(ctx, account)
		total += n
		return err
	})
	return total, err
}

func (s *session) terminate(ctx context.Context, account string) (n int, err error) {
	err = s.QueryRow(ctx, `SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
		WHERE usename = $1 AND pid <> pg_backend_pid()`, account).Scan(&n)
	if err != nil {
		// Some may have been ended before the answer was lost.
		class := rotator.Doubt
		if sqlstate(err) == insufficientRight {
			class = rotator.Denied
		}
		return 0, rotator.Fail(class, err, "ending the sessions of %q at %s: the administrator needs pg_signal_backend there", account, s.endpoint)
	}
	return n, nil
}

// everywhere calls f with the administrator's session at each endpoint.
func (r *Rotator) everywhere(ctx context.Context, t *rotator.Target, account string, f func(*session) error) error {
	c, err := parse(t.Config)
	if err != nil {
		return err
	}
	if err := checkName(account); err != nil {
		return err
	}
	for _, e := range c.Endpoints {
		s, err := c.admin(ctx, t, e, c.Database)
		if err != nil {
			return err
		}
		err = f(s)
		s.close(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}
