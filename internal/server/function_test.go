package server

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mssqldriver "github.com/microsoft/go-mssqldb"

	"github.com/keywright/keywright/e2e/npm"
	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/e2e/tdsfake"
	"github.com/keywright/keywright/e2e/transcript"
	"github.com/keywright/keywright/internal/rotation"
)

// functionTarget is a database whose password one of the example functions rotates.
type functionTarget struct {
	// function is the program, admin the connection string that it is given, env what else it needs.
	function *exec.Cmd
	admin    string
	env      []string
	// vault is the variable of dev.env with the vault's address: the SDK for JavaScript wants a name, with the vault's own in front.
	vault string
	// rotator and target are those of the policy.
	rotator, target string
	// accepts logs in as the application.
	accepts func(t *testing.T, password string) bool
}

const examples = "../../docs/examples/"

func missingHere(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf("SKIPPED, NOT PASSED: "+format, args...)
}

func postgresFunction(t *testing.T) functionTarget {
	const python = "/usr/bin/python3"
	if out, err := exec.CommandContext(t.Context(), python, "-c", "import azure.identity, azure.keyvault.secrets, psycopg2").CombinedOutput(); err != nil {
		missingHere(t, "Python's packages are missing (apt-get install python3-azure python3-psycopg2): %v %s", err, out)
	}
	pg := startDatabase(t)
	if err := pg.Exec(t.Context(), "CREATE ROLE app LOGIN PASSWORD 'first'"); err != nil {
		t.Fatal(err)
	}
	return functionTarget{function: exec.CommandContext(t.Context(), python, examples+"rotate-postgresql/function.py"), admin: pg.AdminDSN(), vault: "AZURE_KEYVAULT_URL", rotator: "postgres",
		target:  fmt.Sprintf(`{"endpoints":[%q],"database":"app","tls":{"mode":"disable"}}`, net.JoinHostPort("127.0.0.1", strconv.Itoa(pg.Port))),
		accepts: func(t *testing.T, password string) bool { return pg.accepts(t, "app", password) }}
}

func sqlServerFunction(t *testing.T) functionTarget {
	dir := t.TempDir()
	config := npm.Config{Package: examples + "rotate-sqlserver"}
	if err := npm.Lay(config, npm.Modules(t, config.Package), dir, "function.js"); err != nil {
		t.Fatal(err)
	}
	fake, err := tdsfake.Start(tdsfake.Config{Logins: map[string]tdsfake.Login{"app": {Password: "first"}, "keeper": {Password: "keeper", Admin: true}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fake.Close(); err != nil {
			t.Error(err)
		}
	})
	// In the place of the hosts file.
	const resolve = `const dns = require('dns'), lookup = dns.lookup;
dns.lookup = (name, ...rest) => lookup(name.endsWith('.localhost') ? '127.0.0.1' : name, ...rest);`
	hosts := filepath.Join(dir, "hosts.js")
	if err := os.WriteFile(hosts, []byte(resolve), 0o600); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "database-ca.pem")
	if err := os.WriteFile(ca, fake.CA(), 0o600); err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(string(fake.CA()))
	if err != nil {
		t.Fatal(err)
	}
	dsn := func(user, password string) string {
		query := url.Values{"encrypt": {"true"}, "certificate": {ca}, "dial timeout": {"5"}}
		return (&url.URL{Scheme: "sqlserver", User: url.UserPassword(user, password), Host: fake.Addr().String(), RawQuery: query.Encode()}).String()
	}
	return functionTarget{function: exec.CommandContext(t.Context(), "node", filepath.Join(dir, "function.js")), vault: "KEYWRIGHT_VAULT_URL", rotator: "mssql",
		env:    []string{"NODE_OPTIONS=--require " + hosts},
		admin:  fmt.Sprintf("Server=127.0.0.1,%d;User Id=keeper;Password=keeper;Encrypt=true;TrustServerCertificate=true", fake.Addr().Port),
		target: fmt.Sprintf(`{"endpoints":[%q],"tls":{"ca":%s}}`, fake.Addr(), quoted),
		accepts: func(t *testing.T, password string) bool {
			db, err := sql.Open("sqlserver", dsn("app", password))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			err = db.PingContext(t.Context())
			if refused := (mssqldriver.Error{}); errors.As(err, &refused) && refused.Number == 18456 {
				return false
			}
			if err != nil {
				t.Fatal(err)
			}
			return true
		}}
}

