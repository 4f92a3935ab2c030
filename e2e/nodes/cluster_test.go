package nodes_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/server"
)

// The environment of a node: the test program started again.
const (
	serveEnv  = "KEYWRIGHT_NODES_SERVE"
	listenEnv = "KEYWRIGHT_NODES_LISTEN"
	dsnEnv    = "KEYWRIGHT_NODES_DSN_FILE"
	killEnv   = "KEYWRIGHT_NODES_KILL_FILE"
	// timeEnv is how long loads last.
	timeEnv = "KEYWRIGHT_NODES_TIME"
)

// How long the leases of rotations live, and a turn.
const (
	leaseTTL   = 2 * time.Second
	turnLength = 2 * time.Second
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(serveEnv); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// serve is a development server. It ends by a signal alone.
func serve(dir string) error {
	d := func(t time.Duration) rotation.Duration { return rotation.Duration(t) }
	pace := rotation.DefaultPace
	pace.Base, pace.Cap, pace.Probe, pace.Settle, pace.Look, pace.Call = d(20*time.Millisecond), d(time.Second), d(20*time.Millisecond), d(20*time.Millisecond),
		d(100*time.Millisecond), d(leaseTTL/2)
	c := server.DevConfig{Listen: os.Getenv(listenEnv), Config: server.Config{Dir: dir, AuditSegmentBytes: 4 << 20, AuditReserveBytes: 4 << 20,
		Store:  server.StoreConfig{DSNFile: os.Getenv(dsnEnv)},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Turn:   turnLength, Rotation: server.Rotation{Pace: pace, Leasing: rotation.LeasingFor(leaseTTL), Poll: 50 * time.Millisecond}}}
	c.Rotation.Failpoint = func(p rotation.Point) error {
		at, err := os.ReadFile(os.Getenv(killEnv))
		// Whoever takes the file away dies, and nobody else.
		if err == nil && rotation.Point(at) == p && os.Remove(os.Getenv(killEnv)) == nil {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	if _, err := server.StartDev(context.Background(), c); err != nil {
		return err
	}
	select {}
}

// lasts is how long a load goes on.
func lasts(t testing.TB, short time.Duration) time.Duration {
	text := os.Getenv(timeEnv)
	if text == "" {
		return short
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("%s=%s is no duration", timeEnv, text)
	}
	return d
}

// cluster is some nodes over one database.
type cluster struct {
	*testing.T
	db    *pgtest.Server
	port  int
	nodes []*node
	// killFile names the point of a rotation at which the next node that comes there kills itself; there is none at first.
	killFile string
}

// node is one server with its directory. Nodes differ by their address alone: names and port are the same for all.
type node struct {
	c       *cluster
	dir     string
	address string
	log     string
	link    *link
	process *process.Process
	env     map[string]string
	http    *http.Client
}

// newCluster starts so many nodes.
func newCluster(t *testing.T, size int) *cluster {
	t.Helper()
	c := &cluster{T: t, db: pgtest.Run(t), killFile: filepath.Join(t.TempDir(), "kill-at")}
	var err error
	if c.port, err = process.FreePort(); err != nil {
		t.Fatal(err)
	}
	for i := range size {
		dir := filepath.Join(t.TempDir(), fmt.Sprint("node", i+1))
		n := &node{c: c, dir: dir, log: dir + ".log", address: fmt.Sprintf("127.0.70.%d:%d", i+1, c.port)}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		n.link = newLink(t, fmt.Sprint("127.0.0.1:", c.db.Port))
		through := *c.db
		through.Port = n.link.port()
		if err := os.WriteFile(dir+".dsn", []byte(through.AdminDSN()), 0o600); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			c.copySeal(c.nodes[0].dir, dir)
		}
		c.nodes = append(c.nodes, n)
		t.Cleanup(n.kill)
		n.start()
	}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range c.nodes {
				text, _ := os.ReadFile(n.log)
				t.Logf("%s:\n%s", n.address, text[max(0, len(text)-3000):])
			}
		}
	})
	return c
}

// with runs a test on the cluster. One runs at a time.
func (c *cluster) with(name string, test func(*cluster)) {
	outer := c.T
	defer func() { c.T = outer }()
	outer.Run(name, func(t *testing.T) {
		c.T = t
		test(c)
	})
}

