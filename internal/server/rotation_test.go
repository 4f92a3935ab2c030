package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/rotation"
)

// quickRotation is a pace at which a test does not wait.
func quickRotation() Rotation {
	d := func(t time.Duration) rotation.Duration { return rotation.Duration(t) }
	pace := rotation.DefaultPace
	pace.Base, pace.Probe, pace.Settle, pace.Look = d(10*time.Millisecond), d(10*time.Millisecond), d(10*time.Millisecond), d(50*time.Millisecond)
	return Rotation{Pace: pace, Poll: 20 * time.Millisecond,
		Leasing: rotation.Leasing{TTL: 2 * time.Second, Renew: 500 * time.Millisecond, Slack: 10 * time.Millisecond, Margin: 200 * time.Millisecond}}
}

// database is a PostgreSQL server with a pair of accounts for an application, as docs/operations/rotation.md sets it up.
type database struct{ *pgtest.Server }

func startDatabase(t *testing.T) database {
	s := database{pgtest.Run(t)}
	if err := s.Exec(t.Context(), "CREATE DATABASE app", "CREATE ROLE app_owner NOLOGIN",
		"CREATE ROLE app_a LOGIN PASSWORD 'first' IN ROLE app_owner", "CREATE ROLE app_b LOGIN IN ROLE app_owner",
		"ALTER ROLE app_a IN DATABASE app SET role = app_owner", "ALTER ROLE app_b IN DATABASE app SET role = app_owner",
		"CREATE ROLE keeper LOGIN CREATEROLE PASSWORD 'keeper'", "GRANT pg_signal_backend, pg_read_all_stats, app_owner TO keeper"); err != nil {
		t.Fatal(err)
	}
	return s
}

// accepts logs in, and returns when the session is gone at the server: the evidence of a rotation is who is logged in there, and it is not to be this test. Whatever
// is neither a login nor a wrong password fails the test.
func (s database) accepts(t *testing.T, user, password string) bool {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DSN(user, password, "app"))
	var refused *pgconn.PgError
	switch {
	case err == nil:
		pid := conn.PgConn().PID()
		conn.Close(context.Background())
		s.gone(t, pid)
		return true
	case errors.As(err, &refused) && (refused.Code == "28P01" || refused.Code == "28000"):
		return false
	}
	t.Fatal(err)
	return false
}

func (s database) gone(t *testing.T, pid uint32) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.AdminDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	eventually(t, "the end of the session", func() (gone bool) {
		if err := conn.QueryRow(t.Context(), "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", int32(pid)).Scan(&gone); err != nil {
			t.Fatal(err)
		}
		return gone
	})
}

func (s database) policy(more string) string {
	return fmt.Sprintf(`{"strategy":"alternating","rotator":"postgres","target":{"endpoints":[%q],"database":"app","ownerRole":"app_owner","tls":{"mode":"disable"}},
		"admin":{"name":"pg-admin"},"accounts":["app_a","app_b"],"format":{"kind":"json"}%s}`, net.JoinHostPort("127.0.0.1", strconv.Itoa(s.Port)), more)
}

// put stores a secret through the vault's door.
func (c *caller) put(name, value string) {
	c.t.Helper()
	body, err := json.Marshal(map[string]string{"value": value})
	if err != nil {
		c.t.Fatal(err)
	}
	if answer, text := c.do("PUT", "/secrets/"+name+"?api-version=7.6", string(body)); answer.StatusCode != http.StatusOK {
		c.t.Fatal(answer.Status, text)
	}
}

// login reads a credential as the instance of an application, and the id of its version.
func (c *caller) login(name, instance string, headers ...string) (user, password, version string) {
	c.t.Helper()
	answer, text := c.do("GET", "/secrets/"+name+"?api-version=7.6", "", append([]string{"X-Keywright-Instance", instance}, headers...)...)
	var got struct{ Value, ID string }
	var login struct{ Username, Password string }
	if answer.StatusCode != http.StatusOK || json.Unmarshal([]byte(text), &got) != nil || json.Unmarshal([]byte(got.Value), &login) != nil {
		c.t.Fatal(answer.Status, text)
	}
	return login.Username, login.Password, got.ID[strings.LastIndexByte(got.ID, '/')+1:]
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("%s did not happen", what)
}

// call is one of the development application in its vault.
func (d *Dev) call(t *testing.T) *guard.Call {
	t.Helper()
	caller, err := d.core.identity.Authenticate(t.Context(), d.token(t, "https://"+d.address()), identity.NewAudiences("https://"+d.address()))
	if err != nil {
		t.Fatal(err)
	}
	view, err := d.core.guard.View(t.Context(), devVault)
	if err != nil {
		t.Fatal(err)
	}
	return &guard.Call{Caller: caller, Vault: view, Door: "test", Operation: "Test", Correlation: "test", Started: time.Now()}
}

