package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/postgres"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

func target(t *testing.T, admin rotator.Credential) *rotator.Target {
	return &rotator.Target{Config: configuration(t, endpoint(running(t))), Admin: admin}
}

func single(c rotator.Credential) rotator.Plan {
	return rotator.Plan{Strategy: rotator.Single, Accounts: []string{c.Account}, Next: c}
}

func pair(a, b rotator.Credential) rotator.Plan {
	return rotator.Plan{Strategy: rotator.Alternating, Accounts: []string{a.Account, b.Account}, Next: b}
}

func TestPreflightSaysWhy(t *testing.T) {
	r := postgres.New()
	for _, c := range []struct {
		name string
		// prepare spoils the first account, or the pair.
		prepare func(a, b string) []string
		pair    bool
		class   rotator.Class
		says    string
	}{
		{"a superuser", func(a, _ string) []string { return []string{"ALTER ROLE " + a + " SUPERUSER"} }, false, rotator.Denied, "superuser"},
		{"a role that replicates", func(a, _ string) []string { return []string{"ALTER ROLE " + a + " REPLICATION"} }, false, rotator.Denied, "REPLICATION"},
		{"a role without login", func(a, _ string) []string { return []string{"ALTER ROLE " + a + " NOLOGIN"} }, false, rotator.Misconfigured, "NOLOGIN"},
		{"an expired password", func(a, _ string) []string { return []string{"ALTER ROLE " + a + " VALID UNTIL '2001-01-01'"} }, false, rotator.Misconfigured, "VALID UNTIL"},
		{"a table of one", func(a, _ string) []string {
			return []string{"GRANT CREATE ON SCHEMA public TO PUBLIC", "CREATE TABLE mine()", "ALTER TABLE mine OWNER TO " + a}
		}, true, rotator.Misconfigured, "REASSIGN OWNED"},
		{"a grant to one", func(a, _ string) []string {
			return []string{"CREATE TABLE granted()", "GRANT SELECT ON granted TO " + a}
		}, true, rotator.Misconfigured, "directly"},
		{"an attribute of one", func(_, b string) []string { return []string{"ALTER ROLE " + b + " CONNECTION LIMIT 3"} }, true, rotator.Misconfigured, "CONNECTION LIMIT"},
		{"a setting of one", func(_, b string) []string { return []string{"ALTER ROLE " + b + " SET work_mem = '1MB'"} }, true, rotator.Misconfigured, "settings"},
		{"no member of the owner role", func(a, b string) []string {
			return []string{"REVOKE " + quoted(owner) + " FROM " + a, "REVOKE " + quoted(owner) + " FROM " + b}
		}, true, rotator.Misconfigured, "no member"},
		{"an owner role that logs in", func(_, _ string) []string { return []string{"ALTER ROLE " + quoted(owner) + " LOGIN"} }, true, rotator.Misconfigured, "NOLOGIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			made := roles(t, 2)
			plan := single(made[0])
			if c.pair {
				plan = pair(made[0], made[1])
			}
			if _, err := r.Preflight(t.Context(), target(t, theKeeper), plan); err != nil {
				t.Fatalf("before anything is wrong: %v", err)
			}
			defer run(t, "ALTER ROLE "+quoted(owner)+" NOLOGIN")
			run(t, c.prepare(quoted(made[0].Account), quoted(made[1].Account))...)
			defer run(t, "DROP TABLE IF EXISTS mine, granted")
			_, err := r.Preflight(t.Context(), target(t, theKeeper), plan)
			if rotator.ClassOf(err) != c.class || !strings.Contains(fmt.Sprint(err), c.says) {
				t.Errorf("got %v (%v), want %v that speaks of %q", err, rotator.ClassOf(err), c.class, c.says)
			}
		})
	}
}

