package rotation_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goldap "github.com/go-ldap/ldap/v3"
	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	natsclient "github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	redisclient "github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/e2e/ldaptest"
	"github.com/keywright/keywright/e2e/mariadbtest"
	"github.com/keywright/keywright/e2e/natstest"
	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/e2e/rabbitmqtest"
	"github.com/keywright/keywright/e2e/redistest"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/ldap"
	"github.com/keywright/keywright/internal/rotator/mysql"
	"github.com/keywright/keywright/internal/rotator/nats"
	"github.com/keywright/keywright/internal/rotator/postgres"
	"github.com/keywright/keywright/internal/rotator/rabbitmq"
	"github.com/keywright/keywright/internal/rotator/redis"
)

// system is a real target that runs for one test.
type system struct {
	rotator    rotator.Rotator
	strategies []rotator.Strategy
	admin      rotator.Credential
	config     json.RawMessage
	// create makes accounts of which each accepts its value.
	create func(t testing.TB, accounts []string, value string) error
	// dial logs in without the rotator's code. refused is true for an explicit refusal of the credential.
	dial func(ctx context.Context, c rotator.Credential) (s session, refused bool, err error)
	// logs are all that the target wrote; nil where it keeps none.
	logs func() (string, error)
	// port is where it listens, where a test has to know.
	port int
	// lease is how long leases have to be for a call to come to its end; 0 means a second.
	lease time.Duration
}

// session is one login at a target. Its operation is a cheap one that the target carries out for the account.
type session interface {
	Operate(ctx context.Context) error
	Close()
}

// systems are all that can run here, by the name of their rotator.
var systems = map[string]func(t testing.TB) *system{
	"postgres": startPostgres, "mysql": startMariaDB, "redis": startRedis, "rabbitmq": startRabbitMQ, "ldap": startLDAP, "nats": startNATS,
}

var made atomic.Int64

// accounts makes a policy and the accounts that it needs.
func (s *system) accounts(t testing.TB, strategy rotator.Strategy) (rotation.Policy, rotator.Credential) {
	n := made.Add(1)
	p := rotation.Policy{Strategy: strategy, Rotator: s.rotator.Describe().Name, Target: s.config, Accounts: []string{fmt.Sprintf("app%d_a", n)},
		Format: rotation.Format{Kind: rotation.JSON}, AcceptGap: strategy == rotator.Single}
	if strategy == rotator.Alternating {
		p.Accounts = append(p.Accounts, fmt.Sprintf("app%d_b", n))
	}
	first := rotator.Credential{Account: p.Accounts[0], Value: []byte("First" + rand.Text())}
	if err := s.create(t, p.Accounts, string(first.Value)); err != nil {
		t.Fatalf("making accounts: %v", err)
	}
	return p, first
}

// login reports whether the target accepts a credential; an error is neither.
func (s *system) login(ctx context.Context, c rotator.Credential) (bool, error) {
	session, refused, err := s.dial(ctx, c)
	switch {
	case refused:
		return false, nil
	case err != nil:
		return false, err
	}
	session.Close()
	return true, nil
}

func asJSON(t testing.TB, v any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

type written struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *written) all() (string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String(), nil
}

type pgSession struct{ *pgx.Conn }

func (s pgSession) Operate(ctx context.Context) error {
	_, err := s.Exec(ctx, "INSERT INTO work DEFAULT VALUES")
	return err
}
func (s pgSession) Close() { _ = s.Conn.Close(context.Background()) }

