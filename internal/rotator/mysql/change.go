package mysql

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// Set makes every row of the account accept the value at every endpoint.
func (Rotator) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	g := goal{values: []redact.Bytes{c.Value}, unlock: c.Keep == nil}
	if c.Keep != nil {
		g.values = append(g.values, c.Keep.Value)
	}
	return change(ctx, t, c, g, func(endpoint string) error {
		return rotator.Fail(rotator.Misconfigured, nil, "the account %q does not exist at %s: create it there", c.Account, endpoint)
	})
}

// Revoke makes every row of the account refuse the value at every endpoint. Without another one to keep, the rows get a password that nobody
// knows, and are locked; nothing is dropped, for views and routines may be defined by the account.
func (Rotator) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	var g goal
	if c.Keep != nil {
		g.values = []redact.Bytes{c.Keep.Value}
	}
	return change(ctx, t, c, g, func(string) error { return nil })
}

// change brings the rows to the goal, one endpoint after the other, when all of them can be changed. absent says what it means that an
// endpoint has no rows.
func change(ctx context.Context, t *rotator.Target, c rotator.Change, g goal, absent func(endpoint string) error) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	config, err := open(t, c)
	if err != nil {
		return err
	}
	for _, v := range g.values {
		if len(v) == 0 || bytes.IndexByte(v, 0) >= 0 {
			return rotator.Fail(rotator.Refused, nil, "a password is empty or has a zero byte: use another")
		}
	}
	sessions, err := administer(ctx, config, t.Admin, c.Account)
	defer closeAll(sessions)
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if _, err := s.plan(ctx, config, c.Account, g, absent); err != nil {
			return err
		}
		s.guarded = true
	}
	applied := false
	for _, s := range sessions {
		// Planned anew: another endpoint's change may have arrived by replication.
		todo, err := s.plan(ctx, config, c.Account, g, absent)
		if err == nil {
			err = s.apply(ctx, todo, &applied)
		}
		if err != nil && applied {
			return rotator.Fail(rotator.Doubt, err, "the change of %q is done in part: probe before the next try", c.Account)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// open reads what a verb needs.
func open(t *rotator.Target, c rotator.Change) (*config, error) {
	config, err := parse(t.Config)
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the target cannot be used")
	}
	if t.Admin.IsZero() {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the target has no administrator: on MariaDB and MySQL an account cannot give itself a second password")
	}
	if c.Account == "" || !utf8.ValidString(c.Account) || strings.ContainsRune(c.Account, 0) {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "%q is no name of an account", c.Account)
	}
	if c.Keep != nil && c.Keep.Account != c.Account {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the value to keep belongs to %q and not to %q", c.Keep.Account, c.Account)
	}
	return config, nil
}

// administer logs in at every endpoint and locks the account there: in the order of their names, so that two changes never wait for each
// other. It returns the sessions in the order of the configuration. The caller closes them, after an error too.
func administer(ctx context.Context, c *config, admin rotator.Credential, account string) (sessions []*session, err error) {
	for _, e := range slices.Sorted(slices.Values(c.Endpoints)) {
		s, err := login(ctx, c, e, admin)
		if err != nil {
			return sessions, loginFailure(e, err)
		}
		sessions = append(sessions, s)
		if err := s.lock(ctx, account); err != nil {
			return sessions, err
		}
	}
	slices.SortFunc(sessions, func(a, b *session) int {
		return slices.Index(c.Endpoints, a.endpoint) - slices.Index(c.Endpoints, b.endpoint)
	})
	return sessions, nil
}

func closeAll(sessions []*session) {
	for _, s := range sessions {
		s.close()
	}
}

// work is one statement for one row.
type work struct {
	row  row
	text string
}

// plan reads what the server has now, and says what is to be done. Nothing has happened yet.
func (s *session) plan(ctx context.Context, c *config, account string, g goal, absent func(string) error) ([]work, error) {
	rows, err := s.changeable(ctx, c, account)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, absent(s.endpoint)
	}
	var todo []work
	for _, r := range rows {
		plugin, wrong := r.plugin(c.Plugin, s.server.mariadb)
		if wrong == "" && len(g.values) > 1 {
			wrong = s.server.dualRefusal(r, plugin)
		}
		if wrong != "" {
			return nil, rotator.Fail(rotator.Misconfigured, nil, "at %s, %s", s.endpoint, wrong)
		}
		for _, text := range statements(r, s.server.mariadb, plugin, g) {
			todo = append(todo, work{row: r, text: text})
		}
	}
	return todo, nil
}

// changeable reads the rows of an account and refuses those that must not be changed here.
func (s *session) changeable(ctx context.Context, c *config, account string) ([]row, error) {
	cells, err := s.query(ctx, "SELECT @@GLOBAL.read_only")
	if err != nil {
		return nil, s.before(err, "asking whether the server is writable")
	}
	if cells[0][0] != "0" {
		return nil, rotator.Fail(rotator.NotApplied, nil, "%s is read only: after a failover name the new primary under endpoints, and this one under replicas", s.endpoint)
	}
	rows, err := s.rows(ctx, account)
	if err != nil {
		return nil, s.before(err, "reading the account")
	}
	for _, r := range rows {
		if r.role {
			return nil, rotator.Fail(rotator.Misconfigured, nil, "%q is a role at %s: nobody logs in as a role", account, s.endpoint)
		}
		if c.AllowPrivileged || s.guarded {
			continue
		}
		rights, err := s.rights(ctx, r)
		if err != nil {
			return nil, s.before(err, "reading the rights of the account")
		}
		if high := rights.administrative(); high != "" {
			return nil, rotator.Fail(rotator.Misconfigured, nil, "%v at %s has administrative rights (%s): set allowPrivileged if it is meant", r, s.endpoint, high)
		}
	}
	return rows, nil
}

// dualRefusal says why a row cannot have two passwords, or nothing.
func (s server) dualRefusal(r row, plugin string) string {
	switch {
	case s.mariadb && plugin == ed25519:
		return fmt.Sprintf("%v uses ed25519: with two such passwords, clients that take part in one change of method only, such as Go's, cannot log in by the second; use the alternating strategy", r)
	case !s.mariadb && !s.atLeast(8, 0, 14):
		return fmt.Sprintf("%v is on %v, which has no second passwords: use the alternating strategy", r, s)
	case !s.mariadb && r.places().primary.plugin != plugin:
		return fmt.Sprintf("%v uses another plugin than %s, and a change of the plugin drops the old password: change it by the single or the alternating strategy first", r, plugin)
	}
	return ""
}

func (s *session) apply(ctx context.Context, todo []work, applied *bool) error {
	for _, w := range todo {
		if err := s.expire(ctx); err != nil {
			return err
		}
		if _, err := s.conn.ExecContext(ctx, "ALTER USER "+w.row.sql()+" "+w.text); err != nil {
			return s.altering(w.row, err)
		}
		*applied = true
	}
	return nil
}
