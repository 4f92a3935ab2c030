package mssql

import (
	"context"
	"database/sql"
	"encoding/hex"
	"net"
	"strconv"
	"strings"
	"time"

	driver "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// callTime bounds a verb whose caller gave no deadline, connectTime one login.
const (
	callTime    = 30 * time.Second
	connectTime = 10 * time.Second
)

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callTime)
}

// session is one connection of one login.
type session struct {
	*sql.Conn
	db       *sql.DB
	endpoint string
	// clock is how far the server's clock is ahead of this process'.
	clock   time.Duration
	version string
}

// dialer connects to the endpoint whatever address it is given, so that no server can send the login elsewhere.
type dialer struct {
	ctx     context.Context // the verb's: connections end with it
	address string
}

func (d dialer) DialContext(context.Context, string, string) (net.Conn, error) {
	return endpoint.Dial(d.ctx, d.address, nil) // TLS begins inside the protocol
}

// HostName keeps the driver from resolving names by itself.
func (d dialer) HostName() string { return endpoint.Host(d.address) }

// dial logs in on a fresh connection. The error is the driver's own: who calls knows what it means.
func (c *config) dial(ctx context.Context, address string, as rotator.Credential, attempt string) (*session, error) {
	settings, err := c.TLS.Config()
	if err != nil {
		return nil, err
	}
	if settings.ServerName == "" {
		settings.ServerName = endpoint.Host(address)
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	connector := driver.NewConnectorConfig(msdsn.Config{
		Host: endpoint.Host(address), Port: n, Database: c.Database, User: as.Account, Password: string(as.Value.Reveal()),
		Encryption: msdsn.EncryptionRequired, TLSConfig: settings, HostInCertificateProvided: true,
		AppName: strings.TrimSpace("keywright " + attempt), Workstation: "keywright",
		DialTimeout: connectTime, DisableRetry: true, NoTraceID: true, PacketSize: 4096,
		Protocols: []string{"tcp"}, Parameters: map[string]string{},
	})
	connector.Dialer = dialer{ctx, address}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(0)
	limited, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	conn, err := db.Conn(limited)
	if err != nil {
		_ = db.Close() // it holds no connection
		return nil, err
	}
	return &session{Conn: conn, db: db, endpoint: address}, nil
}

// close ends the connection, and with it the locks that its session holds.
func (s *session) close() {
	_ = s.Conn.Close()
	_ = s.db.Close()
}

// admin logs the administrator in and asks for the server's clock.
func (c *config) admin(ctx context.Context, t *rotator.Target, address string) (*session, error) {
	if t.Admin.IsZero() {
		return nil, rotator.Fail(rotator.Denied, nil, "SQL Server's logins are changed by an administrator: name one with ALTER ANY LOGIN in the policy")
	}
	s, err := c.dial(ctx, address, t.Admin, t.Attempt)
	if err != nil {
		return nil, failed(err, "the administrator %q cannot log in to database %q at %s: see that the server is up and its certificate trusted, and check the password", t.Admin.Account, c.Database, address)
	}
	var name, now string
	err = s.QueryRowContext(ctx, "SELECT CONVERT(nvarchar(128), SERVERPROPERTY('ProductVersion')), CONVERT(nvarchar(128), SERVERPROPERTY('ServerName')), CONVERT(nvarchar(40), SYSUTCDATETIME(), 126)").
		Scan(&s.version, &name, &now)
	if err == nil {
		var at time.Time
		at, err = time.Parse(clockFormat, now)
		s.clock = time.Until(at)
	}
	if err != nil {
		s.close()
		return nil, failed(err, "asking %s what it is", address)
	}
	return s, nil
}

// clockFormat is that of CONVERT with style 126, cut to what the server's texts may have: SYSUTCDATETIME has seven digits, and Go reads any number.
const clockFormat = "2006-01-02T15:04:05"

// login is an account as sys.sql_logins has it.
type login struct {
	sid                                 string
	disabled, locked, mustChange, admin bool
}

// login reads an account; nil when the administrator sees none.
func (s *session) login(ctx context.Context, name string) (*login, error) {
	rows, err := s.texts(ctx, `SELECT CONVERT(nvarchar(200), sid, 1), CONVERT(nvarchar(9), is_disabled), CONVERT(nvarchar(9), LOGINPROPERTY(name, 'IsLocked')), CONVERT(nvarchar(9), LOGINPROPERTY(name, 'IsMustChange')), CONVERT(nvarchar(9), IS_SRVROLEMEMBER('sysadmin', name)) FROM sys.sql_logins WHERE name = @p1`, name)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	r := rows[0]
	return &login{sid: r[0], disabled: r[1] == "1", locked: r[2] == "1", mustChange: r[3] == "1", admin: r[4] == "1"}, nil
}

// rights are the administrator's.
type rights struct{ alterLogin, viewState, control bool }

func (s *session) rights(ctx context.Context) (*rights, error) {
	rows, err := s.texts(ctx, "SELECT CONVERT(nvarchar(9), HAS_PERMS_BY_NAME(NULL, NULL, 'ALTER ANY LOGIN')), CONVERT(nvarchar(9), HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE')), CONVERT(nvarchar(9), HAS_PERMS_BY_NAME(NULL, NULL, 'CONTROL SERVER'))")
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rights{rows[0][0] == "1", rows[0][1] == "1", rows[0][2] == "1"}, nil
}

// texts runs a query whose columns are all texts; NULL is "".
func (s *session) texts(ctx context.Context, query string, args ...any) (all [][]string, err error) {
	rows, err := s.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := make([]string, len(columns))
		for i, v := range values {
			row[i] = v.String
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// identity names a login by its SID, which the replicas of a group share. That of sa is the same on every server in the world.
func identity(sid string) (string, error) {
	raw, err := hex.DecodeString(strings.TrimPrefix(sid, "0x"))
	if err != nil || len(raw) < 16 {
		return "", rotator.Fail(rotator.Misconfigured, nil, "built-in logins such as sa are not rotated, because nothing tells them apart from those of other servers: make a login, and disable sa")
	}
	return "mssql:" + hex.EncodeToString(raw), nil
}

// quote makes a name an identifier, in square brackets.
func quote(name string) string { return "[" + strings.ReplaceAll(name, "]", "]]") + "]" }

// literal makes a text a constant.
func literal(text string) string { return "N'" + strings.ReplaceAll(text, "'", "''") + "'" }

func checkName(account string) error {
	if n := len([]rune(account)); n == 0 || n > maxName || strings.ContainsAny(account, "\x00\\") {
		return rotator.Fail(rotator.Misconfigured, nil, "%q is no name of an SQL login: it must have 1 to %d characters, and a backslash is for Windows accounts, whose passwords the server does not have", account, maxName)
	}
	return nil
}
