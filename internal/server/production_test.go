package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/e2e/transcript"
	"github.com/keywright/keywright/internal/config"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

const prodSuffix = "vault.example.org"

// house is a production server in a directory, with what init made.
type house struct {
	t      *testing.T
	dir    string
	file   *config.File
	roots  *x509.CertPool
	log    transcript.Buffer
	made   *Initialised
	reload chan os.Signal
	*Production
	secret string
}

// newHouse writes a configuration and initialises it.
func newHouse(t *testing.T) *house {
	h := &house{t: t, dir: t.TempDir(), reload: make(chan os.Signal)}
	h.certify(time.Now().Add(30 * 24 * time.Hour))
	text := `
directory: ` + h.dir + `/data
names: {suffix: ` + prodSuffix + `}
listeners:
  public: {address: "127.0.0.1:0"}
  private: {address: "127.0.0.1:0", networks: [127.0.0.0/8], administration: true, names: {suffix: vault.private.test}}
  admin: {address: "127.0.0.1:0"}
  plain: {address: "127.0.0.1:0", url: "http://pki.example.org/"}
  identity: {address: "127.0.0.1:0"}
tls: {certificates: [{certificateFile: tls.crt, keyFile: tls.key}]}
seal: {keyFiles: [seal.key]}
audit: {segment: 1MiB, reserve: 1MiB, durability: os}
`
	h.file = h.parse(text)
	var err error
	h.made, err = Initialise(t.Context(), h.config(), Initial{Tenant: "t", Subscription: "s", ResourceGroup: "g", Administrator: "deploy", Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (h *house) parse(text string) *config.File {
	h.t.Helper()
	f, problems := config.Parse([]byte(text), h.dir)
	if problems != nil {
		h.t.Fatal(problems)
	}
	return f
}

func (h *house) config() Config {
	h.t.Helper()
	c, err := FromFile(h.file)
	if err != nil {
		h.t.Fatal(err)
	}
	c.Logger = slog.New(slog.NewTextHandler(&h.log, nil))
	return c
}

// start starts the server and ends it with the test.
func (h *house) start() *house {
	h.t.Helper()
	p, err := Start(h.t.Context(), h.file, h.config(), h.reload)
	if err != nil {
		h.t.Fatal(err)
	}
	h.Production = p
	h.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			h.t.Error(err)
		}
	})
	return h
}

// certify writes a certificate of its own for every name, which ends then.
func (h *house) certify(end time.Time) {
	h.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		h.t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: "house"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: end,
		DNSNames:    []string{"*." + prodSuffix, "*.vault.private.test", "*.private.test", "private.test", "*.example.org", "example.org"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		h.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		h.t.Fatal(err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	h.write("tls.crt", cert, 0o644)
	h.write("tls.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600)
	h.roots = x509.NewCertPool()
	h.roots.AppendCertsFromPEM(cert)
}

func (h *house) write(name string, content []byte, mode os.FileMode) {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, content, mode); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		h.t.Fatal(err)
	}
}

// ask sends a request to a listener, under a name that no name server has to know.
func (h *house) ask(listener, method, host, path, token, body string) (int, string) {
	h.t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.roots}, DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, h.Addr(listener).String())
		}}
	scheme := "https://"
	if listener == "plain" || listener == "identity" {
		scheme = "http://"
	}
	r, err := http.NewRequestWithContext(h.t.Context(), method, scheme+host+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if strings.HasPrefix(body, "{") {
		r.Header.Set("Content-Type", "application/json")
	} else if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

func (h *house) port(listener string) string {
	_, port, _ := net.SplitHostPort(h.Addr(listener).String())
	return ":" + port
}

// enrol exchanges the administrator's enrolment over the wire.
func (h *house) enrol() {
	h.t.Helper()
	status, text := h.ask("admin", "POST", "login.example.org", "/adfs/oauth2/v2.0/enrolment", "", url.Values{"enrolment": {h.made.Enrolment.Reveal()}, "kind": {"secret"}}.Encode())
	var out struct {
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(text), &out); status != 200 || err != nil || out.Secret == "" {
		h.t.Fatalf("enrolling: %d %s", status, text)
	}
	h.secret = out.Secret
}

// token asks a listener for one.
func (h *house) token(listener, host, resource string) string {
	h.t.Helper()
	status, text := h.ask(listener, "POST", host, "/adfs/oauth2/v2.0/token", "", url.Values{"grant_type": {"client_credentials"}, "client_id": {h.made.ClientID},
		"client_secret": {h.secret}, "scope": {resource + "/.default"}}.Encode())
	var out struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(text), &out); status != 200 || err != nil || out.Token == "" {
		h.t.Fatalf("a token from %s at %s: %d %s", host, listener, status, text)
	}
	return out.Token
}

