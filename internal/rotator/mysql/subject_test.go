package mysql_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keywright/keywright/e2e/mariadbtest"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/mysql"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// world is a server with an administrator, for MariaDB and MySQL alike.
type world struct {
	address  string
	root     *sql.DB
	admin    rotator.Credential
	log      func() (string, error)
	plugin   string // which fresh accounts have
	prefix   string // of the names of accounts
	accounts atomic.Int64
}

// mariadb starts Debian's server.
func mariadb(t *testing.T, options ...string) *world {
	s := mariadbtest.Run(t, mariadbtest.Config{Options: options})
	w := &world{address: s.Address(), root: pool(t, s.Config(mariadbtest.Superuser, s.Password)), log: s.Log, plugin: "mysql_native_password", prefix: rotatortest.HostileName}
	w.prepare(t, "GRANT CREATE USER, PROCESS, CONNECTION ADMIN ON *.* TO keywright@'%'")
	return w
}

// mysqlServer uses the MySQL at KEYWRIGHT_MYSQL_ADDR, whose root logs in with the password in KEYWRIGHT_MYSQL_ROOT_PASSWORD; its general
// log is the file at KEYWRIGHT_MYSQL_LOG.
func mysqlServer(t *testing.T) *world {
	address := os.Getenv("KEYWRIGHT_MYSQL_ADDR")
	if address == "" {
		t.Skip("SKIPPED, NOT PASSED: KEYWRIGHT_MYSQL_ADDR names no MySQL: Debian 12 has none, see docs/rotators/mysql.md")
	}
	c := driver.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd = "tcp", address, "root", os.Getenv("KEYWRIGHT_MYSQL_ROOT_PASSWORD")
	// Salts of the server's own making have any bytes; snapshot has to find them.
	c.Params = map[string]string{"print_identified_with_as_hex": "1"}
	w := &world{address: address, root: pool(t, c), plugin: "caching_sha2_password", prefix: rotatortest.HostileName}
	if file := os.Getenv("KEYWRIGHT_MYSQL_LOG"); file != "" {
		w.log = func() (string, error) { text, err := os.ReadFile(filepath.Clean(file)); return string(text), err }
	}
	w.prepare(t, "GRANT CREATE USER, PROCESS, CONNECTION_ADMIN ON *.* TO keywright@'%'")
	return w
}

func (w *world) prepare(t *testing.T, rights string) {
	t.Helper()
	w.admin = rotator.Credential{Account: "keywright", Value: rotatortest.Value(rotator.DefaultValue)}
	w.exec(t, "DROP USER IF EXISTS keywright@'%', powerless@'%'", "DROP DATABASE IF EXISTS shop",
		"CREATE USER keywright@'%' IDENTIFIED BY '"+string(w.admin.Value)+"'", rights, "GRANT SELECT ON mysql.* TO keywright@'%'",
		"CREATE USER powerless@'%' IDENTIFIED BY 'powerless-1'", "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
		"DROP ROLE IF EXISTS clerk", "CREATE ROLE clerk", "GRANT SELECT, INSERT ON shop.* TO clerk")
	t.Cleanup(func() { _, _ = w.root.Exec("DROP USER IF EXISTS keywright@'%', powerless@'%'") })
}

func pool(t *testing.T, c *driver.Config) *sql.DB {
	t.Helper()
	c.Logger = &driver.NopLogger{}
	connector, err := driver.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}

func (w *world) exec(t *testing.T, statements ...string) {
	t.Helper()
	for i, s := range statements {
		if _, err := w.root.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("statement %d: %v", i+1, err)
		}
	}
}

// hosts are those of the rows that each account has. A login from here meets the second.
var hosts = []string{"%", "127.0.0.1"}

// identified sets a password as a person does, in clear: the log of the server is looked at for the rotator's values only.
func (w *world) identified(value redact.Bytes) string {
	if w.mariadb() {
		return "IDENTIFIED VIA " + w.plugin + " USING PASSWORD(" + text(string(value)) + ")"
	}
	return "IDENTIFIED WITH " + w.plugin + " BY " + text(string(value))
}

