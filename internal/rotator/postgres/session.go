package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/internal/rotator"
)

// callTime bounds a verb whose caller gave no deadline.
const callTime = 30 * time.Second

// bounded makes sure that there is a deadline to give to the server.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callTime)
}

// session is one connection of one login.
type session struct {
	*pgx.Conn
	endpoint string
}

// dial logs in on a fresh connection. The error is pgx's own: who calls knows what it means.
func (c *config) dial(ctx context.Context, endpoint, database string, as rotator.Credential, attempt string) (*session, error) {
	// Everything that PG… variables of this process could say is given, or replaced below.
	p, err := pgx.ParseConfig("host=127.0.0.1 sslmode=disable target_session_attrs=any")
	if err != nil {
		return nil, fmt.Errorf("preparing a connection: %w", err)
	}
	if p.Host, p.Port, err = split(endpoint); err != nil {
		return nil, err
	}
	p.Database, p.User, p.Password = database, as.Account, string(as.Value.Reveal())
	p.Fallbacks, p.ValidateConnect, p.AfterConnect, p.OAuthTokenProvider = nil, nil, nil, nil
	p.SSLNegotiation, p.SSLCertMode, p.ChannelBinding = "postgres", "disable", "prefer"
	if p.TLSConfig = nil; c.tls != nil {
		p.TLSConfig = c.tls.Clone()
		p.TLSConfig.ServerName = p.Host
	}
	p.ConnectTimeout = c.timeout
	p.RuntimeParams = map[string]string{"application_name": applicationName(attempt)}
	// A server that trusts its clients accepts every value, which proves nothing; one that wants it in clear may be an impostor.
	p.RequireAuth = "scram-sha-256,md5"
	// One round trip for a statement with arguments, and none is kept prepared.
	p.DefaultQueryExecMode = pgx.QueryExecModeExec
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, p)
	if err != nil {
		return nil, err
	}
	return &session{conn, endpoint}, nil
}

// admin logs the administrator in.
func (c *config) admin(ctx context.Context, t *rotator.Target, endpoint, database string) (*session, error) {
	if t.Admin.IsZero() {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the target has no administrator: for a role that changes its own password, give the role's own credential")
	}
	if err := checkName(t.Admin.Account); err != nil {
		return nil, err
	}
	s, err := c.dial(ctx, endpoint, database, t.Admin, t.Attempt)
	if err != nil {
		return nil, failed(err, "the administrator %q cannot log in to database %q at %s: check its password, its CONNECT right and pg_hba.conf", t.Admin.Account, database, endpoint)
	}
	return s, nil
}

// close says good-bye also when the caller's time is over.
func (s *session) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = s.Close(ctx)
}

// limits gives what is left of the caller's time to the server, for the statement that follows and for the silence after it.
func limits(ctx context.Context) string {
	deadline, _ := ctx.Deadline()
	left := max(1, time.Until(deadline).Milliseconds())
	return fmt.Sprintf("SET LOCAL statement_timeout = %d; SET LOCAL lock_timeout = %d; SET LOCAL idle_in_transaction_session_timeout = %d; ", left, left, left)
}

// begin opens a transaction whose commit is on disk, on synchronous standbys too, before it is acknowledged, as the login itself: a role that a
// database's settings make it take has other rights.
func (s *session) begin(ctx context.Context) error {
	return s.run(ctx, "BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL search_path = pg_catalog; SET LOCAL ROLE NONE; ", "")
}

// run sends statements as one message with what is left of the caller's time.
func (s *session) run(ctx context.Context, prefix, statements string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	results, err := s.PgConn().Exec(ctx, prefix+limits(ctx)+statements).ReadAll()
	for _, r := range results {
		if err == nil {
			err = r.Err
		}
	}
	return err
}

// commit ends the transaction. Its error may hide a success.
func (s *session) commit(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return rotator.Fail(rotator.NotApplied, err, "the time was over before the change was committed at %s: nothing happened", s.endpoint)
	}
	tag, err := s.Exec(ctx, "COMMIT", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return undecided(err, "the commit at %s was not acknowledged: log in to see what holds", s.endpoint)
	}
	if tag.String() != "COMMIT" {
		return rotator.Fail(rotator.NotApplied, nil, "the transaction at %s ended with %s: nothing happened", s.endpoint, tag)
	}
	return nil
}

// quote makes a name an identifier. Names with a zero byte never get here.
func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal makes a text a string constant, whatever standard_conforming_strings says.
func literal(text string) string {
	quoted := "'" + strings.ReplaceAll(strings.ReplaceAll(text, `\`, `\\`), "'", "''") + "'"
	if strings.Contains(text, `\`) {
		return "E" + quoted
	}
	return quoted
}

// checkName refuses names that the server would read as another role's.
func checkName(account string) error {
	if account == "" || len(account) > maxName || strings.ContainsRune(account, 0) {
		return rotator.Fail(rotator.Misconfigured, nil, "%q is no name of a role: it must have 1 to %d bytes, and PostgreSQL would cut a longer one", account, maxName)
	}
	return nil
}

// applicationName marks the session in pg_stat_activity.
func applicationName(attempt string) string {
	if attempt == "" {
		return "keywright"
	}
	return "keywright " + attempt
}