// TestListenersTellRequestsApart walks through a first day: the administrator enrols, makes a vault, takes its public access away, and reads a secret by the
// private listener, which alone leads there.
func TestListenersTellRequestsApart(t *testing.T) {
	h := newHouse(t).start()
	h.enrol()
	admin := h.token("admin", "login.example.org", "https://example.org"+h.port("public"))
	if status, text := h.ask("admin", "PUT", "example.org", "/api/v1/vaults/payroll", admin, `{"subscription":"`+h.made.Subscription+`","resourceGroup":"g"}`); status != 200 {
		t.Fatalf("making a vault: %d %s", status, text)
	}
	scope := "/subscriptions/" + h.made.Subscription + "/resourceGroups/g/providers/Microsoft.KeyVault/vaults/payroll"
	grant := `{"role":"Key Vault Administrator","principal":"` + h.made.Administrator + `","scope":"` + scope + `"}`
	if status, text := h.ask("public", "POST", "example.org", "/api/v1/grants", admin, grant); status != 403 || !strings.Contains(text, "administration is not served at this address") {
		t.Errorf("the public listener administers: %d %s", status, text)
	}
	if status, text := h.ask("admin", "POST", "example.org", "/api/v1/grants", admin, grant); status/100 != 2 {
		t.Fatalf("a grant: %d %s", status, text)
	}

	const secret, query = "/secrets/s", "?api-version=7.6"
	public := h.token("public", "login.example.org", "https://"+prodSuffix)
	vaultHost := "payroll." + prodSuffix + h.port("public")
	read := func(listener, host, token string) (int, string) {
		return h.ask(listener, "GET", host, secret+query, token, "")
	}
	if status, text := h.ask("public", "PUT", vaultHost, secret+query, public, `{"value":"kept"}`); status != 200 {
		t.Fatalf("setting a secret: %d %s", status, text)
	}
	if status, text := read("public", vaultHost, public); status != 200 || !strings.Contains(text, `"kept"`) {
		t.Errorf("reading it: %d %s", status, text)
	}

	if status, text := h.ask("private", "PATCH", "private.test", "/api/v1/vaults/payroll/network", h.token("private", "login.private.test", "https://private.test"+h.port("private")), `{"publicAccess":false,"defaultAction":"deny"}`); status != 200 {
		t.Fatalf("taking public access away: %d %s", status, text)
	}
	if status, text := read("public", vaultHost, public); status != 403 || !strings.Contains(text, "ForbiddenByConnection") {
		t.Errorf("public access is off, and the public listener answers %d %s", status, text)
	}
	// What a request says of itself changes nothing: the name is another's, the listener is the public one.
	if status, _ := read("public", "payroll.vault.private.test", public); status == 200 {
		t.Errorf("the private suffix works at the public listener: %d", status)
	}
	if status, text := read("private", vaultHost, public); status != 200 || !strings.Contains(text, `"kept"`) {
		t.Errorf("the private listener, by the usual name: %d %s", status, text)
	}
	private := h.token("private", "login.private.test", "https://vault.private.test")
	if status, text := read("private", "payroll.vault.private.test"+h.port("private"), private); status != 200 || !strings.Contains(text, "https://payroll.vault.private.test") {
		t.Errorf("the private listener, by its own name: %d %s", status, text)
	}
	native := "/api/v1/vaults/payroll/secrets/s"
	if status, _ := h.ask("public", "GET", "example.org", native, admin, ""); status != 403 {
		t.Errorf("the native API leads around the rule at the public listener: %d", status)
	}
	if status, _ := h.ask("admin", "GET", "example.org", native, admin, ""); status != 403 {
		t.Errorf("the administration listener is no private one, and answers %d", status)
	}
	if status, text := h.ask("private", "GET", "example.org", native, admin, ""); status != 200 {
		t.Errorf("the native API at the private listener: %d %s", status, text)
	}
}

