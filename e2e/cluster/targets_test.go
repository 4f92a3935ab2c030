package cluster_test

import (
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/e2e/rabbitmqtest"
	"github.com/keywright/keywright/e2e/testca"
)

// login is what a secret of an account holds.
type login struct{ Username, Password string }

// target is a real system with two accounts that take turns.
type target struct {
	name   string
	admin  login
	config map[string]any
	// login logs in, and works a little. refused is an explicit refusal of the credential.
	login func(ctx context.Context, l login) (refused bool, err error)
	// set lists what each account was made to accept, in order, as far as the target shows it.
	set func() []change
	// matches reports whether a hash is one of the password.
	matches func(hash, password string) bool

	mu     sync.Mutex
	newest login
}

// read notes what an application has read: whoever judges must not read by itself, or the ledger would wait for it.
func (t *target) read(l login) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.newest = l
}

func (t *target) current() login {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.newest
}

// change is what an account was made to accept: a hash.
type change struct{ account, hash string }

const firstPassword = "FirstPasswordOfAll"

func accountsOf(name string) []string { return []string{name + "_a", name + "_b"} }

type written struct {
	mu   sync.Mutex
	text strings.Builder
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func (w *written) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// startPostgres starts one that logs each change of an account.
func startPostgres(ctx context.Context, t testing.TB, host string) (*target, error) {
	log := &written{}
	s, err := pgtest.Start(ctx, pgtest.Config{Host: host, Log: log, Settings: []string{"log_statement = ddl", "max_connections = 100"}})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = s.Stop() })
	statements := []string{"CREATE DATABASE app", "CREATE ROLE app_owner NOLOGIN", "CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'keeper'",
		"GRANT pg_signal_backend, pg_read_all_stats, app_owner TO keeper"}
	for _, a := range accountsOf("sql") {
		statements = append(statements, "CREATE ROLE "+a+" LOGIN PASSWORD '"+firstPassword+"' IN ROLE app_owner", "ALTER ROLE "+a+" IN DATABASE app SET role = app_owner")
	}
	if err := s.Exec(ctx, statements...); err != nil {
		return nil, err
	}
	ca, err := encrypt(ctx, s, host)
	if err != nil {
		return nil, err
	}
	return &target{name: "sql", admin: login{"keeper", "keeper"},
		config: map[string]any{"rotator": "postgres", "target": map[string]any{"endpoints": []string{net.JoinHostPort(host, strconv.Itoa(s.Port))}, "database": "app", "ownerRole": "app_owner",
			"tls": map[string]string{"ca": ca}}},
		login: func(ctx context.Context, l login) (bool, error) {
			conn, err := pgx.Connect(ctx, s.DSN(l.Username, l.Password, "app"))
			var refused *pgconn.PgError
			if errors.As(err, &refused) && (refused.Code == "28P01" || refused.Code == "28000") {
				return true, err
			}
			if err != nil {
				return false, err
			}
			defer conn.Close(context.WithoutCancel(ctx))
			_, err = conn.Exec(ctx, "SELECT 1")
			return false, err
		},
		set: func() (list []change) {
			for _, m := range altered.FindAllStringSubmatch(log.String(), -1) {
				list = append(list, change{m[1], m[2]})
			}
			return list
		},
		matches: scramMatches,
	}, nil
}

// encrypt has a server speak TLS, and returns who vouches for it.
func encrypt(ctx context.Context, s *pgtest.Server, host string) (ca string, err error) {
	pair, err := testca.For(host)
	if err != nil {
		return "", err
	}
	conn, err := pgx.Connect(ctx, s.AdminDSN())
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var dir string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&dir); err != nil {
		return "", err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	owner := info.Sys().(*syscall.Stat_t)
	for name, text := range map[string][]byte{"server.crt": pair.Certificate, "server.key": pair.Key} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, text, 0o600), os.Chown(path, int(owner.Uid), int(owner.Gid))); err != nil {
			return "", err
		}
	}
	return string(pair.CA), s.Exec(ctx, "ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
}

// altered is a change in the log of PostgreSQL.
var altered = regexp.MustCompile(`ALTER ROLE "?(sql_[ab])"? PASSWORD '(SCRAM-SHA-256\$[^']+)'`)