func TestPreflightWarns(t *testing.T) {
	c := roles(t, 2)
	run(t, fmt.Sprintf("ALTER ROLE %s VALID UNTIL '%s'", quoted(c[0].Account), time.Now().Add(24*time.Hour).Format(time.RFC3339)))
	report, err := postgres.New().Preflight(t.Context(), target(t, theKeeper), single(c[0]))
	if err != nil || !strings.Contains(strings.Join(report.Warnings, "\n"), "VALID UNTIL") {
		t.Errorf("a role that expires tomorrow: %+v, %v", report, err)
	}
	for _, one := range c {
		run(t, "ALTER ROLE "+quoted(one.Account)+" VALID UNTIL 'infinity'", "ALTER ROLE "+quoted(one.Account)+" IN DATABASE app RESET role")
	}
	report, err = postgres.New().Preflight(t.Context(), target(t, theKeeper), pair(c[0], c[1]))
	if err != nil || !strings.Contains(strings.Join(report.Warnings, "\n"), "SET role = ") || strings.Contains(strings.Join(report.Warnings, "\n"), "VALID UNTIL") {
		t.Errorf("a pair whose tables would be its own, and whose passwords are valid for ever: %+v, %v", report, err)
	}
}

// The server cuts a name of 64 bytes, with a notice, and would change or log in another role.
func TestLongNamesMeanNobodyElse(t *testing.T) {
	r := postgres.New()
	name := strings.Repeat("n", 63)
	run(t, "CREATE ROLE "+name+" LOGIN PASSWORD 'first'")
	long := rotator.Credential{Account: name + "x", Value: redact.Bytes("first")}
	if ok, err := login(t.Context(), endpoint(running(t)), long); !ok || err != nil {
		t.Fatalf("the server does not cut names any more (%v): this test proves nothing", err)
	}
	if logins, err := r.Probe(t.Context(), target(t, theKeeper), long); err == nil {
		t.Errorf("Probe: %+v", logins)
	}
	long.Value = redact.Bytes("other")
	if err := r.Set(t.Context(), target(t, theKeeper), rotator.Change{Credential: long}); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("Set: %v", err)
	}
	if ok, err := login(t.Context(), endpoint(running(t)), rotator.Credential{Account: name, Value: redact.Bytes("first")}); !ok {
		t.Errorf("the other role's password was changed: %v", err)
	}
}

// A role changes its own password with no more right than it has, though its settings make it take the owner's role.
func TestSelfService(t *testing.T) {
	r := postgres.New()
	old := roles(t, 1)[0]
	next := rotator.Credential{Account: old.Account, Value: redact.Bytes("chosenByTheRoleItself")}
	self := target(t, old)
	plan := single(next)
	plan.Current = &old
	if _, err := r.Preflight(t.Context(), self, plan); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time, the administrator's credential is the one that was replaced
		if err := r.Set(t.Context(), self, rotator.Change{Credential: next}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Revoke(t.Context(), self, rotator.Change{Credential: old, Keep: &next}); err != nil {
		t.Fatal(err)
	}
	for c, want := range map[*rotator.Credential]bool{&old: false, &next: true} {
		if ok, err := login(t.Context(), endpoint(running(t)), *c); ok != want || err != nil {
			t.Errorf("accepted is %v, want %v (%v)", ok, want, err)
		}
	}
	other := roles(t, 1)[0]
	if err := r.Set(t.Context(), target(t, next), rotator.Change{Credential: other}); rotator.ClassOf(err) != rotator.Denied {
		t.Errorf("changing another role: %v", err)
	}
	if err := r.Set(t.Context(), target(t, rotator.Credential{}), rotator.Change{Credential: next}); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("without an administrator: %v", err)
	}
}

func TestNoSecondPassword(t *testing.T) {
	c := roles(t, 1)[0]
	next := c
	next.Value = redact.Bytes("another")
	if err := postgres.New().Set(t.Context(), target(t, theKeeper), rotator.Change{Credential: next, Keep: &c}); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("keeping a second password: %v", err)
	}
	if ok, err := login(t.Context(), endpoint(running(t)), c); !ok {
		t.Errorf("the first password is gone: %v", err)
	}
}