// TestListenersServeWhatTheyAreFor asks each of them for what others serve.
func TestListenersServeWhatTheyAreFor(t *testing.T) {
	h := newHouse(t).start()
	for _, c := range []struct {
		listener, host, path string
		status               int
		want                 string
	}{
		{"admin", "example.org", "/healthz", 200, "ok"},
		{"admin", "example.org", "/readyz", 200, `"store","status":"ok"`},
		{"admin", "127.0.0.1", "/readyz", 200, "audit"},
		{"admin", "example.org", "/metrics", 200, "keywright_tls_certificate_expiry_seconds"},
		{"public", "example.org", "/metrics", 401, ""},
		{"public", "example.org", "/healthz", 200, "ok"},
		{"public", "login.example.org", "/adfs/.well-known/openid-configuration", 200, "issuer"},
		{"admin", "login.example.org", "/adfs/.well-known/openid-configuration", 200, "issuer"},
		{"public", "arm.example.org", "/metadata/endpoints?api-version=2022-09-01", 200, prodSuffix},
		{"plain", "pki.example.org", "/metrics", 404, ""},
		{"plain", "pki.example.org", "/ca/00000000000000000000000000000000/crl", 404, ""},
		{"identity", "evil.example", "/msi/token", 421, "localhost"},
	} {
		status, text := h.ask(c.listener, "GET", c.host, c.path, "", "")
		if status != c.status || !strings.Contains(text, c.want) {
			t.Errorf("%s%s at %s: %d %.200s, want %d with %s", c.host, c.path, c.listener, status, text, c.status, c.want)
		}
	}
	if log := h.log.String(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") {
		t.Errorf("a server with which nothing is wrong complains: %s", log)
	}
}

func TestStrangersDoNotReachThePrivateListener(t *testing.T) {
	h := newHouse(t)
	h.file.Listeners.Private.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	h.start()
	if status, text := h.ask("private", "GET", "example.org", "/healthz", "", ""); status != 0 {
		t.Errorf("loop-back is in none of the networks, and the private listener answers %d %s", status, text)
	}
	if status, _ := h.ask("public", "GET", "example.org", "/healthz", "", ""); status != 200 {
		t.Errorf("the public listener: %d", status)
	}
}

// TestCertificatesAreReplaced puts new pairs into the files, good and bad ones, and looks which is served.
func TestCertificatesAreReplaced(t *testing.T) {
	h := newHouse(t).start()
	serves := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", h.Addr("public").String(), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it is what is looked at
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	metric := func(want string) {
		t.Helper()
		if _, text := h.ask("admin", "GET", "example.org", "/metrics", "", ""); !strings.Contains(text, want+"\n") {
			t.Errorf("the metrics lack %s", want)
		}
	}
	look := func() error { h.t.Helper(); return h.certs.look() }
	first, roots := serves(), h.roots
	if err := look(); err != nil || serves() != first {
		t.Errorf("nothing changed: %v", err)
	}
	h.write("tls.crt", []byte("-----BEGIN CERTIFICATE-----\nbroken"), 0o644)
	if err := look(); err == nil || serves() != first {
		t.Errorf("a broken certificate: %v", err)
	}
	metric("keywright_tls_reload_failing 1")
	metric("keywright_tls_reloads_total 0")
	if log := h.log.String(); strings.Count(log, "certificate files do not work") != 1 {
		t.Errorf("the log has %s", log)
	}
	h.certify(time.Now().Add(-time.Minute))
	if err := look(); err == nil || !strings.Contains(err.Error(), "expired on") || serves() != first {
		t.Errorf("one that is over: %v", err)
	}
	h.certify(time.Now().Add(60 * 24 * time.Hour))
	h.write("tls.key", []byte("x"), 0o644)
	if err := look(); err == nil || serves() != first {
		t.Errorf("a key that others can read: %v", err)
	}
	h.roots = roots
	h.certify(time.Now().Add(60 * 24 * time.Hour))
	// Somebody asks, as SIGHUP does.
	h.reload <- os.Interrupt
	for end := time.Now().Add(time.Minute); serves() == first; {
		if time.Now().After(end) {
			t.Fatal("the new pair is not served")
		}
		time.Sleep(5 * time.Millisecond)
	}
	metric("keywright_tls_reload_failing 0")
	metric("keywright_tls_reloads_total 1")
}

