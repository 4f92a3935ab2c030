package rotation_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/server"
)

// The environment of the server that is killed: the test program started again.
const (
	serveEnv  = "KEYWRIGHT_ROTATION_SERVE"
	listenEnv = "KEYWRIGHT_ROTATION_LISTEN"
	// killEnv is the file that names the point at which it kills itself; it may come and go while the server runs.
	killEnv = "KEYWRIGHT_ROTATION_KILL_AT"
	// lookEnv is how often a revocation looks whether the old version may go, ttlOfLeases how long leases live.
	lookEnv     = "KEYWRIGHT_ROTATION_LOOK"
	ttlOfLeases = "KEYWRIGHT_ROTATION_LEASE"
)

// atOnce is how many tests run side by side. Most of their time is waiting: for leases of the dead to run out, for graces, for brokers to start.
const atOnce = "4"

// leaseTTL is how long the leases of these servers live, unless a test knows better. Half of it is a call's: MariaDB needs more than a second for a change.
const leaseTTL = 4 * time.Second

func TestMain(m *testing.M) {
	netns.Init()
	if os.Getenv(appEnv) != "" {
		fmt.Fprintln(os.Stderr, applicationMain())
		os.Exit(1)
	}
	if role := os.Getenv(mutualEnv); role != "" {
		if err := mutualMain(role); err != nil {
			fmt.Fprintln(os.Stderr, "failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(besideEnv); dir != "" {
		if err := besideMain(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if dir := os.Getenv(serveEnv); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if !chosen("test.parallel") {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// chosen reports whether the command line has the flag.
func chosen(name string) (is bool) {
	flag.Visit(func(f *flag.Flag) { is = is || f.Name == name })
	return is
}

// serve is a development server with short waits. It ends by a signal alone.
func serve(dir string) error {
	d := func(t time.Duration) rotation.Duration { return rotation.Duration(t) }
	pace := rotation.DefaultPace
	look, err := time.ParseDuration(os.Getenv(lookEnv))
	if err != nil {
		return err
	}
	lease, err := time.ParseDuration(os.Getenv(ttlOfLeases))
	if err != nil {
		return err
	}
	pace.Base, pace.Cap, pace.Probe, pace.Settle, pace.Look, pace.Call = d(20*time.Millisecond), d(time.Second), d(20*time.Millisecond), d(20*time.Millisecond), d(look), d(lease/2)
	c := server.DevConfig{Listen: os.Getenv(listenEnv), Config: server.Config{Dir: dir, AuditSegmentBytes: 4 << 20, AuditReserveBytes: 4 << 20,
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})),
		Rotation: server.Rotation{Files: true, Pace: pace, Leasing: rotation.LeasingFor(lease), Poll: 50 * time.Millisecond}}}
	c.Rotation.Failpoint = func(p rotation.Point) error {
		if at, err := os.ReadFile(os.Getenv(killEnv)); err == nil && rotation.Point(at) == p {
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

// node is a server in a process of its own.
type node struct {
	t testing.TB
	// look is how often a revocation looks, lease how long leases live.
	look    time.Duration
	lease   time.Duration
	dir     string
	port    int
	log     *written
	process *process.Process
	env     map[string]string
	vault   *client.Vault
}

func startNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, look: 100 * time.Millisecond, lease: leaseTTL}
	n.init()
	return n
}

// init starts it for the first time.
func (n *node) init() {
	n.t.Helper()
	port, err := process.FreePort()
	if err != nil {
		n.t.Fatal(err)
	}
	n.dir, n.port, n.log = filepath.Join(n.t.TempDir(), "keywright"), port, &written{}
	n.t.Cleanup(func() { n.kill() })
	n.start("")
	config, err := client.ConfigFromEnv(func(name string) string { return n.env[name] })
	if err != nil {
		n.t.Fatal(err)
	}
	c, err := client.New(config)
	if err != nil {
		n.t.Fatal(err)
	}
	n.vault = c.Vault(n.env["KEYWRIGHT_VAULT_NAME"])
}

// start returns when the server answers.
func (n *node) start(killAt rotation.Point) {
	n.t.Helper()
	if err := n.launch(killAt); err != nil {
		n.t.Fatal(err)
	}
}

// killAt makes the server that runs, and those that are started later, kill itself at a point; "" takes that back.
func (n *node) killAt(p rotation.Point) error {
	if p == "" {
		if err := os.Remove(n.killFile()); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	// In one piece: the server may look at any time.
	if err := os.WriteFile(n.killFile()+".new", []byte(p), 0o600); err != nil {
		return err
	}
	return os.Rename(n.killFile()+".new", n.killFile())
}

func (n *node) killFile() string { return n.dir + ".kill-at" }

func (n *node) launch(killAt rotation.Point) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := n.killAt(killAt); err != nil {
		return err
	}
	ready := filepath.Join(n.dir, "dev.env")
	if err := os.Remove(ready); err != nil && !os.IsNotExist(err) {
		return err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), serveEnv+"="+n.dir, listenEnv+"="+address(n.port), killEnv+"="+n.killFile(), lookEnv+"="+n.look.String(), ttlOfLeases+"="+n.lease.String())
	cmd.Stdout, cmd.Stderr = n.log, n.log
	if n.process, err = process.Start("keywright", cmd); err != nil {
		return err
	}
	if err := n.process.Await(context.Background(), time.Minute, func() bool { _, err := os.Stat(ready); return err == nil }); err != nil {
		text, _ := n.log.all()
		return fmt.Errorf("%w\n%s", err, text[max(0, len(text)-4096):])
	}
	text, err := os.ReadFile(ready)
	n.env = make(map[string]string)
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		n.env[name] = value
	}
	return err
}

// kill is kill -9, by the process's id.
func (n *node) kill() {
	if n.process != nil {
		_ = n.process.Stop(syscall.SIGKILL, 10*time.Second)
	}
}

// sdk is Azure's client for Go, with nothing of ours but the address, the CA and what stands in front of the transport.
func (n *node) sdk(wrap func(http.RoundTripper) http.RoundTripper) (*azsecrets.Client, error) {
	pool, err := client.ReadCAFile(n.env["KEYWRIGHT_CA_FILE"])
	if err != nil {
		return nil, err
	}
	transport := &http.Client{Timeout: 5 * time.Second, Transport: wrap(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}})}
	options := azcore.ClientOptions{Transport: transport, Retry: policy.RetryOptions{MaxRetries: -1}}
	credential, err := azidentity.NewClientSecretCredential(n.env["AZURE_TENANT_ID"], n.env["AZURE_CLIENT_ID"], n.env["AZURE_CLIENT_SECRET"],
		&azidentity.ClientSecretCredentialOptions{ClientOptions: withAuthority(options, n.env["AZURE_AUTHORITY_HOST"])})
	if err != nil {
		return nil, err
	}
	return azsecrets.NewClient(n.env["AZURE_KEYVAULT_URL"], credential, &azsecrets.ClientOptions{ClientOptions: options})
}

