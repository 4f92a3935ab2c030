// Package pgtest starts a real PostgreSQL server for a test or a demonstration.
//
// The server is Debian's (or any that is installed), lives in a temporary directory, listens on a free port of
// 127.0.0.1 alone and asks every connection for its password (SCRAM-SHA-256), so a wrong password is really refused.
// It never runs as root, and trades durability for speed: what it holds is gone with it.
package pgtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/e2e/daemon"
)

// ErrMissing says that PostgreSQL is not installed here.
const ErrMissing daemon.Missing = "PostgreSQL's server programs are not installed: apt-get install postgresql"

// Superuser is the name of the account that may do everything.
const Superuser = "postgres"

// Config has a useful zero value.
type Config struct {
	// Log receives the server's log; nil drops it.
	Log io.Writer
	// Settings are further lines for postgresql.conf, such as "log_connections = on".
	Settings []string
	// Durable keeps what was committed through a crash, as servers do that are not for tests alone.
	Durable bool
	// Host is the address of this machine, or of a network namespace, where the server listens and is reached; empty is 127.0.0.1.
	Host string
	// Port is where it listens, in a network namespace of its own; 0 is a port of 127.0.0.1 that is free.
	Port int
	// Within starts the server in the network namespace that has the address; nil starts it where this process is.
	Within func(start func() error) error
}

const loopback = "127.0.0.1"

// Server is a running PostgreSQL server.
type Server struct {
	// Host and Port are where it listens.
	Host string
	Port int
	// Password is the superuser's.
	Password string

	bin    string
	log    io.Writer
	daemon *daemon.Daemon
}

// Start makes a new database cluster and returns when the server answers. The caller must call Stop.
func Start(ctx context.Context, config Config) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := newServer(bin, rand.Text(), config)
	return s, s.launch(ctx, config, func(ctx context.Context) error { return s.initialise(ctx, config) })
}

func newServer(bin, password string, config Config) *Server {
	return &Server{Host: cmp.Or(config.Host, loopback), Port: config.Port, Password: password, bin: bin, log: config.Log}
}

// launch gives the server a directory, fills it and starts the server.
func (s *Server) launch(ctx context.Context, config Config, fill func(context.Context) error) (err error) {
	var free []*int
	if config.Port == 0 {
		free = []*int{&s.Port}
	}
	s.daemon, err = daemon.New(daemon.Config{
		Name: "PostgreSQL", Users: []string{"postgres", "nobody"}, Ports: free,
		Command: s.command, Answers: s.answers, Patience: 30 * time.Second, Within: config.Within,
		Quit: syscall.SIGINT, // a fast shutdown: open sessions are cut
	})
	if err != nil {
		return err
	}
	return s.daemon.Launch(ctx, fill)
}

// Run is Start for tests: the server stops with the test. Without PostgreSQL the test is skipped, or fails under
// CI=true.
func Run(t testing.TB) *Server {
	t.Helper()
	return daemon.Run(t, func(ctx context.Context) (*Server, error) { return Start(ctx, Config{}) })
}

// DSN is a connection URL, understood by every client of PostgreSQL. It contains the password: keep it out of logs.
func (s *Server) DSN(user, password, database string) string {
	dsn := url.URL{
		Scheme: "postgresql",
		User:   url.UserPassword(user, password),
		Host:   net.JoinHostPort(s.Host, strconv.Itoa(s.Port)),
		Path:   "/" + database,
	}
	return dsn.String()
}

// AdminDSN connects the superuser to the database postgres.
func (s *Server) AdminDSN() string { return s.DSN(Superuser, s.Password, "postgres") }

// Exec runs statements as the superuser, one after the other, each in a transaction of its own.
func (s *Server) Exec(ctx context.Context, statements ...string) error {
	conn, err := pgx.Connect(ctx, s.AdminDSN())
	if err != nil {
		return fmt.Errorf("connecting to PostgreSQL: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for i, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			// Not the statement itself: it may hold a password.
			return fmt.Errorf("statement %d of %d: %w", i+1, len(statements), err)
		}
	}
	return nil
}

// Stop ends the server and removes its directory. Calling it again does nothing.
func (s *Server) Stop() error { return s.daemon.Stop() }

func (s *Server) data() string { return s.daemon.Path("data") }

func (s *Server) initialise(ctx context.Context, config Config) error {
	secret := s.daemon.Path("password")
	if err := os.WriteFile(secret, []byte(s.Password+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(secret)
	if err := s.daemon.Give(secret); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", Superuser,
		"--pwfile="+secret, "--auth=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	if err := s.daemon.Do("making a database cluster", cmd); err != nil {
		return err
	}
	settings := "unix_socket_directories = ''\n" +
		// A failing CREATE ROLE … PASSWORD must not leave its text in the log.
		"log_min_error_statement = panic\n"
	if !config.Durable {
		settings += "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
	}
	for _, line := range config.Settings {
		settings += line + "\n"
	}
	file, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(settings)
	return errors.Join(err, file.Close(), s.admit())
}

// admit lets clients, and standbys, come from any address of loop-back, so that several on this machine can have addresses of their own, and from the
// private networks that namespaces have. initdb admits 127.0.0.1 alone.
func (s *Server) admit() error {
	file, err := os.OpenFile(filepath.Join(s.data(), "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, network := range []string{"127.0.0.0/8", "10.0.0.0/8"} {
		for _, databases := range []string{"all", "replication"} {
			if err == nil {
				_, err = fmt.Fprintf(file, "host %s all %s scram-sha-256\n", databases, network)
			}
		}
	}
	return errors.Join(err, file.Close())
}

func (s *Server) command() (*exec.Cmd, error) {
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-h", s.Host, "-p", strconv.Itoa(s.Port))
	cmd.Stdout, cmd.Stderr = s.log, s.log
	// Should this process die, an immediate shutdown: the server's children go with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
	return cmd, nil
}

func (s *Server) answers(ctx context.Context) bool {
	conn, err := pgx.Connect(ctx, s.AdminDSN())
	if err != nil {
		return false
	}
	return conn.Close(ctx) == nil
}