// copySeal gives a node the key file of another: all open one store.
func (c *cluster) copySeal(from, to string) {
	c.Helper()
	key, err := os.ReadFile(filepath.Join(from, "seal.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(to, "seal.key"), key, 0o600)
	}
	if err != nil {
		c.Fatal(err)
	}
}

// start returns when the node answers.
func (n *node) start() {
	n.c.Helper()
	self, err := os.Executable()
	if err != nil {
		n.c.Fatal(err)
	}
	ready := filepath.Join(n.dir, "dev.env")
	if err := os.Remove(ready); err != nil && !os.IsNotExist(err) {
		n.c.Fatal(err)
	}
	out, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.c.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serveEnv+"="+n.dir, listenEnv+"="+n.address, dsnEnv+"="+n.dir+".dsn", killEnv+"="+n.c.killFile)
	cmd.Stdout, cmd.Stderr = out, out
	if n.process, err = process.Start("keywright", cmd); err != nil {
		n.c.Fatal(err)
	}
	if err := n.process.Await(n.c.Context(), time.Minute, func() bool { _, err := os.Stat(ready); return err == nil }); err != nil {
		text, _ := os.ReadFile(n.log)
		n.c.Fatalf("%v\n%s", err, text[max(0, len(text)-4096):])
	}
	text, err := os.ReadFile(ready)
	if err != nil {
		n.c.Fatal(err)
	}
	n.env = make(map[string]string)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		n.env[name] = value
	}
	pool, err := client.ReadCAFile(n.env["KEYWRIGHT_CA_FILE"])
	if err != nil {
		n.c.Fatal(err)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp4", n.address)
	}
	n.http = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 64,
		TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
}

// kill is kill -9, by the process's id.
func (n *node) kill() {
	if n.process != nil {
		_ = n.process.Stop(syscall.SIGKILL, 10*time.Second)
	}
}

func (n *node) signal(s syscall.Signal) {
	n.c.Helper()
	if err := syscall.Kill(n.process.Pid(), s); err != nil {
		n.c.Fatal(err)
	}
}

// The names that all nodes answer to.
func (c *cluster) vaultURL() string {
	return fmt.Sprintf("https://demo.vault.keywright.localhost:%d", c.port)
}
func (c *cluster) apiURL() string { return fmt.Sprintf("https://keywright.localhost:%d", c.port) }

// The audiences of the vault and of the native API.
func (c *cluster) vaultResource() string {
	return fmt.Sprintf("https://vault.keywright.localhost:%d", c.port)
}

// token is had from the node, for a client id and a secret.
func (n *node) token(ctx context.Context, id, secret, resource string) (string, error) {
	login := fmt.Sprintf("https://login.keywright.localhost:%d/%s/oauth2/v2.0/token", n.c.port, n.env["KEYWRIGHT_TENANT_ID"])
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {id}, "client_secret": {secret}, "scope": {resource + "/.default"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, login, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := n.http.Do(req)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	var out struct {
		Token string `json:"access_token"`
		Error string `json:"error_description"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&out); err != nil || out.Token == "" {
		return "", fmt.Errorf("no token from %s: %s %s %v", n.address, answer.Status, out.Error, err)
	}
	return out.Token, nil
}

// admin is a token of the development server's own application.
func (n *node) admin(resource string) string {
	n.c.Helper()
	token, err := n.token(n.c.Context(), n.env["AZURE_CLIENT_ID"], n.env["AZURE_CLIENT_SECRET"], resource)
	if err != nil {
		n.c.Fatal(err)
	}
	return token
}

// api is the native API of the node.
func (n *node) api() *client.Client {
	n.c.Helper()
	c, err := client.New(client.Config{URL: n.c.apiURL(), HTTP: n.http, Tokens: client.StaticToken(n.admin(n.c.apiURL()))})
	if err != nil {
		n.c.Fatal(err)
	}
	return c
}

// answer is what a node says to one request of the vault's protocol.
type answer struct {
	status int
	value  string
	code   string
	// retry is whether the answer says when to try again.
	retry bool
}

// do sends one request to the vault at the node.
func (n *node) do(ctx context.Context, token, method, path, body string) (a answer, err error) {
	req, err := http.NewRequestWithContext(ctx, method, n.c.vaultURL()+path+"?api-version=7.4", strings.NewReader(body))
	if err != nil {
		return a, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	got, err := n.http.Do(req)
	if err != nil {
		return a, err
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		return a, err
	}
	var out struct {
		Value string
		Error struct {
			Code       string
			InnerError struct{ Code string }
		}
	}
	_ = json.Unmarshal(text, &out) // an answer without JSON has none of it
	a = answer{status: got.StatusCode, value: out.Value, code: out.Error.Code, retry: got.Header.Get("Retry-After") != ""}
	return a, nil
}

// errLate is a refusal for now.
var errLate = errors.New("refused for now")

func (n *node) set(ctx context.Context, token, name, value string) error {
	a, err := n.do(ctx, token, http.MethodPut, "/secrets/"+name, fmt.Sprintf(`{"value":%q}`, value))
	if err == nil && a.status == http.StatusServiceUnavailable {
		return errLate
	}
	if err == nil && a.status != http.StatusOK {
		err = fmt.Errorf("%s: setting %s: %d %s", n.address, name, a.status, a.code)
	}
	return err
}

func (n *node) get(ctx context.Context, token, name string) (answer, error) {
	return n.do(ctx, token, http.MethodGet, "/secrets/"+name, "")
}

// must stops the test.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for something.
func eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}