// The process's own PG… variables belong to other programs.
func TestEnvironmentHasNoSay(t *testing.T) {
	c := roles(t, 1)[0]
	for name, value := range map[string]string{
		"PGHOST": "192.0.2.1", "PGPORT": "1", "PGUSER": "nobody", "PGPASSWORD": "wrong", "PGDATABASE": "nowhere", "PGSSLMODE": "verify-full",
		"PGTARGETSESSIONATTRS": "standby", "PGREQUIREAUTH": "none", "PGOPTIONS": "-c role=nobody", "PGCHANNELBINDING": "require", "PGCONNECT_TIMEOUT": "1",
		"PGSSLNEGOTIATION": "direct", "PGSSLCERTMODE": "require",
	} {
		t.Setenv(name, value)
	}
	logins, err := postgres.New().Probe(t.Context(), target(t, theKeeper), c)
	if err != nil || logins.Verdict() != rotator.Accepted {
		t.Errorf("%+v, %v", logins, err)
	}
}

// A login that any password would get proves nothing.
func TestTrustProvesNothing(t *testing.T) {
	run(t, "CREATE ROLE trusted LOGIN PASSWORD 'first'")
	c := rotator.Credential{Account: "trusted", Value: redact.Bytes("first")}
	rules := ask(t, "SELECT pg_read_file(current_setting('hba_file'))")
	file := ask(t, "SHOW hba_file")
	write := func(text string) {
		t.Helper()
		rewrite(t, file, text)
		run(t, "SELECT pg_reload_conf()")
	}
	defer write(rules)
	wrong := c
	wrong.Value = redact.Bytes("wrong")
	if ok, err := login(t.Context(), endpoint(running(t)), wrong); ok || err != nil {
		t.Fatalf("before the server trusts the role: %v, %v", ok, err)
	}
	write("host all trusted 127.0.0.1/32 trust\n" + rules)
	await(t, "the server trusts the role", func() bool {
		ok, err := login(t.Context(), endpoint(running(t)), wrong)
		return err == nil && ok
	})
	for _, one := range []rotator.Credential{c, wrong} {
		logins, err := postgres.New().Probe(t.Context(), target(t, theKeeper), one)
		if err != nil || logins.Verdict() != rotator.Unknown {
			t.Errorf("%+v, %v; want unknown", logins, err)
		}
	}
}

// What a lease made stays, as the owner role's, in every database; a role that is no lease stays whole.
func TestRemoveKeepsWhatItMade(t *testing.T) {
	r, at := postgres.New(), target(t, theKeeper)
	lease := rotator.Credential{Account: `lease of "tables"`, Value: redact.Bytes("leased")}
	free(t)
	if err := r.Provision(t.Context(), at, lease, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if until := ask(t, "SELECT (rolvaliduntil - now() BETWEEN '59 min' AND '61 min')::text FROM pg_roles WHERE rolname = $1", lease.Account); until != "true" {
		t.Error("VALID UNTIL is not what was asked for")
	}
	for database, statement := range map[string]string{"app": "CREATE TABLE free.made_in_app()", "other": "CREATE TEMP TABLE gone()"} {
		conn, err := connect(t.Context(), endpoint(running(t)), database, lease)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		held{conn}.Close()
	}
	run(t, "CREATE TABLE own()", "ALTER TABLE own OWNER TO "+quoted(lease.Account))
	if err := r.Remove(t.Context(), at, lease.Account); err != nil {
		t.Fatal(err)
	}
	if got := ask(t, "SELECT tableowner::text FROM pg_tables WHERE tablename = 'own'"); got != owner {
		t.Errorf("what the lease owned in another database belongs to %q", got)
	}
	conn, err := connect(t.Context(), endpoint(running(t)), "app", superuser(t))
	if err != nil {
		t.Fatal(err)
	}
	defer held{conn}.Close()
	var got string
	err = conn.QueryRow(t.Context(), "SELECT tableowner::text FROM pg_tables WHERE tablename = 'made_in_app'").Scan(&got)
	if err != nil || got != owner {
		t.Errorf("what the lease made belongs to %q, %v", got, err)
	}
	if got := ask(t, "SELECT count(*)::text FROM pg_roles WHERE rolname = $1", lease.Account); got != "0" {
		t.Error("the role is still there")
	}
	person := roles(t, 1)[0]
	if err := r.Remove(t.Context(), at, person.Account); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("removing a role that is no lease: %v", err)
	}
	if err := r.Provision(t.Context(), at, person, time.Now().Add(time.Hour)); rotator.ClassOf(err) != rotator.Misconfigured {
		t.Errorf("making a lease of a role that is none: %v", err)
	}
	if ok, err := login(t.Context(), endpoint(running(t)), person); !ok {
		t.Errorf("the person's role does not log in any more: %v", err)
	}
}

