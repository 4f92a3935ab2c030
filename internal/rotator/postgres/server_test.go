package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/e2e/transcript"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/postgres"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// A server costs seconds, so the package has one. It logs all that it can.
var (
	serverLog transcript.Buffer
	started   *pgtest.Server
	server    = sync.OnceValues(func() (*pgtest.Server, error) {
		s, err := pgtest.Start(context.Background(), pgtest.Config{Log: &serverLog, Settings: []string{
			"log_min_error_statement = error", "log_statement = all", "log_connections = on", "log_parameter_max_length_on_error = -1",
			"log_min_duration_statement = 0", "max_connections = 60", "wal_level = replica", "wal_writer_delay = 10s",
		}})
		if err != nil {
			return nil, err
		}
		started = s
		return s, s.Exec(context.Background(),
			"CREATE DATABASE app", "CREATE DATABASE other",
			"CREATE ROLE "+quoted(owner)+" NOLOGIN", "GRANT ALL ON SCHEMA public TO PUBLIC",
			"CREATE ROLE "+quoted(keeper)+" LOGIN CREATEROLE PASSWORD 'keeper'", "GRANT "+quoted(owner)+", pg_signal_backend, pg_read_all_stats TO "+quoted(keeper),
			"CREATE ROLE powerless LOGIN PASSWORD 'powerless'")
	})
)

