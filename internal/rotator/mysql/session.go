package mysql

import (
	"context"
	"crypto/sha256"
	"database/sql"
	sqldriver "database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keywright/keywright/internal/rotator"
)

const (
	// connectTime bounds the TCP connection, loginTime all until the server is known.
	connectTime = 5 * time.Second
	loginTime   = 10 * time.Second
	// callTime bounds a verb whose caller gave no deadline.
	callTime = 30 * time.Second
)

// server is what a login learned of where it is.
type server struct {
	mariadb bool
	// version is as the server says it, number its first three parts.
	version string
	number  [3]int
	// id does not depend on how the server is reached: that of its cluster, or else its own. clustered tells which.
	id        string
	clustered bool
}

func (s server) String() string {
	if s.mariadb {
		return "MariaDB " + s.version
	}
	return "MySQL " + s.version
}

// session is one login at one endpoint.
type session struct {
	endpoint string
	server   server
	// user is who the login became, name@host.
	user string
	// guarded is true when the rights of the account in question were looked at in this session.
	guarded bool

	db   *sql.DB
	conn *sql.Conn
}

// login connects and asks who it became, and where. Its errors are the driver's own: see loginFailure and verdictOf.
func login(ctx context.Context, c *config, endpoint string, who rotator.Credential) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	secure, err := c.tlsFor(endpoint)
	if err != nil {
		return nil, err
	}
	settings := driver.NewConfig()
	settings.TLS = secure
	settings.Net, settings.Addr = "tcp", endpoint
	settings.User, settings.Passwd = who.Account, string(who.Value.Reveal())
	settings.Timeout = connectTime
	settings.InterpolateParams = true
	settings.Logger = &driver.NopLogger{}
	settings.ConnectionAttributes = "program_name:keywright"
	connector, err := driver.NewConnector(settings)
	if err != nil {
		return nil, err
	}
	s := &session{endpoint: endpoint, db: sql.OpenDB(persistent{connector})}
	if s.conn, err = s.db.Conn(ctx); err == nil {
		err = s.identify(ctx)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// loginTries bounds how often persistent logs in: with ed25519, four in a row fail one time in 2^32.
const loginTries = 4

// persistent logs in again where the driver calls a packet malformed. Up to 1.10.1 it takes a zero at the end of what an authentication switch carries
// for a terminator, which the 32 random bytes of MariaDB's ed25519 do not have: one login in 256 fails, though nothing is wrong, and the next gets other bytes.
type persistent struct{ sqldriver.Connector }

// Connect implements driver.Connector.
func (p persistent) Connect(ctx context.Context) (conn sqldriver.Conn, err error) {
	for range loginTries {
		if conn, err = p.Connector.Connect(ctx); !errors.Is(err, driver.ErrMalformPkt) {
			break
		}
	}
	return conn, err
}

// close ends the session, and with it what it has locked.
func (s *session) close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
	_ = s.db.Close()
}

func (s *session) identify(ctx context.Context) error {
	cells, err := s.query(ctx, "SELECT VERSION(), CURRENT_USER()")
	if err != nil {
		return err
	}
	s.server.version, s.user = cells[0][0], cells[0][1]
	s.server.mariadb = strings.Contains(s.server.version, "MariaDB")
	s.server.number = parseVersion(s.server.version)
	cluster, own := "SELECT @@group_replication_group_name", "SELECT @@server_uuid"
	if s.server.mariadb {
		cluster, own = "SHOW GLOBAL STATUS LIKE 'wsrep\\_cluster\\_state\\_uuid'", "SELECT @@server_uid"
	}
	if s.server.id, err = s.optional(ctx, cluster); err != nil {
		return err
	}
	if strings.Trim(s.server.id, "0-") != "" {
		s.server.clustered = true
		return nil
	}
	if s.server.id, err = s.optional(ctx, own); err != nil || s.server.id != "" {
		return err
	}
	// MariaDB before 10.5.26, 10.6.19 and 10.11.9 has no id of its own.
	s.server.id, err = s.optional(ctx, "SELECT CONCAT(@@hostname, ':', @@port, '/', @@server_id)")
	return err
}

