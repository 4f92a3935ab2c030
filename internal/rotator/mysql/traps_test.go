package mysql_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/mariadbtest"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/mysql"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// What the suite does not know of: the traps of MariaDB.
func TestMariaDBTraps(t *testing.T) {
	w := mariadb(t)
	for name, trap := range map[string]func(*testing.T, *world){
		"an account with administrative rights": privilegedAccount,
		"rights by way of a role":               privilegedByRole,
		"methods that are no password":          otherMethods,
		"another plugin":                        anotherPlugin,
		"views of the account":                  definer,
		"a second password that nobody knows":   crowded,
		"another change going on":               busy,
		"tables that are locked":                lockedTables,
		"one server under two addresses":        sameServer,
		"a server without TLS":                  noTLS,
		"an administrator without PROCESS":      blind,
		"a locked account":                      lockedAccount,
		"what a dual change must not unlock":    dualKeepsTheLock,
	} {
		t.Run(name, func(t *testing.T) { trap(t, w) })
	}
	// Last: these change the server for all.
	t.Run("an anonymous account is a warning", func(t *testing.T) { anonymous(t, w) })
	t.Run("a read-only server", func(t *testing.T) { readOnly(t, w) })
	t.Run("a plugin that checks passwords", func(t *testing.T) { strict(t, w) })
}