// output is what a program has printed so far.
type output struct{ transcript.Buffer }

// line returns what follows the words in the last line that begins with them.
func (o *output) line(words string) string {
	found := ""
	for line := range strings.Lines(o.String()) {
		if rest, ok := strings.CutPrefix(line, words+" "); ok {
			found = strings.TrimSpace(rest)
		}
	}
	return found
}

// send is one request to the native API that must succeed; out takes the answer.
func (c *caller) send(method, path, body string, out any, headers ...string) {
	c.t.Helper()
	answer, text := c.do(method, "/api/v1"+path, body, headers...)
	if answer.StatusCode >= 300 {
		c.t.Fatalf("%s %s: %s %s", method, path, answer.Status, text)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			c.t.Fatal(err)
		}
	}
}

// waiting says what a secret's open runs wait for, and for whom; "" when there is none.
func (c *caller) waiting(name string) string {
	c.t.Helper()
	var open struct {
		Items []struct {
			Kind, State, Reason string
			Waiting             []struct{ Instance, Why string }
			LastError           struct{ Text string }
		}
	}
	c.send("GET", "/vaults/demo/rotations?open=true&name="+name, "", &open)
	var b strings.Builder
	for _, r := range open.Items {
		fmt.Fprintf(&b, "%s %s (%s) %s", r.Kind, r.State, r.Reason, r.LastError.Text)
		for _, w := range r.Waiting {
			fmt.Fprintf(&b, ", for %s because %s", w.Instance, w.Why)
		}
	}
	return b.String()
}

// revoked waits for the end of a secret's runs. It does not try the old credential meanwhile: the target shows each login by it, and so somebody who still uses it.
func (c *caller) revoked(name string) {
	c.t.Helper()
	left := ""
	defer func() {
		if left != "" {
			c.t.Log("still open: ", left)
		}
	}()
	eventually(c.t, "the revocation", func() bool {
		left = c.waiting(name)
		return left == ""
	})
}

// program makes a service principal that may do everything with secrets, and returns its object id and what it signs in with.
func (d *Dev) program(t *testing.T, name string) (id, appID, secret string) {
	t.Helper()
	api := d.native(t)
	var p struct{ ID, AppID string }
	api.send("POST", "/principals", fmt.Sprintf(`{"kind":"ServicePrincipal","name":%q}`, name), &p)
	var c struct{ Value, Secret string }
	api.send("POST", "/principals/"+p.ID+"/credentials", `{"kind":"secret"}`, &c)
	scope := "/subscriptions/" + string(d.estate.Subscription) + "/resourceGroups/dev/providers/Microsoft.KeyVault/vaults/demo"
	api.send("POST", "/grants", fmt.Sprintf(`{"role":"Key Vault Secrets Officer","principal":%q,"scope":%q}`, p.ID, scope), nil)
	return p.ID, p.AppID, c.Value + c.Secret
}

// serve starts the function and waits until it listens.
func (f *functionTarget) serve(t *testing.T, d *Dev, appID, secret string) (endpoint string, printed *output) {
	t.Helper()
	printed = &output{}
	f.function.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PORT=0", "DATABASE_ADMIN=" + f.admin, "PYTHONDONTWRITEBYTECODE=1", "AZURE_CLIENT_ID=" + appID,
		"AZURE_CLIENT_SECRET=" + secret}
	f.function.Env = append(append(f.function.Env, f.env...), "AZURE_KEYVAULT_URL="+d.variable(f.vault))
	for _, name := range []string{"AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"} {
		f.function.Env = append(f.function.Env, name+"="+d.variable(name))
	}
	f.function.Stdout, f.function.Stderr = printed, printed
	p, err := process.Start("the function", f.function)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(syscall.SIGTERM, 10*time.Second); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the function printed:\n%s", printed)
		}
	})
	if err := p.Await(t.Context(), time.Minute, func() bool { return printed.line("listening on") != "" }); err != nil {
		t.Fatal(err, printed)
	}
	return "http://127.0.0.1:" + printed.line("listening on") + "/api/rotate", printed
}