// TestRotationOfARealDatabase tells the story of one rotation: the credential changes, the consumer goes on with the old one, and when it has
// proved that it uses the new one the database refuses the old.
func TestRotationOfARealDatabase(t *testing.T) {
	t.Parallel() // it waits more than it computes
	pg := startDatabase(t)
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Rotation: quickRotation()}})
	azure, api := d.azure(t), d.native(t)
	azure.put("pg-admin", `{"username":"keeper","password":"keeper"}`)
	azure.put("db", `{"host":"db.test","username":"app_a","password":"first"}`)
	user, password, old := azure.login("db", "pod-1")
	if user != "app_a" || !pg.accepts(t, user, password) {
		t.Fatalf("the database does not accept %s to begin with", user)
	}
	policy, mistakes := rotation.ParsePolicy([]byte(pg.policy(`,"grace":"50ms"`)))
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	if err := d.core.rotation.SetPolicy(t.Context(), d.call(t), "db", policy); err != nil {
		t.Fatal(err)
	}
	run, err := d.core.rotation.Run(t.Context(), d.call(t), "db", rotation.Start{Cause: rotation.OnDemand})
	if err != nil {
		t.Fatal(err)
	}
	state := func() (s rotation.State) {
		r, err := d.core.rotation.GetRun(t.Context(), d.call(t), run.ID)
		if err != nil {
			t.Fatal(err)
		}
		if r.State == rotation.Stuck {
			t.Fatalf("the run is stuck: %s %+v", r.Reason, r.LastError)
		}
		return r.State
	}
	eventually(t, "the rotation", func() bool { return state() == rotation.Done })

	newUser, newPassword, version := azure.login("db", "pod-1")
	if newUser != "app_b" || version == old || !pg.accepts(t, newUser, newPassword) {
		t.Fatalf("after the rotation the secret has %s in version %s", newUser, version)
	}
	stays, err := pgx.Connect(t.Context(), pg.DSN(user, password, "app"))
	if err != nil {
		t.Fatal("the old credential was revoked under a consumer that has not proved that it moved: ", err)
	}
	eventually(t, "a look that finds the consumer at the database", func() bool {
		return strings.Contains(api.waiting("db"), "pod-1 because the target shows a session of it")
	})
	stays.Close(context.Background())
	pg.gone(t, stays.PgConn().PID())
	if answer, text := api.do("POST", "/api/v1/vaults/demo/secrets/db/versions/"+version+"/acks", `{"level":"used"}`, "X-Keywright-Instance", "pod-1"); answer.StatusCode != 204 {
		t.Fatal(answer.Status, text)
	}
	api.revoked("db")
	if pg.accepts(t, user, password) {
		t.Error("the old credential is accepted behind its revocation")
	}
	if !pg.accepts(t, newUser, newPassword) {
		t.Error("the new credential died with the old one")
	}

	if err := d.core.measureRotations(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := d.scrape(t)
	for _, want := range []string{"keywright_rotation_policies 1\n", "keywright_rotation_stuck_runs 0\n", "keywright_rotation_untouched_ratio 1\n",
		`keywright_rotation_runs_ended_total{kind="rotation",result="done",rotator="postgres",touched="no"} 1`, `keywright_rotation_state_duration_seconds_count{kind="rotation",state="queued"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// TestATargetThatHangsDoesNotHoldUpTheEnd has a rotation under way at a target that takes connections and says nothing.
func TestATargetThatHangsDoesNotHoldUpTheEnd(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := make(chan struct{}, 100)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			taken <- struct{}{}
		}
	}()
	d := startToEnd(t, longDrain)
	azure := d.azure(t)
	azure.put("admin", `{"username":"keeper","password":"keeper"}`)
	azure.put("db", `{"username":"app","password":"first"}`)
	policy, mistakes := rotation.ParsePolicy([]byte(fmt.Sprintf(`{"strategy":"single","acceptGap":true,"rotator":"postgres","admin":{"name":"admin"},"accounts":["app"],
		"format":{"kind":"json"},"target":{"endpoints":[%q],"database":"app","tls":{"mode":"disable"},"connectTimeout":"1m"}}`, l.Addr())))
	if mistakes != nil {
		t.Fatal(mistakes)
	}
	if err := d.core.rotation.SetPolicy(t.Context(), d.call(t), "db", policy); err != nil {
		t.Fatal(err)
	}
	if _, err := d.core.rotation.Run(t.Context(), d.call(t), "db", rotation.Start{Cause: rotation.OnDemand}); err != nil {
		t.Fatal(err)
	}
	<-taken
	began := time.Now()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took >= longDrain/2 {
		t.Errorf("the end took %s", took)
	}
}

// TestEveryRotatorIsThere: an adapter that nobody registered is one that nobody can use.
func TestEveryRotatorIsThere(t *testing.T) {
	for _, r := range startDev(t, t.TempDir()).core.rotation.Rotators() {
		if r.Name == "nats" {
			t.Error("policies may name files of the server's machine, and nobody allowed it")
		}
	}
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Rotation: Rotation{Files: true}}})
	known := map[string]bool{}
	for _, r := range d.core.rotation.Rotators() {
		known[r.Name] = true
	}
	entries, err := os.ReadDir("../rotator")
	if err != nil {
		t.Fatal(err)
	}
	helpers, found := []string{"contract", "endpoint", "rotatortest"}, 0
	for _, e := range entries {
		if e.IsDir() && !slices.Contains(helpers, e.Name()) {
			found++
		}
	}
	if found < 8 || len(known) != found {
		t.Errorf("there are %d packages of rotators, and the server knows %v", found, known)
	}
}

// TestValuesAreFetchedAtOneAddressAlone: the one-time tokens of webhooks are for that address, and a vault's paths stay the vault's.
func TestValuesAreFetchedAtOneAddressAlone(t *testing.T) {
	d := startDev(t, t.TempDir())
	if answer, text := d.native(t).do("POST", valuesPath, "", "Authorization", "Bearer unknown"); answer.StatusCode != http.StatusNotFound || !strings.Contains(text, "no value for this token") {
		t.Errorf("an unknown token is answered %s %s", answer.Status, text)
	}
	passed := false
	h := d.core.withValues(&d.names, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { passed = true }))
	r := httptest.NewRequest("POST", "https://"+devVault+"."+d.names.suffix+valuesPath, nil)
	if h.ServeHTTP(httptest.NewRecorder(), r); !passed {
		t.Error("a path of a vault was taken from its door")
	}
}
