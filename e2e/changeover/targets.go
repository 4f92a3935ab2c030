package changeover

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/e2e/mariadbtest"
	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/e2e/rabbitmqtest"
	"github.com/keywright/keywright/e2e/redistest"
)

// Postgres has two users that take turns.
type Postgres struct{ *pgtest.Server }

var pair = [2]string{"shop_a", "shop_b"}

// StartPostgres starts a server with the two users.
func StartPostgres(t *testing.T) Postgres {
	s := pgtest.Run(t)
	if err := s.Exec(t.Context(), "CREATE ROLE shop_a LOGIN", "CREATE ROLE shop_b LOGIN"); err != nil {
		t.Fatal(err)
	}
	return Postgres{s}
}

// Widen implements Target.
func (p Postgres) Widen(ctx context.Context, n int) (string, error) {
	password := rand.Text()
	return credential(pair[n%2], password), p.Exec(ctx, fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", pair[n%2], password))
}

// Narrow implements Target.
func (p Postgres) Narrow(ctx context.Context, n int) error {
	return p.Exec(ctx, fmt.Sprintf("ALTER ROLE %s PASSWORD NULL", pair[n%2]))
}

// Sessions implements Sessions.
func (p Postgres) Sessions(ctx context.Context, n int) (count int, err error) {
	conn, err := pgx.Connect(ctx, p.AdminDSN())
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE usename = $1", pair[n%2]).Scan(&count)
	return count, err
}

func credential(user, password string) string {
	return fmt.Sprintf(`{"username":%q,"password":%q}`, user, password)
}

// MariaDB has one user with two passwords.
type MariaDB struct {
	*mariadbtest.Server
	passwords *[]string
}

// StartMariaDB starts a server with the user.
func StartMariaDB(t *testing.T) MariaDB {
	s := mariadbtest.Run(t, mariadbtest.Config{})
	if err := s.Exec(t.Context(), "CREATE USER shop@'%' IDENTIFIED BY 'none yet'"); err != nil {
		t.Fatal(err)
	}
	return MariaDB{s, new([]string)}
}

// Widen implements Target.
func (m MariaDB) Widen(ctx context.Context, n int) (string, error) {
	*m.passwords = append(*m.passwords, rand.Text())
	return credential("shop", (*m.passwords)[n]), m.accept(ctx, (*m.passwords)[max(0, n-1):])
}

// Narrow implements Target.
func (m MariaDB) Narrow(ctx context.Context, n int) error { return m.accept(ctx, (*m.passwords)[n+1:]) }

// accept makes these passwords good, and no other: the same plugin named twice takes either.
func (m MariaDB) accept(ctx context.Context, passwords []string) error {
	statement := "ALTER USER shop@'%' IDENTIFIED VIA "
	for i, p := range passwords {
		if i > 0 {
			statement += " OR "
		}
		statement += fmt.Sprintf("mysql_native_password USING PASSWORD('%s')", p)
	}
	return m.Exec(ctx, statement)
}

// Redis has one user with two passwords.
type Redis struct {
	*redistest.Server
	passwords *[]string
}

// StartRedis starts a server with the user.
func StartRedis(t *testing.T) Redis {
	s := redistest.Run(t, redistest.Config{Keeping: redistest.Nowhere})
	if _, err := s.Do(t.Context(), "ACL", "SETUSER", "shop", "on", "~*", "+@all"); err != nil {
		t.Fatal(err)
	}
	return Redis{s, new([]string)}
}

// Widen implements Target.
func (r Redis) Widen(ctx context.Context, n int) (string, error) {
	*r.passwords = append(*r.passwords, rand.Text())
	_, err := r.Do(ctx, "ACL", "SETUSER", "shop", ">"+(*r.passwords)[n])
	return (*r.passwords)[n], err
}

// Narrow implements Target.
func (r Redis) Narrow(ctx context.Context, n int) error {
	_, err := r.Do(ctx, "ACL", "SETUSER", "shop", "<"+(*r.passwords)[n])
	return err
}

// RabbitMQ has two users that take turns.
type RabbitMQ struct{ *rabbitmqtest.Server }

// StartRabbitMQ starts a broker.
func StartRabbitMQ(t *testing.T) RabbitMQ { return RabbitMQ{rabbitmqtest.Run(t)} }

// Widen implements Target.
func (r RabbitMQ) Widen(ctx context.Context, n int) (string, error) {
	password := rand.Text()
	err := r.call(ctx, "PUT", "users/"+pair[n%2], fmt.Sprintf(`{"password":%q,"tags":""}`, password))
	if err == nil {
		err = r.call(ctx, "PUT", "permissions/%2F/"+pair[n%2], `{"configure":".*","write":".*","read":".*"}`)
	}
	return credential(pair[n%2], password), err
}

// Narrow implements Target.
func (r RabbitMQ) Narrow(ctx context.Context, n int) error {
	return r.call(ctx, "PUT", "users/"+pair[n%2], `{"password_hash":"","tags":""}`)
}

func (r RabbitMQ) call(ctx context.Context, method, path, body string) error {
	status, answer, err := r.Call(ctx, method, path, body)
	if err == nil && status >= 300 {
		err = fmt.Errorf("%s %s: %d %s", method, path, status, answer)
	}
	return err
}
