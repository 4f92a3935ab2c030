package mssql

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// Sessions lists the sessions of a login at every endpoint.
func (*Rotator) Sessions(ctx context.Context, t *rotator.Target, account string) ([]rotator.Session, error) {
	var found []rotator.Session
	err := everywhere(ctx, t, account, func(ctx context.Context, s *session) error {
		some, err := s.sessions(ctx, account)
		found = append(found, some...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Terminate ends the sessions of a login at every endpoint. Its count is of those that it ended.
func (*Rotator) Terminate(ctx context.Context, t *rotator.Target, account string) (n int, err error) {
	err = everywhere(ctx, t, account, func(ctx context.Context, s *session) error {
		some, err := s.sessions(ctx, account)
		if err != nil {
			return err
		}
		for _, one := range some {
			id, err := strconv.ParseUint(one.ID, 10, 31)
			if err != nil {
				return rotator.Fail(rotator.NotApplied, nil, "%s named a session by something else than a number", s.endpoint)
			}
			_, err = s.ExecContext(ctx, fmt.Sprintf("KILL %d", id)) // takes no parameters
			if number(err) == notActive {
				continue // it ended by itself
			}
			if err != nil {
				return failed(err, "ending session %d at %s: the administrator needs ALTER ANY CONNECTION", id, s.endpoint)
			}
			n++
		}
		return nil
	})
	return n, err
}

// everywhere calls f at each endpoint as the administrator.
func everywhere(ctx context.Context, t *rotator.Target, account string, f func(context.Context, *session) error) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := checkName(account); err != nil {
		return err
	}
	c, err := parse(t.Config)
	if err != nil {
		return err
	}
	for _, e := range c.Endpoints {
		s, err := c.admin(ctx, t, e)
		if err != nil {
			return err
		}
		err = f(ctx, s)
		s.close()
		if err != nil {
			return err
		}
	}
	return nil
}

// sessions reads the sessions whose first login was this one, whoever they became by EXECUTE AS. Their age is asked for and not their time: the server's
// login_time has no zone.
func (s *session) sessions(ctx context.Context, account string) ([]rotator.Session, error) {
	rows, err := s.texts(ctx, `SELECT CONVERT(nvarchar(9), s.session_id), CONVERT(nvarchar(40), DATEDIFF(second, s.login_time, GETDATE())), ISNULL(s.program_name, ''), ISNULL(c.client_net_address, '')
		FROM sys.dm_exec_sessions s OUTER APPLY (SELECT TOP 1 client_net_address FROM sys.dm_exec_connections WHERE session_id = s.session_id) c
		WHERE s.original_login_name = @p1 AND s.is_user_process = 1 ORDER BY s.session_id`, account)
	if err != nil {
		return nil, failed(err, "listing the sessions of %q at %s: the administrator needs VIEW SERVER STATE", account, s.endpoint)
	}
	var found []rotator.Session
	for _, r := range rows {
		one := rotator.Session{Endpoint: s.endpoint, Account: account, ID: r[0], Client: r[2], Address: r[3]}
		if age, err := strconv.Atoi(r[1]); err == nil {
			one.Since = time.Now().Add(-time.Duration(age) * time.Second)
		}
		found = append(found, one)
	}
	return found, nil
}