// seen is what an application that reads the secret for every login experienced.
type seen struct {
	mu      sync.Mutex
	logins  int
	refused map[string]int // by version
	// early counts refused logins with a version before one was accepted: it was served before it worked.
	early         int
	worked        map[string]bool
	last          string
	stop, stopped chan struct{}
}

// application logs in again and again with what the vault gives it.
func application(t *testing.T, c *caller, f *functionTarget) *seen {
	s := &seen{refused: map[string]int{}, worked: map[string]bool{}, stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(s.stopped)
		for {
			select {
			case <-s.stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			_, password, version := c.login("db", "app-1")
			ok := f.accepts(t, password)
			s.mu.Lock()
			s.logins++
			switch {
			case ok:
				s.last, s.worked[version] = version, true
			case !s.worked[version]:
				s.early++
				fallthrough
			default:
				s.refused[version]++
			}
			s.mu.Unlock()
		}
	}()
	return s
}

// TestFunctionsRotateDatabases follows the flow that users of Key Vault know, hop by hop: an expiry comes near, the event goes to the function, which
// stores a version and updates its database; the version is nobody's until the database accepts it.
func TestFunctionsRotateDatabases(t *testing.T) {
	t.Parallel() // it waits more than it computes
	for name, target := range map[string]func(*testing.T) functionTarget{"Python and PostgreSQL": postgresFunction, "Node and the TDS fake": sqlServerFunction} {
		t.Run(name, func(t *testing.T) { functionRotates(t, target(t)) })
	}
}

func functionRotates(t *testing.T, f functionTarget) {
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Rotation: quickRotation()}})
	azure, api := d.azure(t), d.native(t)
	principal, appID, secret := d.program(t, "rotation-function")
	endpoint, printed := f.serve(t, d, appID, secret)

	const in = "/vaults/demo"
	exp := time.Now().Add(10 * 24 * time.Hour)
	answer, text := azure.do("PUT", "/secrets/db?api-version=7.6", fmt.Sprintf(`{"value":%q,"attributes":{"exp":%d}}`, `{"host":"db.test","username":"app","password":"first"}`, exp.Unix()))
	if answer.StatusCode != 200 {
		t.Fatal(text)
	}
	api.send("PUT", in+"/secrets/db/rotation-policy", fmt.Sprintf(`{"strategy":"single","acceptGap":true,"rotator":%q,"target":%s,"accounts":["app"],"format":{"kind":"json"},
		"function":{"principal":%q,"within":"1m"}}`, f.rotator, f.target, principal), nil)
	var sub struct{ State string }
	api.send("PUT", in+"/event-subscriptions/functions", fmt.Sprintf(`{"endpoint":%q,"types":["Microsoft.KeyVault.SecretNearExpiry"]}`, endpoint), &sub)
	if sub.State != "Active" {
		t.Fatalf("the function's handshake left the subscription %s", sub.State)
	}
	_, _, first := azure.login("db", "app-1")
	app := application(t, azure, &f)

	// The near-expiry event of the vault, then one that a person asks for.
	versions := []string{first}
	for _, trigger := range []func(){
		func() {
			if err := d.core.tellExpiries(t.Context()); err != nil {
				t.Fatal(err)
			}
		},
		func() { api.send("POST", in+"/secrets/db/rotations", `{"cause":"on-demand"}`, nil) },
	} {
		was := versions[len(versions)-1]
		trigger()
		eventually(t, "the function's new version", func() bool {
			return printed.line("stored db") != "" && !slices.Contains(versions, printed.line("stored db"))
		})
		stored := printed.line("stored db")
		eventually(t, "the database's update", func() bool { return printed.line("updated db") == stored })
		eventually(t, "the promotion", func() bool { _, _, v := azure.login("db", "app-2"); return v == stored })
		eventually(t, "the application's login with it", func() bool { app.mu.Lock(); defer app.mu.Unlock(); return app.last == stored })
		versions = append(versions, stored)
		var runs struct {
			Items []struct {
				Kind, State, Cause, Base, Pending string
				Steps                             []struct{ To string }
			}
		}
		api.send("GET", in+"/rotations?name=db&kind=rotation", "", &runs)
		run := runs.Items[0]
		if run.State != "done" || run.Base != was || run.Pending != stored || !slices.ContainsFunc(run.Steps, func(s struct{ To string }) bool { return s.To == "testing" }) {
			t.Errorf("the newest run is %+v", run)
		}
		if want := map[int]string{2: string(rotation.ByFunction), 3: "on-demand"}[len(versions)]; run.Cause != want {
			t.Errorf("the run began for %s, want %s", run.Cause, want)
		}
	}
	close(app.stop)
	<-app.stopped
	if f.accepts(t, "first") {
		t.Error("the first password still works")
	}
	// Between the update and the promotion the only password is one that nobody has yet: that gap is single's. What never happens is that somebody gets
	// one that does not work yet.
	if app.early > 0 || app.refused[versions[2]] > 0 {
		t.Errorf("of %d logins %d had a version that did not work yet, and %d the last one", app.logins, app.early, app.refused[versions[2]])
	}
	t.Logf("%d logins, refused by version %v, versions %v", app.logins, app.refused, versions)
}