func (w *world) with(t *testing.T, members map[string]any) *rotator.Target {
	t.Helper()
	target := w.target(t, []string{w.address})
	all := map[string]any{}
	if err := json.Unmarshal(target.Config, &all); err != nil {
		t.Fatal(err)
	}
	for k, v := range members {
		all[k] = v
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	target.Config = text
	return target
}

func wantClass(t *testing.T, err error, class rotator.Class, word string) {
	t.Helper()
	if err == nil || rotator.ClassOf(err) != class || !strings.Contains(err.Error(), word) {
		t.Errorf("got %v (class %v), want class %v and %q", err, rotator.ClassOf(err), class, word)
	}
}

func (w *world) accepts(t *testing.T, c rotator.Credential, want bool) {
	t.Helper()
	if got, err := w.login(t.Context(), w.address, c); err != nil || got != want {
		t.Errorf("a login of %q: %v, %v, want %v", c.Account, got, err, want)
	}
}

func fresh(c rotator.Credential) rotator.Credential {
	c.Value = rotatortest.Value(rotator.DefaultValue)
	return c
}

func plan(s rotator.Strategy, current, next rotator.Credential) rotator.Plan {
	return rotator.Plan{Strategy: s, Accounts: []string{next.Account}, Current: &current, Next: next}
}

func privilegedAccount(t *testing.T, w *world) {
	c := w.make(t, 1)[0]
	w.exec(t, "GRANT ALL PRIVILEGES ON *.* TO "+quote(c.Account)+"@'%'")
	next, r := fresh(c), mysql.New()
	wantClass(t, r.Set(t.Context(), w.with(t, nil), rotator.Change{Credential: next}), rotator.Misconfigured, "allowPrivileged")
	wantClass(t, r.Revoke(t.Context(), w.with(t, nil), rotator.Change{Credential: c}), rotator.Misconfigured, "ALL PRIVILEGES")
	_, err := r.Preflight(t.Context(), w.with(t, nil), plan(rotator.Single, c, next))
	wantClass(t, err, rotator.Misconfigured, "administrative")
	w.accepts(t, c, true)
	if err := r.Set(t.Context(), w.with(t, map[string]any{"allowPrivileged": true}), rotator.Change{Credential: next}); err != nil {
		t.Fatal(err)
	}
	w.accepts(t, next, true)
}

func privilegedByRole(t *testing.T, w *world) {
	c := w.make(t, 1)[0]
	w.exec(t, "CREATE ROLE inner_role", "GRANT CREATE USER ON *.* TO inner_role", "CREATE ROLE outer_role", "GRANT inner_role TO outer_role",
		"GRANT outer_role TO "+quote(c.Account)+"@'%'")
	wantClass(t, mysql.New().Set(t.Context(), w.with(t, nil), rotator.Change{Credential: fresh(c)}), rotator.Misconfigured, "CREATE USER")
}

func otherMethods(t *testing.T, w *world) {
	c := rotator.Credential{Account: "mixed", Value: rotatortest.Value(rotator.DefaultValue)}
	w.exec(t, "CREATE USER mixed@'%' IDENTIFIED VIA unix_socket OR mysql_native_password USING PASSWORD("+text(string(c.Value))+")")
	next, r := fresh(c), mysql.New()
	if err := r.Set(t.Context(), w.with(t, nil), rotator.Change{Credential: next, Keep: &c}); err != nil {
		t.Fatal(err)
	}
	w.accepts(t, c, true)
	w.accepts(t, next, true)
	if err := r.Revoke(t.Context(), w.with(t, nil), rotator.Change{Credential: c, Keep: &next}); err != nil {
		t.Fatal(err)
	}
	w.accepts(t, c, false)
	if got := w.one(t, "SHOW CREATE USER mixed@'%'"); !strings.Contains(got, "unix_socket") || strings.Count(got, "mysql_native_password") != 1 {
		t.Errorf("the methods are %s", got)
	}
}

func anotherPlugin(t *testing.T, w *world) {
	w.exec(t, "INSTALL SONAME 'auth_ed25519'")
	pair := w.make(t, 2)
	r, target := mysql.New(), w.with(t, map[string]any{"plugin": "ed25519"})
	// A change of the plugin, then one within it.
	for range 2 {
		next := fresh(pair[1])
		p := rotator.Plan{Strategy: rotator.Alternating, Accounts: []string{pair[0].Account, pair[1].Account}, Current: &pair[0], Next: next}
		if _, err := r.Preflight(t.Context(), target, p); err != nil {
			t.Fatal(err)
		}
		if err := r.Set(t.Context(), target, rotator.Change{Credential: next}); err != nil {
			t.Fatal(err)
		}
		w.accepts(t, next, true)
		if logins, err := r.Probe(t.Context(), target, next); err != nil || logins.Verdict() != rotator.Accepted {
			t.Errorf("the probe: %+v, %v", logins, err)
		}
		if err := r.Revoke(t.Context(), target, rotator.Change{Credential: pair[0]}); err != nil {
			t.Fatal(err)
		}
		w.accepts(t, pair[0], false)
		if got := w.one(t, "SHOW CREATE USER "+quote(next.Account)+"@'%'"); !strings.Contains(got, "ed25519") {
			t.Errorf("the plugin is not ed25519: %s", got)
		}
		pair[0], pair[1] = next, pair[0]
	}
	// What the server sends at a login is random, and one time in 256 it ends in a zero.
	for range 1200 {
		if logins, err := r.Probe(t.Context(), target, pair[0]); err != nil || logins.Verdict() != rotator.Accepted {
			t.Fatalf("a login: %+v, %v", logins, err)
		}
	}
	_, err := r.Preflight(t.Context(), target, plan(rotator.Dual, pair[0], fresh(pair[0])))
	wantClass(t, err, rotator.Misconfigured, "alternating")
	wantClass(t, r.Set(t.Context(), target, rotator.Change{Credential: fresh(pair[0]), Keep: &pair[0]}), rotator.Misconfigured, "ed25519")

	w.exec(t, "CREATE USER socket@'%' IDENTIFIED VIA unix_socket")
	wantClass(t, r.Set(t.Context(), w.with(t, nil), rotator.Change{Credential: fresh(rotator.Credential{Account: "socket"})}), rotator.Misconfigured, "plugin")
	wantClass(t, r.Set(t.Context(), w.with(t, map[string]any{"plugin": "caching_sha2_password"}), rotator.Change{Credential: fresh(pair[0])}), rotator.Misconfigured, "does not have")
}

func definer(t *testing.T, w *world) {
	pair := w.make(t, 2)
	w.exec(t, "GRANT SELECT ON shop.orders TO "+quote(pair[0].Account)+"@'%'", "CREATE DEFINER = "+quote(pair[0].Account)+"@'%' VIEW shop.mine AS SELECT id FROM shop.orders")
	r, target := mysql.New(), w.with(t, nil)
	if err := r.Revoke(t.Context(), target, rotator.Change{Credential: pair[0]}); err != nil {
		t.Fatal(err)
	}
	w.accepts(t, pair[0], false)
	if got := w.one(t, "SELECT COUNT(*) FROM shop.mine"); got == "" {
		t.Error("the view of an account that was revoked does not work any more")
	}
	if err := r.Set(t.Context(), target, rotator.Change{Credential: pair[0]}); err != nil {
		t.Fatal(err)
	}
	w.accepts(t, pair[0], true)
}

func crowded(t *testing.T, w *world) {
	c, next := w.make(t, 1)[0], rotator.Credential{}
	next = fresh(c)
	r, target := mysql.New(), w.with(t, nil)
	if err := r.Set(t.Context(), target, rotator.Change{Credential: fresh(c), Keep: &c}); err != nil {
		t.Fatal(err)
	}
	_, err := r.Preflight(t.Context(), target, plan(rotator.Dual, c, next))
	wantClass(t, err, rotator.Misconfigured, "another password")
}

func busy(t *testing.T, w *world) {
	c := w.make(t, 1)[0]
	conn, err := w.root.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var got int
	if err := conn.QueryRowContext(t.Context(), "SELECT GET_LOCK(CONCAT('keywright:', LEFT(SHA2("+text(c.Account)+", 256), 40)), 1)").Scan(&got); err != nil || got != 1 {
		t.Fatalf("locking: %d, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	wantClass(t, mysql.New().Set(ctx, w.with(t, nil), rotator.Change{Credential: fresh(c)}), rotator.Busy, "another change")
	w.accepts(t, c, true)
}

// lockedTables: a statement that waits for the server's own locks ends with the deadline, and does not come to life afterwards.
func lockedTables(t *testing.T, w *world) {
	c := w.make(t, 1)[0]
	conn, err := w.root.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK"); err != nil {
		t.Fatal(err)
	}
	next := fresh(c)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := mysql.New().Set(ctx, w.with(t, nil), rotator.Change{Credential: next}); err == nil {
		t.Error("a change of locked tables succeeded")
	}
	<-ctx.Done()
	if _, err := conn.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	w.accepts(t, c, true)
	w.accepts(t, next, false)
}

func sameServer(t *testing.T, w *world) {
	c := w.make(t, 1)[0]
	other := rotatortest.StartProxy(t, w.address)
	_, err := mysql.New().Preflight(t.Context(), w.with(t, map[string]any{"endpoints": []string{w.address, other.Address()}}), plan(rotator.Single, c, fresh(c)))
	wantClass(t, err, rotator.Misconfigured, "one server")
}

func noTLS(t *testing.T, w *world) {
	c := w.make(t, 1)[0]
	target := w.with(t, map[string]any{"plaintext": false})
	wantClass(t, mysql.New().Set(t.Context(), target, rotator.Change{Credential: fresh(c)}), rotator.Misconfigured, "TLS")
	if logins, err := mysql.New().Probe(t.Context(), target, c); err != nil || logins.Verdict() != rotator.Unknown {
		t.Errorf("a probe of a server without TLS: %+v, %v", logins, err)
	}
}

func blind(t *testing.T, w *world) {
	w.exec(t, "CREATE USER blind@'%' IDENTIFIED BY 'blind-1'", "GRANT CREATE USER ON *.* TO blind@'%'", "GRANT SELECT ON mysql.* TO blind@'%'")
	c := w.make(t, 1)[0]
	target := w.with(t, nil)
	target.Admin = rotator.Credential{Account: "blind", Value: redact.Bytes("blind-1")}
	_, err := mysql.New().Sessions(t.Context(), target, c.Account)
	wantClass(t, err, rotator.Denied, "PROCESS")
	report, err := mysql.New().Preflight(t.Context(), target, plan(rotator.Dual, c, fresh(c)))
	if err != nil || !strings.Contains(fmt.Sprint(report.Warnings), "PROCESS") {
		t.Errorf("%+v, %v", report, err)
	}
	w.exec(t, "GRANT PROCESS ON *.* TO blind@'%'")
	session := w.open(t, w.address, c)
	defer session.Close()
	_, err = mysql.New().Terminate(t.Context(), target, c.Account)
	wantClass(t, err, rotator.Denied, "CONNECTION ADMIN")
}

func lockedAccount(t *testing.T, w *world) {
	c := w.make(t, 1)[0]
	w.exec(t, "ALTER USER "+quote(c.Account)+"@'127.0.0.1' ACCOUNT LOCK")
	for value, want := range map[string]rotator.Verdict{string(c.Value): rotator.Unknown, "wrong": rotator.Rejected} {
		logins, err := mysql.New().Probe(t.Context(), w.with(t, nil), rotator.Credential{Account: c.Account, Value: redact.Bytes(value)})
		if err != nil || logins.Verdict() != want {
			t.Errorf("a locked account: %+v, %v, want %v", logins, err, want)
		}
	}
}

func dualKeepsTheLock(t *testing.T, w *world) {
	c := w.make(t, 1)[0]
	w.exec(t, "ALTER USER "+quote(c.Account)+"@'127.0.0.1' ACCOUNT LOCK")
	if err := mysql.New().Set(t.Context(), w.with(t, nil), rotator.Change{Credential: fresh(c), Keep: &c}); err != nil {
		t.Fatal(err)
	}
	w.accepts(t, c, false)
}

func anonymous(t *testing.T, w *world) {
	c := w.make(t, 1)[0]
	w.exec(t, "CREATE USER ''@'localhost'")
	defer w.exec(t, "DROP USER ''@'localhost'")
	report, err := mysql.New().Preflight(t.Context(), w.with(t, nil), plan(rotator.Dual, c, fresh(c)))
	if err != nil || !strings.Contains(fmt.Sprint(report.Warnings), "shadows") {
		t.Errorf("%+v, %v", report, err)
	}
}

func readOnly(t *testing.T, w *world) {
	c := w.make(t, 1)[0]
	w.exec(t, "SET GLOBAL read_only = 1")
	defer w.exec(t, "SET GLOBAL read_only = 0")
	wantClass(t, mysql.New().Set(t.Context(), w.with(t, nil), rotator.Change{Credential: fresh(c)}), rotator.NotApplied, "read only")
}

func strict(t *testing.T, w *world) {
	c := w.make(t, 1)[0]
	w.exec(t, "INSTALL SONAME 'simple_password_check'")
	defer w.exec(t, "UNINSTALL SONAME 'simple_password_check'")
	_, err := mysql.New().Preflight(t.Context(), w.with(t, nil), plan(rotator.Single, c, fresh(c)))
	wantClass(t, err, rotator.Misconfigured, "strict_password_validation")
	wantClass(t, mysql.New().Set(t.Context(), w.with(t, nil), rotator.Change{Credential: fresh(c)}), rotator.Misconfigured, "strict_password_validation")
	w.accepts(t, c, true)
}

func (w *world) one(t *testing.T, query string) (cell string) {
	t.Helper()
	if err := w.root.QueryRowContext(t.Context(), query).Scan(&cell); err != nil {
		t.Fatal(err)
	}
	return cell
}

// A replica gets the change by replication: until then the probe proves nothing.
func TestMariaDBReplica(t *testing.T) {
	w := mariadb(t, "--server-id=1", "--log-bin=primary", "--binlog-format=ROW")
	// MariaDB 10.11 puts names into its binary log unquoted when it writes SET DEFAULT ROLE there.
	w.prefix = "app"
	replica := mariadbtest.Run(t, mariadbtest.Config{Options: []string{"--server-id=2", "--read-only=1"}})
	w.exec(t, "CREATE USER repl@'%' IDENTIFIED BY 'repl-1'", "GRANT REPLICATION SLAVE ON *.* TO repl@'%'")
	host, port, _ := strings.Cut(w.address, ":")
	do := func(statements ...string) {
		t.Helper()
		if err := replica.Exec(t.Context(), statements...); err != nil {
			t.Fatal(err)
		}
	}
	do(fmt.Sprintf("CHANGE MASTER TO MASTER_HOST = '%s', MASTER_PORT = %s, MASTER_USER = 'repl', MASTER_PASSWORD = 'repl-1', MASTER_LOG_FILE = 'primary.000001', MASTER_LOG_POS = 4", host, port), "START SLAVE")
	target := w.with(t, map[string]any{"endpoints": []string{w.address}, "replicas": []string{replica.Address()}})
	c, r := w.make(t, 1)[0], mysql.New()
	await := func(c rotator.Credential, want rotator.Verdict) rotator.Logins {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			logins, err := r.Probe(t.Context(), target, c)
			if err != nil {
				t.Fatal(err)
			}
			if logins.Verdict() == want {
				return logins
			}
			if time.Now().After(end) {
				status, _ := replica.Query(t.Context(), "SHOW SLAVE STATUS")
				t.Fatalf("%+v, want %v\n%s", logins, want, status)
			}
		}
	}
	logins := await(c, rotator.Accepted)
	next := fresh(c)
	report, err := r.Preflight(t.Context(), target, plan(rotator.Dual, c, next))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range logins {
		if l.Identity != report.Identities[c.Account] {
			t.Errorf("the identity at %s is %q, want %q", l.Endpoint, l.Identity, report.Identities[c.Account])
		}
	}

	do("STOP SLAVE SQL_THREAD")
	if err := r.Set(t.Context(), target, rotator.Change{Credential: next, Keep: &c}); err != nil {
		t.Fatal(err)
	}
	if logins := await(next, rotator.Unknown); logins[0].Verdict != rotator.Accepted || logins[1].Verdict != rotator.Rejected {
		t.Errorf("with a replica that lags behind: %+v", logins)
	}
	do("START SLAVE SQL_THREAD")
	await(next, rotator.Accepted)
	if err := r.Revoke(t.Context(), target, rotator.Change{Credential: c, Keep: &next}); err != nil {
		t.Fatal(err)
	}
	await(c, rotator.Rejected)

	session := w.open(t, replica.Address(), next)
	defer session.Close()
	found, err := r.Sessions(t.Context(), target, c.Account)
	if err != nil || len(found) != 1 || found[0].Endpoint != replica.Address() {
		t.Errorf("the sessions are %+v, %v, want one at the replica", found, err)
	}
}