// TestServersStartInSafeStatesOnly tries to start in states that cannot be kept safe.
func TestServersStartInSafeStatesOnly(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(h *house)
		want  string
	}{
		"nothing is there": {func(h *house) { os.RemoveAll(filepath.Join(h.dir, "data")) }, "run \"keywright init\""},
		"an empty directory": {func(h *house) {
			os.RemoveAll(filepath.Join(h.dir, "data"))
			os.Mkdir(filepath.Join(h.dir, "data"), 0o700)
		}, "not initialised"},
		"others may enter": {func(h *house) { os.Chmod(filepath.Join(h.dir, "data"), 0o755) }, "others can use the directory"},
		"the key is lost":  {func(h *house) { os.Remove(filepath.Join(h.dir, "seal.key")) }, "restore the file from its copy"},
		"the key is open":  {func(h *house) { os.Chmod(filepath.Join(h.dir, "seal.key"), 0o644) }, "can be used by others"},
		"another key": {func(h *house) {
			os.Remove(filepath.Join(h.dir, "seal.key"))
			c := SealConfig{KeyFiles: []string{filepath.Join(h.dir, "seal.key")}}
			c.Make(nil)
		}, "key file"},
		"a certificate that is over": {func(h *house) { h.certify(time.Now().Add(-time.Minute)) }, "expired on"},
		"an open key":                {func(h *house) { os.Chmod(filepath.Join(h.dir, "tls.key"), 0o644) }, "others can use the file"},
		"an address that is taken": {func(h *house) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				h.t.Fatal(err)
			}
			h.t.Cleanup(func() { l.Close() })
			h.file.Listeners.Public.Address = config.Address(l.Addr().String())
		}, "the listener public cannot have the address"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			c.spoil(h)
			p, err := Start(t.Context(), h.file, h.config(), nil)
			if err == nil {
				p.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if _, err := os.Stat(filepath.Join(h.dir, "seal.key")); name == "the key is lost" && err == nil {
				t.Error("a new key was made in place of the lost one")
			}
			if _, err := os.Stat(filepath.Join(h.dir, "data", storeDir)); name == "an empty directory" && err == nil {
				t.Error("a store was made where nothing was initialised")
			}
		})
	}
}

