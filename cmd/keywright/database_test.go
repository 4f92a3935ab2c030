package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/server"
)

// quickRotation is a pace at which scripts do not wait.
func quickRotation(c *server.DevConfig) {
	c.Rotation.Pace = rotation.DefaultPace
	for _, d := range []*rotation.Duration{&c.Rotation.Pace.Base, &c.Rotation.Pace.Probe, &c.Rotation.Pace.Settle} {
		*d = rotation.Duration(10 * time.Millisecond)
	}
	c.Rotation.Pace.Look = rotation.Duration(50 * time.Millisecond)
	c.Rotation.Poll = 20 * time.Millisecond
}

// database is a PostgreSQL server for the scripts. It is started when the first script asks for it.
type database struct {
	start func() (*pgtest.Server, error)
}

// newDatabase ends the server with the test.
func newDatabase(t *testing.T) *database {
	return &database{sync.OnceValues(func() (*pgtest.Server, error) {
		s, err := pgtest.Start(t.Context(), pgtest.Config{})
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		})
		return s, s.Exec(t.Context(), "CREATE DATABASE app", "CREATE ROLE app_owner NOLOGIN", "CREATE ROLE app_a LOGIN PASSWORD 'first' IN ROLE app_owner",
			"CREATE ROLE app_b LOGIN IN ROLE app_owner", "ALTER ROLE app_a IN DATABASE app SET role = app_owner", "ALTER ROLE app_b IN DATABASE app SET role = app_owner",
			"CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'keeper'", "GRANT pg_signal_backend, app_owner TO keeper")
	})}
}

// condition is [postgres]. Where tests have to be complete it holds, and the script fails for the lack of a server.
func (d *database) condition(name string) (bool, error) {
	if name != "postgres" {
		return false, fmt.Errorf("unknown condition %q", name)
	}
	_, err := d.start()
	return !errors.Is(err, pgtest.ErrMissing) || os.Getenv("CI") == "true", nil
}

// prepare tells where there is a database app with a pair of accounts, app_a and app_b, which all scripts share: postgres VARIABLE.
func (d *database) prepare(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: postgres VARIABLE")
	}
	s, err := d.start()
	ts.Check(err)
	ts.Setenv(args[0], net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
}

// accepts logs in to the database app with the login in a file: [!] accepts ENDPOINT FILE.
func accepts(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: accepts ENDPOINT FILE")
	}
	var login struct{ Username, Password string }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &login))
	config, err := pgx.ParseConfig("host=127.0.0.1 sslmode=disable dbname=app")
	ts.Check(err)
	_, port, err := net.SplitHostPort(args[0])
	ts.Check(err)
	number, err := strconv.ParseUint(port, 10, 16)
	ts.Check(err)
	config.Port, config.User, config.Password = uint16(number), login.Username, login.Password
	conn, err := pgx.ConnectConfig(context.Background(), config)
	var refused *pgconn.PgError
	switch {
	case err == nil:
		conn.Close(context.Background())
	case !errors.As(err, &refused) || refused.Code != "28P01":
		ts.Fatalf("logging in as %s: %v", login.Username, err)
	}
	if (err == nil) == neg {
		ts.Fatalf("the database accepts %s: %t", login.Username, err == nil)
	}
}
