package pgxpool_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	jackc "github.com/jackc/pgx/v5/pgxpool"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/keywrighttest"
	"github.com/keywright/keywright/client/pgxpool"
	"github.com/keywright/keywright/e2e/changeover"
)

func config(t *testing.T, s changeover.Postgres) *jackc.Config {
	t.Helper()
	c, err := jackc.ParseConfig(s.DSN("nobody", "", "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	c.MaxConns, c.MaxConnLifetime = 8, 50*time.Millisecond // short-lived, so that there are many sign-ins
	return c
}

func TestPostgreSQLChangesOver(t *testing.T) {
	s := changeover.StartPostgres(t)
	changeover.Run(t, s, func(v *client.Value) func(context.Context) error {
		pool, err := pgxpool.New(t.Context(), config(t, s), pgxpool.Config{Value: v, MaxAge: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return func(ctx context.Context) error {
			return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "SELECT 1")
				return err
			})
		}
	})
}

func TestOldConnectionsLeave(t *testing.T) {
	s := changeover.StartPostgres(t)
	changeover.Leaves(t, s, func(v *client.Value) func(context.Context) error {
		c := config(t, s)
		c.MaxConnLifetime = time.Hour
		pool, err := pgxpool.New(t.Context(), c, pgxpool.Config{Value: v, MaxAge: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return pool.Ping
	})
}

// counting is a tracer and the hooks of a configuration that had them before.
type counting struct{ queries, connects, before, prepared int }

func (c *counting) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	c.queries++
	return ctx
}
func (c *counting) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
func (c *counting) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	c.connects++
	return ctx
}
func (c *counting) TraceConnectEnd(context.Context, pgx.TraceConnectEndData) {}

// TestARefusalBringsTheNextVersion changes a password in place: the one whom it hits gets the error, the next one does not.
func TestARefusalBringsTheNextVersion(t *testing.T) {
	target := changeover.StartPostgres(t)
	s := keywrighttest.Start(t)
	s.SetSecret("db", "first")
	if err := target.Exec(t.Context(), "ALTER ROLE shop_a PASSWORD 'second'"); err != nil {
		t.Fatal(err)
	}
	v, err := client.NewValue(t.Context(), client.ValueConfig{Vault: s.Client().Vault(s.VaultName()), Name: "db", TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	v.Close() // nothing tells of the change but the refusal
	s.SetSecret("db", "second")
	c := config(t, target)
	c.ConnConfig.User, c.MaxConns = "shop_a", 1
	var had counting
	c.ConnConfig.Tracer = &had
	c.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { had.before++; return nil }
	c.PrepareConn = func(context.Context, *pgx.Conn) (bool, error) { had.prepared++; return true, nil }
	pool, err := pgxpool.New(t.Context(), c, pgxpool.Config{Value: v})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.Ping(t.Context()); !pgxpool.Refused(err) {
		t.Errorf("the old password: %v", err)
	}
	if _, err := pool.Exec(t.Context(), "SELECT 1"); err != nil {
		t.Errorf("the next connection: %v", err)
	}
	if had.before < 2 || had.connects < 2 || had.queries < 1 || had.prepared < 1 {
		t.Errorf("the configuration's own hooks were called %+v", had)
	}
}
