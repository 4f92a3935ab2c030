// Package pgtest starts a real PostgreSQL server for a test or a demonstration.
//
// The server is Debian's (or any that is installed), lives in a temporary directory, listens on a free port of
// 127.0.0.1 alone and asks every connection for its password (SCRAM-SHA-256), so a wrong password is really refused.
// It never runs as root, and trades durability for speed: what it holds is gone with it.
package pgtest

import (
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

	"github.com/keywright/keywright/e2e/process"
)

// ErrMissing says that PostgreSQL is not installed here.
var ErrMissing = errors.New("PostgreSQL's server programs are not installed: apt-get install postgresql")

// Superuser is the name of the account that may do everything.
const Superuser = "postgres"

// Config has a useful zero value.
type Config struct {
	// Log receives the server's log; nil drops it.
	Log io.Writer
	// Settings are further lines for postgresql.conf, such as "log_connections = on".
	Settings []string
}

// Server is a running PostgreSQL server.
type Server struct {
	// Port is where it listens, on 127.0.0.1.
	Port int
	// Password is the superuser's.
	Password string

	dir, bin string
	log      io.Writer
	account  *account
	process  *process.Process
}

// Start makes a new database cluster and returns when the server answers. The caller must call Stop.
func Start(ctx context.Context, config Config) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{Password: rand.Text(), bin: bin, log: config.Log}
	if s.account, err = unprivileged(); err != nil {
		return nil, err
	}
	return s, s.build(func() error { return s.initialise(ctx, config) }, func() error { return s.launch(ctx) })
}

// build gives the server a directory and takes the steps. Nothing is left when one fails.
func (s *Server) build(steps ...func() error) (err error) {
	if s.dir, err = os.MkdirTemp("", "pgtest-"); err != nil {
		return err
	}
	for _, step := range append([]func() error{func() error { return s.account.give(s.dir) }}, steps...) {
		if err := step(); err != nil {
			return errors.Join(err, os.RemoveAll(s.dir))
		}
	}
	return nil
}

// Run is Start for tests: the server stops with the test. Without PostgreSQL the test is skipped, or fails under
// CI=true.
func Run(t testing.TB) *Server {
	t.Helper()
	s, err := Start(t.Context(), Config{})
	switch {
	case errors.Is(err, ErrMissing) && os.Getenv("CI") != "true":
		t.Skip("SKIPPED, NOT PASSED: ", err)
	case err != nil:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// DSN is a connection URL, understood by every client of PostgreSQL. It contains the password: keep it out of logs.
func (s *Server) DSN(user, password, database string) string {
	dsn := url.URL{
		Scheme: "postgresql",
		User:   url.UserPassword(user, password),
		Host:   net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)),
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

// Stop ends the server with a fast shutdown (SIGINT: open sessions are cut) and removes its directory.
// Calling it again does nothing.
func (s *Server) Stop() error {
	return errors.Join(s.process.Stop(syscall.SIGINT, 10*time.Second), os.RemoveAll(s.dir))
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) initialise(ctx context.Context, config Config) error {
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(s.Password+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(secret)
	if err := s.account.give(secret); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "initdb"), "-D", s.data(), "-U", Superuser,
		"--pwfile="+secret, "--auth=scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions")
	s.account.run(cmd, s.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making a database cluster: %w\n%s", err, out)
	}
	settings := "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\nsynchronous_commit = off\n" +
		"full_page_writes = off\n" +
		// A failing CREATE ROLE … PASSWORD must not leave its text in the log.
		"log_min_error_statement = panic\n"
	for _, line := range config.Settings {
		settings += line + "\n"
	}
	file, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString(settings)
	return errors.Join(err, file.Close(), s.admitLoopback())
}

// admitLoopback lets clients come from any address of loop-back, so that several on this machine can have addresses of their own. initdb admits
// 127.0.0.1 alone.
func (s *Server) admitLoopback() error {
	file, err := os.OpenFile(filepath.Join(s.data(), "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = file.WriteString("host all all 127.0.0.0/8 scram-sha-256\n")
	return errors.Join(err, file.Close())
}

// launch tries a few ports: one that was free a moment ago may be taken by now.
func (s *Server) launch(ctx context.Context) error {
	var failed error
	for range 3 {
		var err error
		if s.Port, err = process.FreePort(); err != nil {
			return err
		}
		if failed = s.run(ctx); failed == nil || s.process == nil {
			return failed
		}
		if err := s.process.Stop(syscall.SIGINT, 10*time.Second); err != nil || ctx.Err() != nil {
			return errors.Join(failed, err)
		}
	}
	return failed
}

// run starts the server on its port and waits until it answers.
func (s *Server) run(ctx context.Context) error {
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-p", strconv.Itoa(s.Port))
	cmd.Stdout, cmd.Stderr = s.log, s.log
	s.account.run(cmd, s.dir)
	// Should this process die, an immediate shutdown: the server's children go with it.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGQUIT
	started, err := process.Start("PostgreSQL", cmd)
	if err != nil {
		return err
	}
	s.process = started
	return s.process.Await(ctx, 30*time.Second, func() bool { return s.answers(ctx) })
}

func (s *Server) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.AdminDSN())
	if err != nil {
		return false
	}
	return conn.Close(ctx) == nil
}