const (
	owner  = `the "owner"; --`
	keeper = `the 'keeper' \`
)

func TestMain(m *testing.M) {
	code := m.Run()
	if started != nil {
		if err := started.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping PostgreSQL:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func running(t testing.TB) *pgtest.Server {
	t.Helper()
	s, err := server()
	switch {
	case errors.Is(err, pgtest.ErrMissing) && os.Getenv("CI") != "true":
		t.Skip("SKIPPED, NOT PASSED: ", err)
	case err != nil:
		t.Fatal(err)
	}
	return s
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

// root is the superuser's one connection.
var root struct {
	sync.Mutex
	conn *pgx.Conn
}

func asRoot(t testing.TB, f func(*pgx.Conn) error) {
	t.Helper()
	s := running(t)
	root.Lock()
	defer root.Unlock()
	if root.conn == nil {
		var err error
		if root.conn, err = pgx.Connect(t.Context(), s.AdminDSN()); err != nil {
			t.Fatal(err)
		}
		if _, err := root.conn.Exec(t.Context(), "SET synchronous_commit = on"); err != nil { // standbys must not wait for the WAL writer
			t.Fatal(err)
		}
	}
	if err := f(root.conn); err != nil {
		t.Fatal(err)
	}
}

func run(t testing.TB, statements ...string) {
	t.Helper()
	asRoot(t, func(conn *pgx.Conn) error {
		for _, statement := range statements {
			if _, err := conn.Exec(context.WithoutCancel(t.Context()), statement); err != nil {
				return err
			}
		}
		return nil
	})
}

func ask(t testing.TB, query string, args ...any) (answer string) {
	t.Helper()
	asRoot(t, func(conn *pgx.Conn) error { return conn.QueryRow(t.Context(), query, args...).Scan(&answer) })
	return answer
}

func endpoint(s *pgtest.Server) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// connect is the login that the rotator has no part in.
func connect(ctx context.Context, endpoint, database string, c rotator.Credential) (*pgx.Conn, error) {
	config, err := pgx.ParseConfig("host=127.0.0.1 sslmode=disable")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	config.Port, config.Database, config.User, config.Password = uint16(number), database, c.Account, string(c.Value.Reveal())
	return pgx.ConnectConfig(ctx, config)
}

func login(ctx context.Context, endpoint string, c rotator.Credential) (bool, error) {
	conn, err := connect(ctx, endpoint, "app", c)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == "28P01" {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, conn.Close(ctx)
}

type held struct{ *pgx.Conn }

func (h held) Alive(ctx context.Context) bool {
	_, err := h.Exec(ctx, "SELECT 1")
	return err == nil
}

func (h held) Close() { _ = h.Conn.Close(context.Background()) }

var serial atomic.Int64

// roles makes n roles as an operator does, with equal rights by the owner role.
func roles(t testing.TB, n int) (made []rotator.Credential) {
	t.Helper()
	for range n {
		name := rotatortest.HostileName + strconv.FormatInt(serial.Add(1), 10)
		run(t, "CREATE ROLE "+quoted(name)+" LOGIN PASSWORD 'first' IN ROLE "+quoted(owner),
			"ALTER ROLE "+quoted(name)+" IN DATABASE app SET role = "+quoted(owner))
		made = append(made, rotator.Credential{Account: name, Value: redact.Bytes("first")})
	}
	return made
}

// configuration is for these endpoints without TLS: they are on loopback.
func configuration(t testing.TB, addresses ...string) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(map[string]any{
		"endpoints": addresses, "database": "app", "ownerRole": owner, "connectTimeout": "10s", "tls": map[string]string{"mode": "disable"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var (
	theKeeper = rotator.Credential{Account: keeper, Value: redact.Bytes("keeper")}
	powerless = rotator.Credential{Account: "powerless", Value: redact.Bytes("powerless")}
)

func superuser(t testing.TB) rotator.Credential {
	return rotator.Credential{Account: pgtest.Superuser, Value: redact.Bytes(running(t).Password)}
}

func subject(t *testing.T, admin rotator.Credential) rotatortest.Subject {
	return rotatortest.Subject{
		Rotator:    postgres.New(),
		Endpoints:  []string{endpoint(running(t))},
		Strategies: []rotator.Strategy{rotator.Single, rotator.Alternating, rotator.Dynamic},
		Target: func(t *testing.T, addresses []string) *rotator.Target {
			return &rotator.Target{Config: configuration(t, addresses...), Admin: admin, Attempt: "0192"}
		},
		Make:  func(t *testing.T, n int) []rotator.Credential { return roles(t, n) },
		Login: login,
		Open: func(t *testing.T, endpoint string, c rotator.Credential) rotatortest.Session {
			conn, err := connect(t.Context(), endpoint, "app", c)
			if err != nil {
				t.Fatal(err)
			}
			return held{conn}
		},
		Snapshot: func(t *testing.T, account string) string {
			return ask(t, `SELECT r::text || coalesce((SELECT string_agg(m::text, ',' ORDER BY roleid) FROM pg_auth_members m WHERE member = r.oid), '')
				|| coalesce((SELECT string_agg(s::text, ',' ORDER BY setdatabase) FROM pg_db_role_setting s WHERE setrole = r.oid), '')
				FROM pg_roles r WHERE rolname = $1`, account)
		},
		Log:          func(*testing.T) string { return serverLog.String() },
		Absent:       "nobody's role",
		Powerless:    func(*testing.T) rotator.Credential { return powerless },
		RefusedValue: func(*testing.T) redact.Bytes { return redact.Bytes("pässword") },
		LockOut: func(t *testing.T, account string) func() {
			run(t, "ALTER ROLE "+quoted(account)+" CONNECTION LIMIT 0")
			return func() { run(t, "ALTER ROLE "+quoted(account)+" CONNECTION LIMIT -1") }
		},
		Unequal: func(t *testing.T, accounts []string) { run(t, "GRANT pg_read_all_data TO "+quoted(accounts[1])) },
		Prefix:  `lease "'; -- `,
		Broken:  json.RawMessage(`{"endpoints":["db"],"tls":{"mode":"allow"},"connectTimeout":"fast"}`),
		Complaints: []string{
			"endpoints", "database", "tls.mode", "connectTimeout",
		},
	}
}

func TestConformance(t *testing.T) {
	t.Run("CREATEROLE", func(t *testing.T) { rotatortest.Run(t, subject(t, theKeeper)) })
	t.Run("superuser", func(t *testing.T) {
		if testing.Short() {
			t.Skip("SKIPPED, NOT PASSED: -short")
		}
		s := subject(t, superuser(t))
		s.Strategies = []rotator.Strategy{rotator.Single}
		rotatortest.Run(t, s)
	})
}