// optional is the last cell of the first row; empty where the server does not know what it was asked for.
func (s *session) optional(ctx context.Context, query string) (string, error) {
	cells, err := s.query(ctx, query)
	if number(err) == errUnknownVariable || err == nil && len(cells) == 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return cells[0][len(cells[0])-1], nil
}

// query returns all cells as text, NULL as nothing.
func (s *session) query(ctx context.Context, text string, args ...any) ([][]string, error) {
	_, cells, err := s.table(ctx, text, args...)
	return cells, err
}

// columns is the first row of a query by the names of its columns.
func (s *session) columns(ctx context.Context, text string, args ...any) (map[string]string, error) {
	names, cells, err := s.table(ctx, text, args...)
	found := map[string]string{}
	if len(cells) > 0 {
		for i, name := range names {
			found[name] = cells[0][i]
		}
	}
	return found, err
}

func (s *session) table(ctx context.Context, text string, args ...any) (names []string, cells [][]string, err error) {
	rows, err := s.conn.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	if names, err = rows.Columns(); err != nil {
		return nil, nil, err
	}
	for rows.Next() {
		values, into := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, nil, err
		}
		line := make([]string, len(names))
		for i, v := range values {
			line[i] = v.String
		}
		cells = append(cells, line)
	}
	return names, cells, rows.Err()
}

// lock takes the server's own lock for the account. It ends with the session.
func (s *session) lock(ctx context.Context, account string) error {
	sum := sha256.Sum256([]byte(account))
	// Names of locks have at most 64 characters.
	name := "keywright:" + hex.EncodeToString(sum[:20])
	wait := max(0, int(remaining(ctx).Seconds()*3/4))
	if err := s.expire(ctx); err != nil {
		return err
	}
	cells, err := s.query(ctx, "SELECT GET_LOCK(?, ?)", name, wait)
	if err != nil {
		return s.before(err, "locking the account")
	}
	if cells[0][0] != "1" {
		return rotator.Fail(rotator.Busy, nil, "another change of this account is going on at %s: wait for its end", s.endpoint)
	}
	return nil
}

// expire makes the server end the session, and any statement in it, at the deadline: a statement that arrives later finds nobody.
func (s *session) expire(ctx context.Context) error {
	left := remaining(ctx)
	seconds := int(left.Seconds())
	if seconds < 1 {
		return rotator.Fail(rotator.NotApplied, ctx.Err(), "too little time is left for a change at %s: try again with a later deadline", s.endpoint)
	}
	// With the mode, a quoted text needs its quotes doubled and no more.
	text := fmt.Sprintf("SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES', SESSION wait_timeout = %d, SESSION lock_wait_timeout = %d", seconds, seconds)
	if s.server.mariadb {
		text += ", SESSION max_statement_time = " + strconv.FormatFloat(left.Seconds(), 'f', 3, 64)
	} else {
		text += fmt.Sprintf(", SESSION innodb_lock_wait_timeout = %d, SESSION max_execution_time = %d", seconds, left.Milliseconds())
	}
	if _, err := s.conn.ExecContext(ctx, text); err != nil {
		return s.before(err, "setting the session's deadline")
	}
	return nil
}

// withDeadline gives a verb an end.
func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, callTime)
}

func remaining(ctx context.Context) time.Duration {
	end, _ := ctx.Deadline()
	return time.Until(end)
}

// parseVersion reads the leading numbers of 10.11.19-MariaDB-0+deb12u1. MariaDB may put 5.5.5- before, for old clients.
func parseVersion(text string) (number [3]int) {
	text = strings.TrimPrefix(text, "5.5.5-")
	for i, part := range strings.SplitN(text, ".", 3) {
		end := strings.IndexFunc(part, func(r rune) bool { return r < '0' || r > '9' })
		if end >= 0 {
			part = part[:end]
		}
		number[i], _ = strconv.Atoi(part)
	}
	return number
}

// atLeast compares versions.
func (s server) atLeast(number ...int) bool {
	for i, n := range number {
		if s.number[i] != n {
			return s.number[i] > n
		}
	}
	return true
}

// number is the server's error number, 0 for an error that is not the server's.
func number(err error) uint16 {
	var e *driver.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}