func withAuthority(o azcore.ClientOptions, host string) azcore.ClientOptions {
	o.Cloud.ActiveDirectoryAuthorityHost = host
	return o
}

// set stores a secret.
func (n *node) set(name string, c rotator.Credential) {
	n.t.Helper()
	value := fmt.Appendf(nil, `{"username":%q,"password":%q}`, c.Account, c.Value.Reveal())
	if _, err := n.vault.Set(context.Background(), name, value); err != nil {
		n.t.Fatal(err)
	}
}

// protect makes a secret with its policy.
func (n *node) protect(name string, p rotation.Policy, first rotator.Credential) {
	n.t.Helper()
	n.set(name, first)
	text, err := json.Marshal(p)
	if err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.vault.SetRotationPolicy(context.Background(), name, text); err != nil {
		n.t.Fatal(err)
	}
}

// retry does something until it succeeds: the server may be on its way up.
func retry(ctx context.Context, do func() error) (err error) {
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		if err = do(); err == nil {
			return nil
		}
	}
	return err
}

// open lists the open runs of a secret.
func (n *node) open(ctx context.Context, name string) (list []*api.Rotation, err error) {
	for r, err := range n.vault.Rotations(ctx, client.RotationFilter{Name: name, Open: true}) {
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, nil
}

// credential reads a value as an application does.
func credential(value string) (rotator.Credential, error) {
	var v struct{ Username, Password string }
	err := json.NewDecoder(bytes.NewReader([]byte(value))).Decode(&v)
	return rotator.Credential{Account: v.Username, Value: []byte(v.Password)}, err
}
