package mysql

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/keywright/keywright/internal/rotator"
)

// Probe logs in at every endpoint and replica.
func (Rotator) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	config, err := parse(t.Config)
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the target cannot be used")
	}
	if c.Account == "" || len(c.Value) == 0 {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "there is no account or no password to log in with")
	}
	endpoints := config.all()
	logins, users, ids := make(rotator.Logins, len(endpoints)), make([]string, len(endpoints)), make([]string, len(endpoints))
	var all sync.WaitGroup
	for i, e := range endpoints {
		all.Go(func() { logins[i], users[i], ids[i] = probe(ctx, config, e, c) })
	}
	all.Wait()
	var own []string
	for _, id := range ids[:len(config.Endpoints)] {
		if id != "" {
			own = append(own, id)
		}
	}
	for i := range logins {
		if ids[i] != "" {
			logins[i].Identity = identity(own, users[i])
		}
	}
	return logins, nil
}

// probe is one login; user and id are empty where nobody came in.
func probe(ctx context.Context, c *config, endpoint string, who rotator.Credential) (l rotator.Login, user, id string) {
	l.Endpoint = endpoint
	s, err := login(ctx, c, endpoint, who)
	if err != nil {
		l.Verdict, l.Detail = verdictOf(err)
		return l, "", ""
	}
	defer s.close()
	self := s.self()
	if self.user != who.Account {
		l.Detail = fmt.Sprintf("the login became %v: that row shadows the account for this machine", self)
		return l, self.user, s.server.id
	}
	l.Verdict, l.Detail = rotator.Accepted, fmt.Sprintf("logged in as %v", self)
	return l, self.user, s.server.id
}

// verdictOf reads a failed login. Locked accounts, limits and expired passwords prove nothing: the value may be the right one.
func verdictOf(err error) (rotator.Verdict, string) {
	switch n := number(err); n {
	case errAccessDenied, errNoPassword:
		// MariaDB says 1698 when the last method of a row asks for no password, such as unix_socket.
		return rotator.Rejected, fmt.Sprintf("the server refused the password (%d)", n)
	case errLockedMariaDB, errLockedMySQL:
		return rotator.Unknown, fmt.Sprintf("the account is locked (%d)", n)
	case errLockedOutMariaDB, errLockedOutMySQL:
		return rotator.Unknown, fmt.Sprintf("the account is blocked after too many wrong passwords (%d)", n)
	case errPasswordExpired:
		return rotator.Unknown, "the password has expired (1862)"
	case 0:
		return rotator.Unknown, "no answer: " + err.Error()
	default:
		return rotator.Unknown, fmt.Sprintf("the server let nobody in (%d)", n)
	}
}

// self is the row that the login met. A host has no @.
func (s *session) self() row {
	at := strings.LastIndex(s.user, "@")
	return row{user: s.user[:max(at, 0)], host: s.user[at+1:]}
}
