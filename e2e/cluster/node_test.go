package cluster_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
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
	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/process"
	"github.com/keywright/keywright/e2e/testca"
)

const (
	// The names of the installation.
	apiName, suffix = "keywright.test", "vault.keywright.test"
	port            = 8443
	// patience is how long a client waits for one answer.
	patience = 5 * time.Second
)

// node is one server with its directory and its cables.
type node struct {
	name string
	// dir holds its configuration and what it names.
	dir string
	// clients, databases and targets are its places in the three networks.
	clients, databases, targets *netns.Host
	process                     *process.Process
	http                        *http.Client
}

// configuration of a node.
const configuration = `directory: data
names: {suffix: %s, api: %s}
listeners:
  public: {address: "%s:%d", administration: true}
tls:
  certificates: [{certificateFile: cert.pem, keyFile: key.pem}]
store: {engine: postgres, dsnFile: dsn}
seal: {keyFiles: [seal.key]}
audit: {segment: 4MiB, reserve: 16MiB, shipEvery: 1s}
log: {format: text, level: info}
rotation: {lease: %s, look: 500ms, probe: 200ms, settle: 500ms}
`

// install makes the nodes' files, and the installation by the first of them. It returns what init says.
func install(t testing.TB, nodes []*node, dsn string, p plan) *installation {
	t.Helper()
	ca, err := testca.For("*."+suffix, "*."+apiName, apiName)
	must(t, err)
	in := &installation{nodes: nodes}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.CA)
	for _, n := range nodes {
		must(t, os.Mkdir(n.dir, 0o700))
		must(t, ca.Write(n.dir))
		must(t, os.WriteFile(n.file("dsn"), []byte(dsn), 0o600))
		must(t, os.WriteFile(n.file("keywright.yaml"), fmt.Appendf(nil, configuration, suffix, apiName, n.clients.Address, port, p.lease), 0o600))
		n.http = n.client(roots)
	}
	first := nodes[0]
	cmd := exec.Command(os.Getenv(keywright.Variable), "init", "--config", first.file("keywright.yaml"), "--administrator", "deploy", "--out", first.file("enrolment"), "--output", "json")
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("initialising: %v\n%s", err, err.(*exec.ExitError).Stderr)
	}
	must(t, json.Unmarshal(text, &in.made))
	seal, err := os.ReadFile(first.file("seal.key"))
	must(t, err)
	for _, n := range nodes[1:] {
		must(t, os.WriteFile(n.file("seal.key"), seal, 0o600))
	}
	return in
}

func (n *node) file(name string) string { return filepath.Join(n.dir, name) }
func (n *node) address() string         { return fmt.Sprintf("%s:%d", n.clients.Address, port) }

// client calls the node by whatever name.
func (n *node) client(roots *x509.CertPool) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp4", n.address())
	}
	return &http.Client{Timeout: patience, Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 64, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
}

