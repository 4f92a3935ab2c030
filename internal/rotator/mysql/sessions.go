package mysql

import (
	"context"

	"github.com/keywright/keywright/internal/rotator"
)

// Sessions lists the account's sessions at every endpoint and replica. The servers do not tell when one began.
func (Rotator) Sessions(ctx context.Context, t *rotator.Target, account string) ([]rotator.Session, error) {
	var all []rotator.Session
	err := everywhere(ctx, t, account, func(ctx context.Context, s *session) error {
		found, err := s.sessions(ctx, account)
		all = append(all, found...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Terminate ends the account's sessions at every endpoint and replica.
func (Rotator) Terminate(ctx context.Context, t *rotator.Target, account string) (n int, err error) {
	err = everywhere(ctx, t, account, func(ctx context.Context, s *session) error {
		found, err := s.sessions(ctx, account)
		if err != nil {
			return err
		}
		for _, one := range found {
			_, err := s.conn.ExecContext(ctx, "KILL "+one.ID)
			switch number(err) {
			case errNoSuchThread:
				continue
			case errKillDenied, errPrivilegeNeeded:
				return rotator.Fail(rotator.Denied, cause(err), "the administrator may not end sessions at %s: grant CONNECTION ADMIN (MySQL: CONNECTION_ADMIN) on *.*", s.endpoint)
			}
			if err != nil {
				return rotator.Fail(rotator.Doubt, cause(err), "ending a session at %s failed", s.endpoint)
			}
			n++
		}
		return nil
	})
	return n, err
}

// everywhere visits every server as the administrator, who has to see all sessions there: without the right, a server shows less and says nothing.
func everywhere(ctx context.Context, t *rotator.Target, account string, visit func(context.Context, *session) error) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	config, err := open(t, rotator.Change{Credential: rotator.Credential{Account: account}})
	if err != nil {
		return err
	}
	for _, e := range config.all() {
		if err := at(ctx, config, e, t.Admin, visit); err != nil {
			return err
		}
	}
	return nil
}

func at(ctx context.Context, c *config, endpoint string, admin rotator.Credential, visit func(context.Context, *session) error) error {
	s, err := login(ctx, c, endpoint, admin)
	if err != nil {
		return loginFailure(endpoint, err)
	}
	defer s.close()
	rights, err := s.rights(ctx, s.self())
	if err != nil {
		return s.before(err, "reading the administrator's rights")
	}
	if !rights.has("PROCESS") {
		return rotator.Fail(rotator.Denied, nil, "the administrator does not see the sessions of others at %s: grant PROCESS on *.*", endpoint)
	}
	return visit(ctx, s)
}

func (s *session) sessions(ctx context.Context, account string) ([]rotator.Session, error) {
	cells, err := s.query(ctx, "SELECT ID, USER, HOST FROM information_schema.PROCESSLIST WHERE COMMAND <> 'Killed' AND ID <> CONNECTION_ID()")
	if err != nil {
		return nil, s.before(err, "listing the sessions")
	}
	var found []rotator.Session
	for _, c := range cells {
		if c[1] == account {
			found = append(found, rotator.Session{Endpoint: s.endpoint, Account: account, ID: c[0], Address: c[2]})
		}
	}
	return found, nil
}