func startPostgres(t testing.TB) *system {
	log := &written{}
	s, err := pgtest.Start(t.Context(), pgtest.Config{Log: log, Settings: []string{"log_min_error_statement = error", "log_statement = ddl", "max_connections = 300"}})
	if errors.Is(err, pgtest.ErrMissing) && os.Getenv("CI") != "true" {
		t.Skip("SKIPPED, NOT PASSED: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Stop() })
	if err := s.Exec(t.Context(), "CREATE DATABASE app", "CREATE ROLE app_owner NOLOGIN", "CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'keeper'",
		"GRANT pg_signal_backend, pg_read_all_stats, app_owner TO keeper"); err != nil {
		t.Fatal(err)
	}
	as := func(f func(*pgx.Conn) error) error {
		conn, err := pgx.Connect(context.Background(), s.DSN(pgtest.Superuser, s.Password, "app"))
		if err != nil {
			return err
		}
		defer conn.Close(context.Background())
		return f(conn)
	}
	if err := as(func(c *pgx.Conn) error {
		_, err := c.Exec(context.Background(), "CREATE TABLE work (id bigserial); ALTER TABLE work OWNER TO app_owner")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return &system{
		port: s.Port, rotator: postgres.New(), strategies: []rotator.Strategy{rotator.Single, rotator.Alternating},
		admin: rotator.Credential{Account: "keeper", Value: []byte("keeper")}, logs: log.all,
		config: asJSON(t, map[string]any{"endpoints": []string{address(s.Port)}, "database": "app", "ownerRole": "app_owner", "tls": map[string]string{"mode": "disable"}}),
		create: func(_ testing.TB, accounts []string, value string) error {
			return as(func(c *pgx.Conn) error {
				for _, a := range accounts {
					for _, statement := range []string{"CREATE ROLE " + a + " LOGIN PASSWORD '" + value + "' IN ROLE app_owner", "ALTER ROLE " + a + " IN DATABASE app SET role = app_owner"} {
						if _, err := c.Exec(context.Background(), statement); err != nil {
							return err
						}
					}
				}
				return nil
			})
		},
		dial: func(ctx context.Context, c rotator.Credential) (session, bool, error) {
			conn, err := pgx.Connect(ctx, s.DSN(c.Account, string(c.Value.Reveal()), "app"))
			var refused *pgconn.PgError
			if errors.As(err, &refused) && (refused.Code == "28P01" || refused.Code == "28000") {
				return nil, true, err
			}
			return pgSession{conn}, false, err
		},
	}
}

type mySession struct{ *sql.DB }

func (s mySession) Operate(ctx context.Context) error {
	_, err := s.ExecContext(ctx, "INSERT INTO shop.work VALUES ()")
	return err
}
func (s mySession) Close() { _ = s.DB.Close() }

func startMariaDB(t testing.TB) *system {
	s := mariadbtest.Run(t, mariadbtest.Config{Options: []string{"--max-connections=300", "--max-password-errors=4294967295"}})
	if err := s.Exec(t.Context(), "CREATE USER keeper@'%' IDENTIFIED BY 'keeper'", "GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO keeper@'%'",
		"GRANT SELECT ON mysql.* TO keeper@'%'", "CREATE DATABASE shop", "CREATE TABLE shop.work (id BIGINT AUTO_INCREMENT PRIMARY KEY) ENGINE=Aria TRANSACTIONAL=0"); err != nil {
		t.Fatal(err)
	}
	return &system{
		rotator: mysql.New(), strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating},
		lease: 4 * time.Second, // the server counts a session's end in whole seconds, and a change needs one
		admin: rotator.Credential{Account: "keeper", Value: []byte("keeper")}, logs: s.Log,
		config: asJSON(t, map[string]any{"endpoints": []string{s.Address()}, "plaintext": true}),
		create: func(_ testing.TB, accounts []string, value string) error {
			for _, a := range accounts {
				if err := s.Exec(context.Background(), "CREATE USER "+a+"@'%' IDENTIFIED VIA mysql_native_password USING PASSWORD('"+value+"')", "GRANT INSERT ON shop.* TO "+a+"@'%'"); err != nil {
					return err
				}
			}
			return nil
		},
		dial: func(ctx context.Context, c rotator.Credential) (session, bool, error) {
			connector, err := mysqldriver.NewConnector(s.Config(c.Account, string(c.Value.Reveal())))
			if err != nil {
				return nil, false, err
			}
			db := sql.OpenDB(connector)
			db.SetMaxOpenConns(1)
			err = db.PingContext(ctx)
			var refused *mysqldriver.MySQLError
			if err != nil {
				_ = db.Close()
			}
			if errors.As(err, &refused) && (refused.Number == 1045 || refused.Number == 4151) { // wrong password; account locked
				return nil, true, err
			}
			return mySession{db}, false, err
		},
	}
}

type redisSession struct{ *redisclient.Client }

func (s redisSession) Operate(ctx context.Context) error { return s.Incr(ctx, "work").Err() }
func (s redisSession) Close()                            { _ = s.Client.Close() }

func startRedis(t testing.TB) *system {
	s := redistest.Run(t, redistest.Config{})
	r, err := redis.New(redis.Config{Clock: clock.System{}})
	if err != nil {
		t.Fatal(err)
	}
	return &system{
		rotator: r, strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating},
		admin: rotator.Credential{Account: redistest.Admin, Value: []byte(s.Password)}, logs: s.Log,
		config: asJSON(t, map[string]any{"system": "shop", "endpoints": []string{s.Address()}, "plaintext": true}),
		create: func(_ testing.TB, accounts []string, value string) error {
			for _, a := range accounts {
				if _, err := s.Do(context.Background(), "ACL", "SETUSER", a, "reset", "on", ">"+value, "~*", "+@read", "+@write", "+@connection"); err != nil {
					return err
				}
			}
			return nil
		},
		dial: func(ctx context.Context, c rotator.Credential) (session, bool, error) {
			client := s.Client(c.Account, string(c.Value.Reveal()))
			err := client.Ping(ctx).Err()
			if err != nil {
				_ = client.Close()
			}
			if err != nil && strings.HasPrefix(err.Error(), "WRONGPASS") {
				return nil, true, err
			}
			return redisSession{client}, false, err
		},
	}
}

type amqpSession struct {
	*amqp.Connection
	channel *amqp.Channel
}

func (s amqpSession) Operate(ctx context.Context) error {
	return s.channel.PublishWithContext(ctx, "", "nobody", false, false, amqp.Publishing{Body: []byte("work")})
}
func (s amqpSession) Close() { _ = s.Connection.Close() }

func startRabbitMQ(t testing.TB) *system {
	s := rabbitmqtest.Run(t)
	call := func(path, body string) error {
		status, answer, err := s.Call(context.Background(), http.MethodPut, path, body)
		if err == nil && status >= 300 {
			err = fmt.Errorf("%s: %d %s", path, status, answer)
		}
		return err
	}
	return &system{
		rotator: rabbitmq.New(), strategies: []rotator.Strategy{rotator.Single, rotator.Alternating},
		admin:  rotator.Credential{Account: rabbitmqtest.Administrator, Value: []byte(s.Password)},
		logs:   func() (string, error) { text, err := s.Logs(); return string(text), err },
		config: asJSON(t, map[string]any{"managementEndpoint": address(s.ManagementPort), "amqpEndpoints": []string{address(s.Port)}, "vhost": "/", "plaintext": true}),
		create: func(_ testing.TB, accounts []string, value string) error {
			for _, a := range accounts {
				if err := errors.Join(call("users/"+url.PathEscape(a), `{"password":"`+value+`","tags":""}`),
					call("permissions/%2F/"+url.PathEscape(a), `{"configure":".*","write":".*","read":".*"}`)); err != nil {
					return err
				}
			}
			return nil
		},
		dial: func(_ context.Context, c rotator.Credential) (session, bool, error) {
			properties := amqp.NewConnectionProperties()
			properties["capabilities"] = amqp.Table{"authentication_failure_close": true, "connection.blocked": true, "consumer_cancel_notify": true}
			conn, err := amqp.DialConfig(s.AMQP(), amqp.Config{Vhost: "/", Properties: properties,
				SASL: []amqp.Authentication{&amqp.PlainAuth{Username: c.Account, Password: string(c.Value.Reveal())}}})
			var refused *amqp.Error
			if errors.As(err, &refused) && refused.Code == amqp.AccessRefused {
				return nil, true, err
			}
			if err != nil {
				return nil, false, err
			}
			channel, err := conn.Channel()
			if err != nil {
				_ = conn.Close()
			}
			return amqpSession{conn, channel}, false, err
		},
	}
}

type ldapSession struct {
	*goldap.Conn
}

func (s ldapSession) Operate(context.Context) error { _, err := s.WhoAmI(nil); return err }
func (s ldapSession) Close()                        { _ = s.Conn.Close() }

func startLDAP(t testing.TB) *system {
	s := ldaptest.Run(t)
	dn := func(account string) string { return "cn=" + goldap.EscapeDN(account) + "," + ldaptest.Suffix }
	if err := s.As(func(c *goldap.Conn) error { // the tests log in wrongly on purpose
		m := goldap.NewModifyRequest(ldaptest.Policy, nil)
		m.Replace("pwdLockout", []string{"FALSE"})
		return c.Modify(m)
	}); err != nil {
		t.Fatal(err)
	}
	return &system{
		rotator: ldap.New(), strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating},
		admin:  rotator.Credential{Account: ldaptest.Keeper, Value: []byte(s.Password)},
		logs:   func() (string, error) { text, err := s.Logs(); return string(text), err },
		config: asJSON(t, map[string]any{"endpoints": []string{s.Address()}, "accountDN": "cn={account}," + ldaptest.Suffix, "plaintext": true}),
		create: func(_ testing.TB, accounts []string, value string) error {
			return s.As(func(c *goldap.Conn) error {
				for _, a := range accounts {
					request := goldap.NewAddRequest(dn(a), nil)
					request.Attribute("objectClass", []string{"person"})
					request.Attribute("sn", []string{"application"})
					request.Attribute("userPassword", []string{value})
					if err := c.Add(request); err != nil {
						return err
					}
				}
				return nil
			})
		},
		dial: func(_ context.Context, c rotator.Credential) (session, bool, error) {
			conn, err := s.Bind(dn(c.Account), string(c.Value.Reveal()))
			return ldapSession{conn}, goldap.IsErrorWithCode(err, goldap.LDAPResultInvalidCredentials), err
		},
	}
}

type natsSession struct{ *natsclient.Conn }

func (s natsSession) Operate(context.Context) error { return s.Publish("work", []byte("work")) }
func (s natsSession) Close()                        { s.Conn.Close() }

func startNATS(t testing.TB) *system {
	s := natstest.Run(t, natstest.Config{})
	return &system{
		rotator: nats.New(), strategies: []rotator.Strategy{rotator.Alternating}, lease: 6 * time.Second, // each change waits for a reload of the server
		logs: func() (string, error) { text, err := s.Logs(); return string(text), err },
		config: asJSON(t, map[string]any{"plaintext": true, "servers": []any{map[string]any{"endpoint": s.Address(), "monitoring": s.Monitoring(), "usersFile": s.UsersFile(),
			"pidFile": s.PIDFile(), "configFile": s.ConfigFile(), "program": s.Program}}}),
		create: func(t testing.TB, accounts []string, value string) error { return addNATSUsers(s, accounts, value) },
		dial: func(_ context.Context, c rotator.Credential) (session, bool, error) {
			connect := func() (*natsclient.Conn, error) {
				return natsclient.Connect("nats://"+s.Address(), natsclient.UserInfo(c.Account, string(c.Value.Reveal())), natsclient.NoReconnect())
			}
			conn, err := connect()
			if !errors.Is(err, natsclient.ErrAuthorization) {
				return natsSession{conn}, false, err
			}
			// A reload refuses whoever is about to log in, whatever the password: only what is refused without one is refused.
			lock, lockErr := lockNATSUsers(s)
			if lockErr != nil {
				return nil, false, lockErr
			}
			defer lock.Close()
			conn, err = connect()
			return natsSession{conn}, errors.Is(err, natsclient.ErrAuthorization), err
		},
	}
}

// lockNATSUsers takes the rotator's lock of the file of users, as another program would. Closing it gives it back.
func lockNATSUsers(s *natstest.Server) (*os.File, error) {
	lock, err := os.OpenFile(s.UsersFile()+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// addNATSUsers changes the file of users under that lock.
func addNATSUsers(s *natstest.Server, accounts []string, value string) error {
	lock, err := lockNATSUsers(s)
	if err != nil {
		return err
	}
	defer lock.Close()
	var file struct {
		Users []map[string]any `json:"users"`
	}
	text, err := os.ReadFile(s.UsersFile())
	if err == nil {
		err = json.Unmarshal(text, &file)
	}
	if err != nil {
		return err
	}
	for _, a := range accounts {
		file.Users = append(file.Users, map[string]any{"user": a, "password": value})
	}
	if text, err = json.Marshal(file); err != nil {
		return err
	}
	// In one piece, as whoever reads it without the lock expects.
	if err := os.WriteFile(s.UsersFile()+".new", text, 0o600); err != nil {
		return err
	}
	return errors.Join(os.Rename(s.UsersFile()+".new", s.UsersFile()), s.Reload(context.Background()))
}