// start returns when the node says that it is ready.
func (n *node) start(ctx context.Context) error {
	out, err := os.OpenFile(n.file("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	ready := n.file("ready")
	if err := os.RemoveAll(ready); err != nil {
		return err
	}
	said, err := os.Create(ready)
	if err != nil {
		return err
	}
	defer said.Close()
	cmd := exec.Command(os.Getenv(keywright.Variable), "server", "--config", n.file("keywright.yaml"))
	cmd.Stdout, cmd.Stderr = said, out
	if err := n.clients.Within(func() (err error) {
		n.process, err = process.Start(n.name, cmd)
		return err
	}); err != nil {
		return err
	}
	err = n.process.Await(ctx, time.Minute, func() bool {
		text, err := os.ReadFile(ready)
		return err == nil && strings.HasPrefix(string(text), "ready")
	})
	if err != nil {
		return fmt.Errorf("%w\n%s", err, n.tail(4096))
	}
	return nil
}

// tail is the end of the node's log.
func (n *node) tail(bytes int) string {
	text, _ := os.ReadFile(n.file("log"))
	return string(text[max(0, len(text)-bytes):])
}

// kill is kill -9, by the process's id.
func (n *node) kill() {
	if n.process != nil {
		_ = n.process.Stop(syscall.SIGKILL, 10*time.Second)
	}
}

func (n *node) signal(s syscall.Signal) error { return syscall.Kill(n.process.Pid(), s) }

// installation is what the nodes make together.
type installation struct {
	nodes []*node
	made  struct{ TenantID, SubscriptionID, ResourceGroup string }
	// clientID and secret are the administrator's.
	clientID, secret string
}

func apiURL() string { return fmt.Sprintf("https://%s:%d", apiName, port) }

// vaultResource is the audience of tokens for vaults.
func vaultResource() string { return fmt.Sprintf("https://%s:%d", suffix, port) }

func (in *installation) authority(n *node) client.Authority {
	return client.Authority{URL: fmt.Sprintf("https://login.%s:%d", apiName, port), Tenant: in.made.TenantID, HTTP: n.http}
}

// enrol makes the administrator's first credential.
func (in *installation) enrol(t testing.TB) {
	t.Helper()
	n := in.nodes[0]
	code, err := os.ReadFile(n.file("enrolment"))
	must(t, err)
	got, err := in.authority(n).Enrol(t.Context(), client.EnrolRequest{Code: code, Kind: "secret", Name: "test"})
	must(t, err)
	in.clientID, in.secret = got.ClientID, got.Secret
}

// token is had at a node.
func (in *installation) token(ctx context.Context, n *node, id, secret, resource string) (string, error) {
	got, err := client.NewClientSecret(in.authority(n), id, secret, resource).Token(ctx)
	return got.Access, err
}

// native is the administrator's client of the native API at a node, which tries nothing twice.
func (in *installation) native(n *node) (*client.Client, error) {
	return client.New(client.Config{URL: apiURL(), HTTP: n.http, Tokens: client.NewClientSecret(in.authority(n), in.clientID, in.secret, apiURL()), Retries: -1})
}

// answer is what a node says to one request of the vault's protocol.
type answer struct {
	status      int
	value, code string
	// version is that of the answer's object.
	version string
}

// do sends one request to a vault at the node.
func (n *node) do(ctx context.Context, vault, token, method, path, body string) (answer, error) {
	return n.as(ctx, "", vault, token, method, path, body)
}

// as is do for one of several processes behind an address.
func (n *node) as(ctx context.Context, instance, vault, token, method, path, body string) (a answer, err error) {
	target := url.URL{Scheme: "https", Host: fmt.Sprintf("%s.%s:%d", vault, suffix, port), Path: path, RawQuery: "api-version=7.4"}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), strings.NewReader(body))
	if err != nil {
		return a, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if instance != "" {
		req.Header.Set("X-Keywright-Instance", instance)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	got, err := n.http.Do(req)
	if err != nil {
		return a, err
	}
	defer got.Body.Close()
	var out struct {
		ID, Value string
		Error     struct {
			Code       string
			InnerError struct{ Code string }
		}
	}
	if err := json.NewDecoder(got.Body).Decode(&out); err != nil {
		return a, err
	}
	a = answer{status: got.StatusCode, value: out.Value, code: out.Error.Code + " " + out.Error.InnerError.Code, version: out.ID[strings.LastIndexByte(out.ID, '/')+1:]}
	return a, nil
}

func (n *node) get(ctx context.Context, vault, token, name string) (answer, error) {
	return n.do(ctx, vault, token, http.MethodGet, "/secrets/"+name, "")
}

func (n *node) set(ctx context.Context, vault, token, name, value string) (answer, error) {
	return n.do(ctx, vault, token, http.MethodPut, "/secrets/"+name, fmt.Sprintf(`{"value":%q}`, value))
}

// later reports whether an answer says nothing for good: the node cannot be reached, or cannot serve now.
func later(a answer, err error) bool {
	return err != nil || a.status >= 500 || a.status == http.StatusTooManyRequests
}
