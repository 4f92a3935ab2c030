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
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/keywright/keywright/e2e/daemon"
)

// ErrMissing says that MariaDB is not installed here.
const ErrMissing daemon.Missing = "MariaDB's server programs are not installed: apt-get install mariadb-server"

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
	program string
	daemon  *daemon.Daemon
}

// Start makes a new data directory and returns when the server answers. The caller must call Stop.
func Start(ctx context.Context, config Config) (*Server, error) {
	program, err := daemon.Find(ErrMissing, "mariadbd", "/usr/sbin/mariadbd") // Debian keeps it where root alone searches
	if err != nil {
		return nil, err
	}
	installer, err := daemon.Find(ErrMissing, "mariadb-install-db")
	if err != nil {
		return nil, err
	}
	s := &Server{Password: rand.Text(), config: config, program: program}
	s.daemon, err = daemon.New(daemon.Config{
		Name: "MariaDB", Users: []string{"mysql", "nobody"}, Ports: []*int{&s.Port}, Log: "error.log",
		Command: s.command, Answers: s.answers, Patience: 30 * time.Second, Quit: syscall.SIGTERM,
	})
	if err != nil {
		return nil, err
	}
	return s, s.daemon.Launch(ctx, func(ctx context.Context) error { return s.initialise(ctx, installer) })
}

// Run is Start for tests: the server stops with the test. Without MariaDB the test is skipped, or fails under CI=true.
func Run(t testing.TB, config Config) *Server {
	t.Helper()
	return daemon.Run(t, func(ctx context.Context) (*Server, error) { return Start(ctx, config) })
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
	general, err := os.ReadFile(s.daemon.Path("general.log"))
	if err != nil {
		return "", err
	}
	failures, err := s.daemon.Log()
	if err != nil {
		return "", err
	}
	return string(general) + string(failures), nil
}

// Kill ends the server as a power cut would, without its own clean-up.
func (s *Server) Kill() {
	_ = s.daemon.Halt(syscall.SIGKILL) // an error is that it took long
}

// Restart stops the server, where it still runs, and starts it again on the same port.
func (s *Server) Restart(ctx context.Context) error { return s.daemon.Restart(ctx, syscall.SIGTERM) }

// Stop ends the server and removes its directory. Calling it again does nothing.
func (s *Server) Stop() error { return s.daemon.Stop() }

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
	cmd := exec.CommandContext(ctx, installer, "--no-defaults", "--datadir="+s.daemon.Path("data"),
		"--auth-root-authentication-method=normal", "--skip-test-db")
	cmd.Env = s.environment()
	if err := s.daemon.Do("making a data directory", cmd); err != nil {
		return err
	}
	// The server reads the file before it accepts anybody: root never lacks a password on the network. A hash, because the file of
	// a server that crashed stays.
	stage := sha1.Sum([]byte(s.Password))
	hash := sha1.Sum(stage[:])
	init := s.daemon.Path("init.sql")
	// Not for the binary log: a replica has a root of its own.
	statements := "SET SESSION sql_log_bin = 0;\n" +
		"DELETE FROM mysql.global_priv WHERE User = '' OR User = 'root' AND Host <> 'localhost';\nFLUSH PRIVILEGES;\n" +
		"CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED VIA mysql_native_password USING '*" + strings.ToUpper(hex.EncodeToString(hash[:])) + "';\n" +
		"GRANT ALL PRIVILEGES ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;\n"
	if err := os.WriteFile(init, []byte(statements), 0o600); err != nil {
		return err
	}
	return s.daemon.Give(init)
}

func (s *Server) command() (*exec.Cmd, error) {
	options := []string{"--no-defaults", "--datadir=" + s.daemon.Path("data"), "--socket=" + s.daemon.Path("s"),
		"--pid-file=" + s.daemon.Path("pid"), "--bind-address=127.0.0.1", "--port=" + strconv.Itoa(s.Port), "--skip-name-resolve",
		"--init-file=" + s.daemon.Path("init.sql"), "--log-error=" + s.daemon.Path("error.log"),
		"--general-log=1", "--general-log-file=" + s.daemon.Path("general.log"),
		"--innodb-buffer-pool-size=8M", "--innodb-flush-log-at-trx-commit=0", "--performance-schema=0", "--aria-pagecache-buffer-size=8M"}
	cmd := exec.Command(s.program, append(options, s.config.Options...)...)
	cmd.Env = s.environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	return cmd, nil
}

// environment gives a server a directory of its own for temporary tables: one that starts removes what others have in a common one.
func (s *Server) environment() []string { return []string{"TMPDIR=" + s.daemon.Dir()} }

func (s *Server) answers(ctx context.Context) bool {
	return s.Exec(ctx, "DO 1") == nil
}