// TestComposedValuesHoldTheirParts rotates a password that stands in a connection string: the string is made anew by itself, and the old password stays
// until who read the old string has proved that it moved.
func TestComposedValuesHoldTheirParts(t *testing.T) {
	t.Parallel() // it waits more than it computes
	pg := startDatabase(t)
	d := startDevWith(t, DevConfig{Config: Config{Dir: t.TempDir(), Rotation: quickRotation()}})
	azure, api := d.azure(t), d.native(t)
	azure.put("pg-admin", `{"username":"keeper","password":"keeper"}`)
	azure.put("db", `{"username":"app_a","password":"first"}`)
	api.send("PUT", "/vaults/demo/secrets/url/template", `{"template":"postgres://{{db.username}}:{{db.password|url}}@db.test/app"}`, nil)
	api.send("PUT", "/vaults/demo/secrets/db/rotation-policy", pg.policy(`,"grace":"50ms"`), nil)
	read := func() (value, version string) {
		answer, text := azure.do("GET", "/secrets/url?api-version=7.6", "", "X-Keywright-Instance", "pod-1")
		var got struct{ Value, ID string }
		if answer.StatusCode != 200 || json.Unmarshal([]byte(text), &got) != nil {
			t.Fatal(text)
		}
		return got.Value, got.ID[strings.LastIndexByte(got.ID, '/')+1:]
	}
	if value, _ := read(); value != "postgres://app_a:first@db.test/app" {
		t.Fatalf("the string is %q", value)
	}
	api.send("POST", "/vaults/demo/secrets/db/rotations", `{"cause":"on-demand"}`, nil)
	var version string
	eventually(t, "the new string", func() bool {
		value, v := read()
		version = v
		return strings.HasPrefix(value, "postgres://app_b:")
	})
	time.Sleep(300 * time.Millisecond) // several looks, and grace is over
	if !pg.accepts(t, "app_a", "first") {
		t.Fatal("the old password was revoked under a consumer of the connection string")
	}
	api.send("POST", "/vaults/demo/secrets/url/versions/"+version+"/acks", `{"level":"used"}`, nil, "X-Keywright-Instance", "pod-1")
	api.revoked("db")
	if pg.accepts(t, "app_a", "first") {
		t.Error("the old password is accepted behind its revocation")
	}
}