// TestInitResumes runs it in every state in which an earlier run may have died.
func TestInitResumes(t *testing.T) {
	initial := Initial{Tenant: "first", Subscription: "s", ResourceGroup: "g", Administrator: "ada@example.org", Life: time.Hour}
	open := func(t *testing.T, c Config) *core {
		t.Helper()
		if err := c.complete(); err != nil {
			t.Fatal(err)
		}
		c.mayMake = true
		n := namesFor("x.test", "")
		k, err := openCore(t.Context(), &c, n.issuerOf, "https://x.test", n.eventLinks("x.test"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { k.close(context.Background()) })
		return k
	}
	for name, before := range map[string]func(t *testing.T, c Config){
		"nothing":     func(*testing.T, Config) {},
		"a directory": func(_ *testing.T, c Config) { mkdir(c.Dir) },
		"a key": func(t *testing.T, c Config) {
			if _, _, err := c.Seal.Make(nil); err != nil {
				t.Fatal(err)
			}
		},
		"a root key": func(t *testing.T, c Config) { open(t, c).close(t.Context()) },
		"a tenant": func(t *testing.T, c Config) {
			k := open(t, c)
			if _, _, err := k.makeTenant(t.Context(), "first"); err != nil {
				t.Fatal(err)
			}
			k.close(t.Context())
		},
		"all but the answer": func(t *testing.T, c Config) {
			if _, err := Initialise(t.Context(), c, initial); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := Config{Dir: filepath.Join(dir, "data"), Seal: SealConfig{KeyFiles: []string{filepath.Join(dir, "seal.key")}}, AuditSegmentBytes: 1 << 20, AuditReserveBytes: 1 << 20}
			before(t, c)
			made, err := Initialise(t.Context(), c, initial)
			if err != nil {
				t.Fatal(err)
			}
			if resumed := name == "a tenant" || name == "all but the answer"; made.Resumed != resumed || made.UserName != "ada@example.org" {
				t.Errorf("%+v", made)
			}
			again, err := Initialise(t.Context(), c, initial)
			if err != nil || again.Tenant != made.Tenant || again.Administrator != made.Administrator || again.Enrolment == made.Enrolment {
				t.Fatalf("once more: %+v, %v", again, err)
			}
			other := initial
			other.Administrator = "eve@example.org"
			if _, err := Initialise(t.Context(), c, other); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "ada@example.org") {
				t.Errorf("somebody else gets the administrator's enrolment: %v", err)
			}
			k := open(t, c)
			count := 0
			if err := k.store.View(t.Context(), func(tx store.Tx) error {
				tenants, err := tx.Tenants(t.Context())
				count = len(tenants)
				return err
			}); err != nil || count != 1 {
				t.Errorf("%d tenants, %v", count, err)
			}
			request := identity.EnrolRequest{Tenant: vault.TenantID(made.Tenant), Code: made.Enrolment, Kind: "totp", Password: "correct horse battery"}
			if _, _, err := k.identity.PrepareEnrol(t.Context(), request); !fault.Is(err, fault.Unauthenticated) {
				t.Errorf("the enrolment before still counts: %v", err)
			}
			request.Code = again.Enrolment
			_, put, err := k.identity.PrepareEnrol(t.Context(), request)
			if err == nil {
				err = k.identity.Apply(t.Context(), nil, put)
			}
			if err != nil {
				t.Fatal(err)
			}
			k.close(t.Context())
			if _, err := Initialise(t.Context(), c, initial); !fault.Is(err, fault.Conflict) {
				t.Errorf("an administrator who enrolled is sent another: %v", err)
			}
			renew := initial
			renew.Renew = true
			if _, err := Initialise(t.Context(), c, renew); err != nil {
				t.Errorf("one who lost everything: %v", err)
			}
		})
	}
}

func TestInitialIsChecked(t *testing.T) {
	for _, i := range []Initial{{}, {Tenant: "t", Subscription: "s", ResourceGroup: "g", Life: time.Hour}, {Tenant: "t", Subscription: "s", ResourceGroup: "g", Administrator: "a"},
		{Tenant: "t", Subscription: "s", ResourceGroup: "g", Administrator: "a", Life: 365 * 24 * time.Hour}} {
		if err := i.check(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", i, err)
		}
	}
	if i := (&Initial{Administrator: "a@b"}); i.spec("t").Kind != principal.User {
		t.Error("a sign-in name is no person's")
	}
}

// find returns the findings of a check.
func find(findings []Finding, check string) (statuses []string) {
	for _, f := range findings {
		if f.Check == check {
			statuses = append(statuses, f.Status)
		}
		if f.Status != FindingOK && f.Do == "" {
			statuses = append(statuses, "nothing is said of what to do")
		}
	}
	return statuses
}