// scramMatches compares a verifier (RFC 5802, section 3) by its salted password alone: the stored key is a hash of it.
func scramMatches(verifier, password string) bool {
	_, rest, _ := strings.Cut(verifier, "$")
	head, keys, _ := strings.Cut(rest, "$")
	iterations, salt, _ := strings.Cut(head, ":")
	_, server, _ := strings.Cut(keys, ":")
	n, err := strconv.Atoi(iterations)
	if err != nil {
		return false
	}
	raw, err := base64.StdEncoding.DecodeString(salt)
	if err != nil {
		return false
	}
	salted, err := pbkdf2.Key(sha256.New, password, raw, n, sha256.Size)
	return err == nil && base64.StdEncoding.EncodeToString(mac(salted, "Server Key")) == server
}

// startRabbitMQ starts a broker, of which somebody watches the hashes of the accounts.
func startRabbitMQ(ctx context.Context, t testing.TB, host string) (*target, error) {
	s, err := rabbitmqtest.StartAt(ctx, host)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = s.Stop() })
	for _, a := range accountsOf("mq") {
		if status, _, err := s.Call(ctx, http.MethodPut, "users/"+a, `{"password":"`+firstPassword+`","tags":""}`); err != nil || status >= 300 {
			return nil, fmt.Errorf("making %s: %d %w", a, status, err)
		}
		if status, _, err := s.Call(ctx, http.MethodPut, "permissions/%2F/"+a, `{"configure":".*","write":".*","read":".*"}`); err != nil || status >= 300 {
			return nil, fmt.Errorf("permitting %s: %d %w", a, status, err)
		}
	}
	w := &watched{}
	t.Cleanup(w.watch(s, accountsOf("mq")))
	return &target{name: "mq", admin: login{rabbitmqtest.Administrator, s.Password},
		config: map[string]any{"rotator": "rabbitmq", "target": map[string]any{"managementEndpoint": net.JoinHostPort(host, strconv.Itoa(s.ManagementPort)),
			"amqpEndpoints": []string{net.JoinHostPort(host, strconv.Itoa(s.Port))}, "vhost": "/", "plaintext": true}},
		login: func(ctx context.Context, l login) (bool, error) {
			properties := amqp.NewConnectionProperties()
			properties["capabilities"] = amqp.Table{"authentication_failure_close": true, "connection.blocked": true, "consumer_cancel_notify": true}
			conn, err := amqp.DialConfig(s.AMQP(), amqp.Config{Vhost: "/", Properties: properties, SASL: []amqp.Authentication{&amqp.PlainAuth{Username: l.Username, Password: l.Password}}})
			var refused *amqp.Error
			if errors.As(err, &refused) && refused.Code == amqp.AccessRefused {
				return true, err
			}
			if err != nil {
				return false, err
			}
			return false, conn.Close()
		},
		set:     w.list,
		matches: saltedMatches,
	}, nil
}

// watched is what accounts of a broker were seen to accept.
type watched struct {
	mu  sync.Mutex
	all []change
}

// watch looks at the hashes again and again, until the function that it returns is called.
func (w *watched) watch(s *rabbitmqtest.Server, accounts []string) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() {
		last := map[string]string{}
		for ; ctx.Err() == nil; rest(ctx, 50*time.Millisecond) {
			for _, a := range accounts {
				status, text, err := s.Call(ctx, http.MethodGet, "users/"+a, "")
				var u struct {
					Hash string `json:"password_hash"`
				}
				if err != nil || status != http.StatusOK || json.Unmarshal(text, &u) != nil || u.Hash == last[a] {
					continue
				}
				last[a] = u.Hash
				w.mu.Lock()
				w.all = append(w.all, change{a, u.Hash})
				w.mu.Unlock()
			}
		}
	})
	return func() { cancel(); all.Wait() }
}

func (w *watched) list() []change {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all)
}

// saltedMatches compares base64(salt || SHA-256(salt || password)), whose salt has four bytes (https://www.rabbitmq.com/docs/passwords#computing-password-hash).
func saltedMatches(hash, password string) bool {
	raw, err := base64.StdEncoding.DecodeString(hash)
	if err != nil || len(raw) != 4+sha256.Size {
		return false
	}
	sum := sha256.Sum256(append(slices.Clone(raw[:4]), password...))
	return string(sum[:]) == string(raw[4:])
}

// policy is how the secret of a target rotates.
func (t *target) policy() json.RawMessage {
	p := map[string]any{"strategy": "alternating", "admin": map[string]string{"name": t.name + "-admin"}, "accounts": accountsOf(t.name), "format": map[string]string{"kind": "json"},
		"grace": (3 * cacheTTL).String(), "cacheTTL": cacheTTL.String(), "maxConnectionLife": time.Second.String()}
	for name, value := range t.config {
		p[name] = value
	}
	text, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprint("a policy without a JSON form: ", err))
	}
	return text
}