func quote(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

func text(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", "''").Replace(s) + "'"
}

// make makes accounts with a role, a default role, limits and several hosts. The role and the limits have to survive.
func (w *world) make(t *testing.T, n int) []rotator.Credential {
	t.Helper()
	var made []rotator.Credential
	for range n {
		// MySQL's limit is 32 characters.
		c := rotator.Credential{Account: fmt.Sprintf("%s%d", w.prefix, w.accounts.Add(1)), Value: rotatortest.Value(rotator.DefaultValue)}
		var names, identified, roles []string
		for _, host := range hosts {
			who := quote(c.Account) + "@" + quote(host)
			names, identified = append(names, who), append(identified, who+" "+w.identified(c.Value))
			roles = append(roles, "SET DEFAULT ROLE clerk "+map[bool]string{true: "FOR ", false: "TO "}[w.mariadb()]+who)
		}
		all := strings.Join(names, ", ")
		if !w.mariadb() {
			w.exec(t, "DROP USER IF EXISTS "+all) // that server was there before
		}
		w.exec(t, "CREATE USER "+strings.Join(identified, ", ")+" WITH MAX_USER_CONNECTIONS 50", "GRANT clerk TO "+all, "GRANT UPDATE ON shop.orders TO "+all)
		w.exec(t, roles...)
		made = append(made, c)
	}
	return made
}

func (w *world) mariadb() bool { return w.plugin != "caching_sha2_password" }

func (w *world) config(user, password string) *driver.Config {
	c := driver.NewConfig()
	c.Net, c.Addr, c.User, c.Passwd, c.Timeout = "tcp", w.address, user, password, 5*time.Second
	c.Logger = &driver.NopLogger{}
	return c
}

// login takes a locked account for a refusal, as a client has to.
func (w *world) login(ctx context.Context, address string, c rotator.Credential) (bool, error) {
	settings := w.config(c.Account, string(c.Value))
	settings.Addr = address
	connector, err := driver.NewConnector(settings)
	if err != nil {
		return false, err
	}
	conn, err := mysql.Persistent(connector).Connect(ctx)
	var refused *driver.MySQLError
	if errors.As(err, &refused) && slices.Contains([]uint16{1045, 1698, 4151, 3118}, refused.Number) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, conn.Close()
}

// held is a login that stays: its connection is never made anew.
type held struct {
	db   *sql.DB
	conn *sql.Conn
}

func (h held) Alive(ctx context.Context) bool {
	var n int
	return h.conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM shop.orders").Scan(&n) == nil
}

func (h held) Close() { h.conn.Close(); h.db.Close() }

func (w *world) open(t *testing.T, address string, c rotator.Credential) rotatortest.Session {
	t.Helper()
	settings := w.config(c.Account, string(c.Value))
	settings.Addr = address
	connector, err := driver.NewConnector(settings)
	if err != nil {
		t.Fatal(err)
	}
	h := held{db: sql.OpenDB(connector)}
	if h.conn, err = h.db.Conn(t.Context()); err != nil {
		t.Fatalf("opening a session: %v", err)
	}
	return h
}

// snapshot describes an account without its passwords and its lock.
func (w *world) snapshot(t *testing.T, account string) string {
	t.Helper()
	secret := regexp.MustCompile(`'\*[0-9A-F]{40}'|AS (0x[0-9A-F]+|'\$A\$[^']*')|( OR )?mysql_native_password USING | ACCOUNT (UN)?LOCK`)
	var all strings.Builder
	for _, host := range hosts {
		who := quote(account) + "@" + quote(host)
		for _, query := range []string{"SHOW GRANTS FOR " + who, "SHOW CREATE USER " + who} {
			rows, err := w.root.QueryContext(t.Context(), query)
			if err != nil {
				t.Fatalf("describing an account: %v", err)
			}
			for rows.Next() {
				var line string
				if err := rows.Scan(&line); err != nil {
					t.Fatal(err)
				}
				all.WriteString(secret.ReplaceAllString(line, "") + "\n")
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !strings.Contains(all.String(), "clerk") || !strings.Contains(all.String(), "MAX_USER_CONNECTIONS 50") {
		t.Fatalf("the description lacks what has to survive: %s", all.String())
	}
	return all.String()
}

func (w *world) target(t *testing.T, addresses []string) *rotator.Target {
	t.Helper()
	config, err := json.Marshal(map[string]any{"endpoints": addresses, "plaintext": true})
	if err != nil {
		t.Fatal(err)
	}
	return &rotator.Target{Config: config, Admin: w.admin, Attempt: "attempt-1"}
}

func (w *world) subject() rotatortest.Subject {
	s := rotatortest.Subject{
		Rotator:    mysql.New(),
		Endpoints:  []string{w.address},
		Target:     w.target,
		Strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating},
		Make:       w.make,
		Login:      w.login,
		Open:       w.open,
		Snapshot:   w.snapshot,
		Absent:     "nobody's",
		Powerless: func(*testing.T) rotator.Credential {
			return rotator.Credential{Account: "powerless", Value: redact.Bytes("powerless-1")}
		},
		Shadow:     w.shadow,
		Unequal:    w.unequal,
		Broken:     json.RawMessage(`{"endpoints":["no-port"],"tls":{"ca":"none"},"plugin":"rot13"}`),
		Complaints: []string{"no-port", "PEM", "rot13"},
	}
	if w.log != nil {
		s.Log = func(t *testing.T) string {
			text, err := w.log()
			if err != nil {
				t.Fatal(err)
			}
			return text
		}
	}
	return s
}

// shadow makes an anonymous account that is found first, with the same password. Its host is more special than %, so the account's own
// special rows have to go.
func (w *world) shadow(t *testing.T, c rotator.Credential) (undo func()) {
	t.Helper()
	w.exec(t, "DROP USER "+quote(c.Account)+"@"+quote("127.0.0.1"), "CREATE USER ''@'127.0.0.1' "+w.identified(c.Value))
	return func() { w.exec(t, "DROP USER ''@'127.0.0.1'") }
}

func (w *world) unequal(t *testing.T, accounts []string) {
	t.Helper()
	w.exec(t, "GRANT DELETE ON shop.orders TO "+quote(accounts[1])+"@'%'")
}

// lockOut uses MariaDB's max_password_errors.
func (w *world) lockOut(t *testing.T, account string) (undo func()) {
	t.Helper()
	w.exec(t, "SET GLOBAL max_password_errors = 3")
	for range 4 {
		if ok, _ := w.login(t.Context(), w.address, rotator.Credential{Account: account, Value: redact.Bytes("wrong")}); ok {
			t.Fatal("a wrong password was accepted")
		}
	}
	return func() { w.exec(t, "SET GLOBAL max_password_errors = 4294967295", "FLUSH PRIVILEGES") }
}

// lockOutMySQL uses MySQL's FAILED_LOGIN_ATTEMPTS, which belongs to a row.
func (w *world) lockOutMySQL(t *testing.T, account string) (undo func()) {
	t.Helper()
	who := quote(account) + "@" + quote("127.0.0.1")
	w.exec(t, "ALTER USER "+who+" FAILED_LOGIN_ATTEMPTS 2 PASSWORD_LOCK_TIME 1")
	for range 3 {
		if ok, _ := w.login(t.Context(), w.address, rotator.Credential{Account: account, Value: redact.Bytes("wrong")}); ok {
			t.Fatal("a wrong password was accepted")
		}
	}
	return func() { w.exec(t, "ALTER USER "+who+" ACCOUNT UNLOCK") }
}
