// Package mariadbtest starts a real MariaDB server for a test or a demonstration.
//
// The server is Debian's (or any that is installed), lives in a temporary directory and listens on a free port of 127.0.0.1 alone. Its root
// account asks for a password, and there is no anonymous account unless a test makes one. It never runs as root, and trades durability for
// speed: what it holds is gone with it. Its general log is on, and readable, so that a test can look there for what must not be seen.
package mariadbtest

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/keywright/keywright/e2e/process"
)

// ErrMissing says that MariaDB is not installed here.
var ErrMissing = errors.New("MariaDB's server programs are not installed: apt-get install mariadb-server")

// Superuser is the name of the account that may do everything.
const Superuser = "root"

// Config has a useful zero value.
type Config struct {
	// Options are further options of the server, such as "--max-password-errors=3".
	Options []string
}

// Server is a running MariaDB server.
type Server struct {
	// Port is where it listens, on 127.0.0.1.
	Port int
	// Password is the superuser's.
	Password string

	config  Config
	dir     string
	daemon  string
	account *account
	process *process.Process
}

// Start makes a new data directory and returns when the server answers. The caller must call Stop.
func Start(ctx context.Context, config Config) (*Server, error) {
	daemon, installer, err := programs()
	if err != nil {
		return nil, err
	}
	s := &Server{Password: rand.Text(), config: config, daemon: daemon}
	if s.account, err = unprivileged(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "mariadbtest-"); err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return s.account.give(s.dir) },
		func() error { return s.initialise(ctx, installer) },
		func() error { return s.launch(ctx) },
	} {
		if err := step(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(s.dir))
		}
	}
	return s, nil
}

// Run is Start for tests: the server stops with the test. Without MariaDB the test is skipped, or fails under CI=true.
func Run(t testing.TB, config Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), config)
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

// Address is host:port.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)) }

// Config are the driver's settings for a login. They contain the password: keep them out of logs.
func (s *Server) Config(user, password string) *mysql.Config {
	c := mysql.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd = "tcp", s.Address(), user, password
	c.Timeout = 5 * time.Second
	c.Logger = &mysql.NopLogger{}
	return c
}

// Exec runs statements as the superuser, one after the other.
func (s *Server) Exec(ctx context.Context, statements ...string) error {
	db, err := s.open()
	if err != nil {
		return err
	}
	defer db.Close()
	for i, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			// Not the statement itself: it may hold a password.
			return fmt.Errorf("statement %d of %d: %w", i+1, len(statements), err)
		}
	}
	return nil
}

// Query runs a query as the superuser and returns its rows, columns parted by tabs and NULL as "NULL".
func (s *Server) Query(ctx context.Context, query string, args ...any) ([]string, error) {
	db, err := s.open()
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	var lines []string
	for rows.Next() {
		cells, into := make([]sql.NullString, len(columns)), make([]any, len(columns))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		texts := make([]string, len(columns))
		for i, c := range cells {
			if texts[i] = c.String; !c.Valid {
				texts[i] = "NULL"
			}
		}
		lines = append(lines, strings.Join(texts, "\t"))
	}
	return lines, rows.Err()
}

// Log returns what the server has logged so far: its error log, and each statement that it was sent.
func (s *Server) Log() (string, error) {
	general, err := os.ReadFile(filepath.Join(s.dir, "general.log"))
	if err != nil {
		return "", err
	}
	failures, err := os.ReadFile(filepath.Join(s.dir, "error.log"))
	if err != nil {
		return "", err
	}
	return string(general) + string(failures), nil
}

// Kill ends the server as a power cut would, without its own clean-up.
func (s *Server) Kill() {
	_ = s.process.Stop(syscall.SIGKILL, 10*time.Second)
}

// Restart stops the server, where it still runs, and starts it again on the same port.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.process.Stop(syscall.SIGTERM, 30*time.Second); err != nil {
		return err
	}
	return s.run(ctx)
}

// Stop ends the server and removes its directory. Calling it again does nothing.
func (s *Server) Stop() error {
	return errors.Join(s.process.Stop(syscall.SIGTERM, 30*time.Second), os.RemoveAll(s.dir))
}

func (s *Server) open() (*sql.DB, error) {
	connector, err := mysql.NewConnector(s.Config(Superuser, s.Password))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	return db, nil
}

func (s *Server) initialise(ctx context.Context, installer string) error {
	cmd := exec.CommandContext(ctx, installer, "--no-defaults", "--datadir="+filepath.Join(s.dir, "data"),
		"--auth-root-authentication-method=normal", "--skip-test-db")
	s.account.run(cmd, s.dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("making a data directory: %w\n%s", err, out)
	}
	// The server reads the file before it accepts anybody: root never lacks a password on the network. A hash, because the file of
	// a server that crashed stays.
	stage := sha1.Sum([]byte(s.Password))
	hash := sha1.Sum(stage[:])
	init := filepath.Join(s.dir, "init.sql")
	// Not for the binary log: a replica has a root of its own.
	statements := "SET SESSION sql_log_bin = 0;\n" +
		"DELETE FROM mysql.global_priv WHERE User = '' OR User = 'root' AND Host <> 'localhost';\nFLUSH PRIVILEGES;\n" +
		"CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED VIA mysql_native_password USING '*" + strings.ToUpper(hex.EncodeToString(hash[:])) + "';\n" +
		"GRANT ALL PRIVILEGES ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"
	if err := os.WriteFile(init, []byte(statements), 0o600); err != nil {
		return err
	}
	return s.account.give(init)
}

// launch tries a few ports: one that was free a moment ago may be taken by now.
func (s *Server) launch(ctx context.Context) error {
	var failed error
	for range 3 {
		var err error
		if s.Port, err = process.FreePort(); err != nil {
			return err
		}
		if failed = s.run(ctx); failed == nil || ctx.Err() != nil {
			return failed
		}
	}
	return failed
}

func (s *Server) run(ctx context.Context) error {
	options := []string{"--no-defaults", "--datadir=" + filepath.Join(s.dir, "data"), "--socket=" + filepath.Join(s.dir, "s"),
		"--pid-file=" + filepath.Join(s.dir, "pid"), "--bind-address=127.0.0.1", "--port=" + strconv.Itoa(s.Port), "--skip-name-resolve",
		"--init-file=" + filepath.Join(s.dir, "init.sql"), "--log-error=" + filepath.Join(s.dir, "error.log"),
		"--general-log=1", "--general-log-file=" + filepath.Join(s.dir, "general.log"),
		"--innodb-buffer-pool-size=8M", "--innodb-flush-log-at-trx-commit=0", "--performance-schema=0", "--aria-pagecache-buffer-size=8M"}
	cmd := exec.Command(s.daemon, append(options, s.config.Options...)...)
	s.account.run(cmd, s.dir)
	cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	var err error
	if s.process, err = process.Start("MariaDB", cmd); err != nil {
		return err
	}
	if err := s.process.Await(ctx, 30*time.Second, func() bool { return s.answers(ctx) }); err != nil {
		text, _ := os.ReadFile(filepath.Join(s.dir, "error.log"))
		return errors.Join(err, s.process.Stop(syscall.SIGTERM, 10*time.Second), fmt.Errorf("its log says:\n%s", text))
	}
	return nil
}

func (s *Server) answers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return s.Exec(ctx, "DO 1") == nil
}
