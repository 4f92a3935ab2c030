package sqlpool_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/keywrighttest"
	"github.com/keywright/keywright/client/sqlpool"
	"github.com/keywright/keywright/e2e/changeover"
)

// open makes a pool whose connections are short-lived, so that there are many sign-ins.
func open(t *testing.T, c sqlpool.Config) *sql.DB {
	t.Helper()
	connector, err := sqlpool.New(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	db.SetConnMaxLifetime(50 * time.Millisecond)
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	return db
}

func postgres(s changeover.Postgres) func(client.Credential) (driver.Connector, error) {
	return func(c client.Credential) (driver.Connector, error) {
		config, err := pgx.ParseConfig(s.DSN(c.User, c.Password, "postgres"))
		if err != nil {
			return nil, err
		}
		return stdlib.GetConnector(*config), nil
	}
}

func query(db *sql.DB) func(context.Context) error {
	return func(ctx context.Context) error {
		var n int
		if err := db.QueryRowContext(ctx, "SELECT 1").Scan(&n); err != nil {
			return err
		}
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		return errors.Join(tx.QueryRowContext(ctx, "SELECT 2").Scan(&n), tx.Commit())
	}
}

func TestPostgreSQLChangesOver(t *testing.T) {
	s := changeover.StartPostgres(t)
	changeover.Run(t, s, func(v *client.Value) func(context.Context) error {
		return query(open(t, sqlpool.Config{Value: v, Driver: postgres(s), MaxAge: 100 * time.Millisecond}))
	})
}

func TestOldConnectionsLeave(t *testing.T) {
	s := changeover.StartPostgres(t)
	changeover.Leaves(t, s, func(v *client.Value) func(context.Context) error {
		db := open(t, sqlpool.Config{Value: v, Driver: postgres(s), MaxAge: 100 * time.Millisecond})
		db.SetConnMaxLifetime(0)
		return query(db)
	})
}

func TestMariaDBChangesOver(t *testing.T) {
	s := changeover.StartMariaDB(t)
	changeover.Run(t, s, func(v *client.Value) func(context.Context) error {
		return query(open(t, sqlpool.Config{Value: v, MaxAge: 100 * time.Millisecond, Driver: func(c client.Credential) (driver.Connector, error) {
			return mysql.NewConnector(s.Config(c.User, c.Password))
		}}))
	})
}

// TestAChangeInPlaceIsSurvived has one user with one password: what the server knows is late by design.
func TestAChangeInPlaceIsSurvived(t *testing.T) {
	target := changeover.StartPostgres(t)
	s := keywrighttest.Start(t)
	s.SetSecret("db", "first")
	set := func(password string) {
		t.Helper()
		if err := target.Exec(t.Context(), "ALTER ROLE shop_a PASSWORD '"+password+"'"); err != nil {
			t.Fatal(err)
		}
	}
	set("first")
	v, err := client.NewValue(t.Context(), client.ValueConfig{Vault: s.Client().Vault(s.VaultName()), Name: "db", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	v.Close() // nothing tells of the change but the refusal
	db := open(t, sqlpool.Config{Value: v, User: "shop_a", Driver: postgres(target)})
	db.SetMaxIdleConns(-1)
	for _, password := range []string{"first", "second", "third"} {
		set(password)
		s.SetSecret("db", password)
		if err := query(db)(t.Context()); err != nil {
			t.Errorf("with the password %s: %v", password, err)
		}
	}
	set("unknown")
	if err := db.PingContext(t.Context()); !sqlpool.Refused(err) {
		t.Errorf("a password that nobody knows: %v", err)
	}
}

// TestTheDriversConnectionIsReached uses what only the driver's own connection has.
func TestTheDriversConnectionIsReached(t *testing.T) {
	target := changeover.StartPostgres(t)
	s := keywrighttest.Start(t)
	value, err := target.Widen(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	s.SetSecret("db", value)
	v, err := client.NewValue(t.Context(), client.ValueConfig{Vault: s.Client().Vault(s.VaultName()), Name: "db"})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	db := open(t, sqlpool.Config{Value: v, Driver: postgres(target)})
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		inner, ok := c.(interface{ Unwrap() driver.Conn }).Unwrap().(*stdlib.Conn)
		if !ok || inner.Conn().PgConn().PID() == 0 {
			return errors.New("it is not the driver's")
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	var user string
	if err := conn.QueryRowContext(t.Context(), "SELECT session_user WHERE $1 = ANY($2)", "a", []string{"a", "b"}).Scan(&user); err != nil || user != "shop_a" {
		t.Errorf("an argument that only pgx knows: %q, %v", user, err)
	}
}

func TestRefusalsAreToldFromOtherErrors(t *testing.T) {
	for err, want := range map[error]bool{
		&pgconn.PgError{Code: "28P01"}: true, &pgconn.PgError{Code: "28000"}: true, &pgconn.PgError{Code: "53300"}: false,
		fmt.Errorf("connecting: %w", &mysql.MySQLError{Number: 1045, Message: "Access denied"}): true, &mysql.MySQLError{Number: 1040}: false,
		context.DeadlineExceeded: false, driver.ErrBadConn: false,
	} {
		if sqlpool.Refused(err) != want {
			t.Errorf("%v is taken for a refusal: %t", err, !want)
		}
	}
}
