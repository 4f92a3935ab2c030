package pgtest_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keywright/keywright/e2e/daemon"
	"github.com/keywright/keywright/e2e/pgtest"
)

func TestServer(t *testing.T) {
	s := pgtest.Run(t)
	if err := s.Exec(t.Context(), "CREATE ROLE app LOGIN PASSWORD 'right'", "CREATE DATABASE app OWNER app"); err != nil {
		t.Fatal(err)
	}

	t.Run("the right password is accepted", func(t *testing.T) {
		conn, err := pgx.Connect(t.Context(), s.DSN("app", "right", "app"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(t.Context())
		var who string
		if err := conn.QueryRow(t.Context(), "SELECT current_user").Scan(&who); err != nil || who != "app" {
			t.Errorf("connected as %q, %v", who, err)
		}
	})
	for name, dsn := range map[string]string{
		"a wrong password is refused":    s.DSN("app", "wrong", "app"),
		"the superuser needs one, too":   s.DSN(pgtest.Superuser, "wrong", "postgres"),
		"an unknown role learns no more": s.DSN("nobody", "wrong", "app"),
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := pgx.Connect(t.Context(), dsn)
			if err == nil {
				conn.Close(t.Context())
				t.Fatal("the server let it in")
			}
			// invalid_password, https://www.postgresql.org/docs/15/errcodes-appendix.html
			var refused *pgconn.PgError
			if !errors.As(err, &refused) || refused.Code != "28P01" {
				t.Errorf("got %v, want SQLSTATE 28P01", err)
			}
		})
	}
}

func TestFailingStatementsAreNotLogged(t *testing.T) {
	var log bytes.Buffer // read only after Stop, which waits for its writer
	s, err := pgtest.Start(t.Context(), pgtest.Config{Log: &log})
	if errors.Is(err, pgtest.ErrMissing) && os.Getenv("CI") != "true" {
		t.Skip("SKIPPED, NOT PASSED: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	failed := s.Exec(t.Context(), "CREATE ROLE postgres PASSWORD 'canary'")
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if failed == nil || strings.Contains(failed.Error(), "canary") {
		t.Errorf("the error is %v", failed)
	}
	if !strings.Contains(log.String(), "already exists") || strings.Contains(log.String(), "canary") {
		t.Errorf("the log lacks the failure, or shows the password:\n%s", &log)
	}
}

func TestStopLeavesNothing(t *testing.T) {
	s := pgtest.Run(t)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)))
	if err != nil {
		t.Fatalf("the port is still taken: %v", err)
	}
	l.Close()
	if err := s.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

func TestFailOver(t *testing.T) {
	primary := daemon.Run(t, func(ctx context.Context) (*pgtest.Server, error) {
		return pgtest.Start(ctx, pgtest.Config{Durable: true})
	})
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Stop()
	if err := primary.Synchronous(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := primary.Exec(t.Context(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := standby.Exec(t.Context(), "INSERT INTO kept SELECT n + 1 FROM kept", "SELECT 1 / (SELECT count(*) - 1 FROM kept)"); err != nil {
		t.Errorf("after the fail-over, the row that was acknowledged is not there, or nothing can be written: %v", err)
	}
}