// free makes a schema in the database app that everybody may use.
func free(t *testing.T) {
	t.Helper()
	conn, err := connect(t.Context(), endpoint(running(t)), "app", superuser(t))
	if err != nil {
		t.Fatal(err)
	}
	defer held{conn}.Close()
	if _, err := conn.Exec(t.Context(), "CREATE SCHEMA free; GRANT ALL ON SCHEMA free TO PUBLIC"); err != nil {
		t.Fatal(err)
	}
}

// The server itself says what it reads.
func TestQuoting(t *testing.T) {
	conn, err := connect(t.Context(), endpoint(running(t)), "app", superuser(t))
	if err != nil {
		t.Fatal(err)
	}
	defer held{conn}.Close()
	for _, setting := range []string{"on", "off"} {
		if _, err := conn.Exec(t.Context(), "SET standard_conforming_strings = "+setting); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", "'", `\`, `\'`, `'\''; --`, `"`, `""`, "$1", "$$", "a\nb", rotatortest.HostileName, "ü😀"} {
			rows, err := conn.Query(t.Context(), "SELECT "+postgres.Literal(text)+"::text AS "+postgres.Quote("x"+text), pgx.QueryResultFormats{0}, pgx.QueryExecModeExec)
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			var got string
			name := ""
			for rows.Next() {
				name = rows.FieldDescriptions()[0].Name
				err = rows.Scan(&got)
			}
			if err != nil || rows.Err() != nil || got != text || name != "x"+text {
				t.Errorf("with standard_conforming_strings %s: literal %q became %q, name %q; %v, %v", setting, text, got, name, err, rows.Err())
			}
		}
	}
}

// Another change of the same role has the lock: a verb waits for it, no longer than its caller does, and does nothing.
func TestChangesWaitForEachOther(t *testing.T) {
	r, c := postgres.New(), roles(t, 1)[0]
	next := c
	next.Value = redact.Bytes("afterTheOtherChange")
	conn, err := connect(t.Context(), endpoint(running(t)), "app", superuser(t))
	if err != nil {
		t.Fatal(err)
	}
	defer held{conn}.Close()
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_lock($1)", postgres.LockKey(c.Account)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for what, err := range map[string]error{
		"Set":    r.Set(ctx, target(t, theKeeper), rotator.Change{Credential: next}),
		"Revoke": r.Revoke(ctx, target(t, theKeeper), rotator.Change{Credential: c}),
	} {
		if rotator.ClassOf(err) != rotator.NotApplied {
			t.Errorf("%s while another change has the lock: %v", what, err)
		}
	}
	if _, err := conn.Exec(t.Context(), "SELECT pg_advisory_unlock_all()"); err != nil {
		t.Fatal(err)
	}
	if ok, err := login(t.Context(), endpoint(running(t)), c); !ok {
		t.Errorf("a change that did not get the lock took effect: %v", err)
	}
	if err := r.Set(t.Context(), target(t, theKeeper), rotator.Change{Credential: next}); err != nil {
		t.Errorf("with the lock free: %v", err)
	}
}

// A primary that waits for a synchronous standby has committed by itself: no acknowledgement is doubt, and a login tells.
func TestStandbyThatNeverConfirms(t *testing.T) {
	r, c := postgres.New(), roles(t, 1)[0]
	next := c
	next.Value = redact.Bytes("waitingForAStandby")
	run(t, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
	defer run(t, "ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
	await(t, "the server waits for a standby", func() bool { return ask(t, "SHOW synchronous_standby_names") == "nobody" })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if err := r.Set(ctx, target(t, theKeeper), rotator.Change{Credential: next}); rotator.ClassOf(err) != rotator.Doubt {
		t.Errorf("class %v: %v", rotator.ClassOf(err), err)
	}
	await(t, "the server has given up waiting", func() bool {
		logins, err := r.Probe(t.Context(), target(t, theKeeper), next)
		return err == nil && logins.Verdict() == rotator.Accepted
	})
}