// TestDoctorFindsWhatIsWrong breaks one thing at a time.
func TestDoctorFindsWhatIsWrong(t *testing.T) {
	h := newHouse(t)
	write := func(public string) string {
		path := filepath.Join(h.dir, "keywright.yaml")
		h.write("keywright.yaml", []byte(`
directory: data
names: {suffix: `+prodSuffix+`}
listeners: {public: {address: "`+public+`"}, admin: {address: "127.0.0.1:0"}}
tls: {certificates: [{certificateFile: tls.crt, keyFile: tls.key}]}
seal: {keyFiles: [seal.key]}
audit: {segment: 1MiB, reserve: 1MiB}
`), 0o644)
		return path
	}
	path := write("127.0.0.1:0")
	check := func(what, check, want string) {
		t.Helper()
		findings := Examine(t.Context(), path)
		if got := strings.Join(find(findings, check), " "); got != want || Failed(findings) != strings.Contains(got, FindingFail) {
			t.Errorf("%s: the check %q says %q, want %q: %+v", what, check, got, want, findings)
		}
	}
	for _, name := range []string{"configuration", "directory", "durability", "certificates", "listener public", "store", "seal"} {
		check("all is well", name, FindingOK)
	}
	h.start()
	check("the server runs", "store", FindingOK)
	check("the server runs", "seal", FindingOK)
	path = write(h.Addr("public").String())
	check("the server runs", "listener public", FindingOK)
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	go func() {
		for {
			c, err := other.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	path = write(other.Addr().String())
	check("another program has the port", "listener public", FindingFail)
	path = write("127.0.0.1:0")
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(h.dir, "data")
	os.Chmod(data, 0o755)
	check("others may enter", "directory", FindingFail)
	os.Chmod(data, 0o700)
	h.certify(time.Now().Add(24 * time.Hour))
	check("a certificate ends soon", "certificates", FindingWarn)
	h.certify(time.Now().Add(-time.Hour))
	check("a certificate is over", "certificates", FindingFail)
	h.certify(time.Now().Add(30 * 24 * time.Hour))
	key := filepath.Join(h.dir, "seal.key")
	kept, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(key)
	check("the key is lost", "seal", FindingFail)
	if _, _, err := (&SealConfig{KeyFiles: []string{key}}).Make(nil); err != nil {
		t.Fatal(err)
	}
	check("another key", "seal", FindingFail)
	h.write("seal.key", kept, 0o600)
	check("the key is back", "seal", FindingOK)
	h.write("tls.key", []byte("x"), 0o644)
	check("an open key", "configuration", FindingFail)
	h.certify(time.Now().Add(30 * 24 * time.Hour))
	os.RemoveAll(data)
	check("before init", "store", FindingWarn)
	check("before init", "directory", FindingWarn)
	if _, err := os.Stat(data); err == nil {
		t.Error("the doctor made the directory")
	}
}

// TestDoctorOfASharedSeal looks at an installation that people open: nothing is wrong with it, and another seal in the configuration is found all the same.
func TestDoctorOfASharedSeal(t *testing.T) {
	h := newHouse(t)
	h.start()
	l := local(t, filepath.Join(h.dir, "data"))
	moved, err := l.MoveSeal(t.Context(), api.MoveSeal{Shares: 2, Threshold: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, share := range moved.Shares {
		if _, err := l.GiveShare(t.Context(), share); err != nil {
			t.Fatal(err)
		}
	}
	for seal, want := range map[string]string{"shares: true": FindingOK, "keyFiles: [seal.key]": FindingFail} {
		h.write("keywright.yaml", []byte("directory: data\nnames: {suffix: "+prodSuffix+"}\nlisteners: {public: {address: \"127.0.0.1:0\"}, admin: {address: \"127.0.0.1:0\"}}\n"+
			"tls: {certificates: [{certificateFile: tls.crt, keyFile: tls.key}]}\naudit: {segment: 1MiB, reserve: 1MiB}\nseal: {"+seal+"}\n"), 0o644)
		findings := Examine(t.Context(), filepath.Join(h.dir, "keywright.yaml"))
		if got := strings.Join(find(findings, "seal"), " "); got != want {
			t.Errorf("%s: %q, want %q: %+v", seal, got, want, findings)
		}
	}
}
