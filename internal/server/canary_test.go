package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"io/fs"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/keyring/harden"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
)

// canaries are the values that must not be seen, by what they are.
type canaries map[string]string

// shapes are the ways in which a value could be written. Base64 depends on where in its group of three bytes the value
// begins, so the middle of each of the three is looked for.
func shapes(value string) map[string]string {
	found := map[string]string{"as it is": value, "in hexadecimal": hex.EncodeToString([]byte(value)), "in capital hexadecimal": strings.ToUpper(hex.EncodeToString([]byte(value)))}
	for offset := range 3 {
		padded := strings.Repeat("\x00", offset) + value
		text := base64.RawURLEncoding.EncodeToString([]byte(padded))
		text = text[4 : len(text)-4]
		found["in base64url"+strings.Repeat("+", offset)] = text
		found["in base64"+strings.Repeat("+", offset)] = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	}
	if escaped, err := json.Marshal(value); err == nil {
		found["in JSON"] = string(escaped[1 : len(escaped)-1])
	}
	found["in a URL"] = url.QueryEscape(value)
	return found
}

// in fails the test when a canary is in the text, but for those of the allowed kinds.
func (c canaries) in(t *testing.T, where string, text []byte, allowed ...string) {
	t.Helper()
next:
	for what, value := range c {
		for _, a := range allowed {
			if a == what {
				continue next
			}
		}
		for shape, s := range shapes(value) {
			if i := bytes.Index(text, []byte(s)); i >= 0 {
				t.Errorf("%s holds %s %s at byte %d", where, what, shape, i)
				break
			}
		}
	}
}

// files looks through everything below the server's directory.
func (c canaries) files(t *testing.T, dir string) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		n++
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if d.Name() == envFile {
			c.in(t, d.Name(), raw, "the client secret", "the identity header")
			return nil
		}
		c.in(t, path, raw)
		return nil
	})
	if err != nil || n < 5 {
		t.Fatalf("looked through %d files: %v", n, err)
	}
}

func random() string {
	return "canary-" + strings.ToLower(rand.Text()) + strings.ToLower(rand.Text())
}

func TestCanariesAreNeverSeen(t *testing.T) {
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50") // milliseconds after which spans are sent: the end waits a second for them at most
	traced, endpoint := startCollector(t)
	x := startTracedTarget(t, endpoint)
	ctx, at := t.Context(), x.fronts()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := canaries{"a secret's value": random(), "an older value": random(), "a value that was refused": random(), "a value of bytes": random() + "\xff\x00", "a stranger's value": random(),
		"a certificate's key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), "a password": random(), "a wrong client secret": random(),
		"a token of nonsense": random(), "the client secret": x.variable("AZURE_CLIENT_SECRET"), "the identity header": x.variable("IDENTITY_HEADER")}
	private, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	refusedKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	refusedPrivate, err := refusedKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	c["a private key"], c["a private key that was refused"], c["what a key encrypted"], c["a password of an issuer"] = string(private), string(refusedPrivate), random(), random()
	admin, api := x.token(t, at["azure"].resource), x.token(t, at["native"].resource)
	person := x.newPerson(x.estate.Tenant, "person")
	stranger := x.tokenOf(person, at["azure"].resource)
	c["the token"], c["the token of the API"], c["the stranger's token"], c["the stranger's client secret"] = admin, api, stranger, person.secret.Reveal()
	user, put, err := x.core.identity.PreparePrincipal(identity.Spec{Tenant: x.estate.Tenant, Kind: principal.User, Name: "Ada", UPN: "ada@example.org"})
	if err != nil {
		t.Fatal(err)
	}
	x.change(func(tx store.Tx) error { return put(ctx, tx) })
	seed, _, put, err := x.core.identity.PrepareTOTP(ctx, x.estate.Tenant, user, "phone")
	if err != nil {
		t.Fatal(err)
	}
	x.change(func(tx store.Tx) error { return put(ctx, tx) })
	if u, err := url.Parse(seed.Reveal()); err == nil && u.Query().Get("secret") != "" {
		c["a TOTP seed"] = u.Query().Get("secret")
	} else {
		c["a TOTP seed"] = seed.Reveal()
	}
	setPassword, err := x.core.identity.PreparePassword(ctx, x.estate.Tenant, user.ID, redact.String(c["a password"]))
	if err != nil {
		t.Fatal(err)
	}
	x.change(func(tx store.Tx) error { return setPassword(ctx, tx) })

	// visible are the answers in which a value is looked for; those that were asked for a value are not among them.
	var visible bytes.Buffer
	do := func(want int, method, target, token, body string) reply {
		t.Helper()
		r := x.send(method, target, token, body)
		if r.status != want {
			t.Errorf("%s %s: %d %.200s; want %d", method, target, r.status, r.body, want)
		}
		if r.status >= 400 || method != "GET" && method != "PUT" {
			visible.WriteString(r.body)
			for name, values := range r.header {
				visible.WriteString(name + ": " + strings.Join(values, ",") + "\n")
			}
		}
		return r
	}
	quote := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	base, v := at["azure"].base, "?api-version=7.6"
	do(200, "PUT", base+"/secrets/s"+v, admin, `{"value":`+quote(c["an older value"])+`,"tags":{"a":"b"}}`)
	do(200, "PUT", base+"/secrets/s"+v, admin, `{"value":`+quote(c["a secret's value"])+`}`)
	do(200, "PUT", base+"/secrets/cert"+v, admin, `{"value":`+quote(c["a certificate's key"])+`,"contentType":"application/x-pem-file"}`)
	do(200, "PUT", at["native"].base+"/api/v1/vaults/demo/secrets/bytes", api, `{"valueBase64":"`+base64.StdEncoding.EncodeToString([]byte(c["a value of bytes"]))+`"}`)
	for _, name := range []string{"s", "cert", "s/", "s/versions"} {
		do(200, "GET", base+"/secrets/"+name+v, admin, "")
	}
	do(200, "GET", at["native"].base+"/api/v1/vaults/demo/secrets/bytes", api, "")
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	jwk := func(d []byte) string {
		return `{"key":{"kty":"EC","crv":"P-256","x":"` + b64(point[1:33]) + `","y":"` + b64(point[33:]) + `","d":"` + b64(d) + `"}}`
	}
	do(200, "PUT", base+"/keys/k"+v, admin, jwk(private))
	do(400, "PUT", base+"/keys/k"+v, admin, jwk(refusedPrivate))
	do(403, "PUT", base+"/keys/k"+v, stranger, jwk(refusedPrivate))
	do(200, "PUT", at["native"].base+"/api/v1/vaults/demo/keys/der", api, `{"pkcs8":"`+base64.StdEncoding.EncodeToString(der)+`"}`)
	do(200, "GET", at["native"].base+"/api/v1/vaults/demo/keys/der", api, "")
	do(200, "POST", base+"/keys/k/sign"+v, admin, `{"alg":"ES256","value":"`+b64(make([]byte, 32))+`"}`)
	do(400, "POST", base+"/keys/k/sign"+v, admin, `{"alg":"ES256","value":"`+b64([]byte(c["what a key encrypted"]))+`"}`)
	do(200, "GET", base+"/keys/k"+v, admin, "")
	do(200, "POST", base+"/keys/k/rotate"+v, admin, "")
	do(200, "POST", base+"/keys/oct/create"+v, admin, `{"kty":"oct"}`)
	sealed := do(200, "POST", base+"/keys/oct/encrypt"+v, admin, `{"alg":"A256GCM","value":"`+b64([]byte(c["what a key encrypted"]))+`"}`)
	var conceal struct{ Value, IV, Tag string }
	if err := json.Unmarshal([]byte(sealed.body), &conceal); err != nil {
		t.Fatal(err)
	}
	if opened := x.send("POST", base+"/keys/oct/decrypt"+v, admin, `{"alg":"A256GCM","value":"`+conceal.Value+`","iv":"`+conceal.IV+`","tag":"`+conceal.Tag+`"}`); !strings.Contains(opened.body, b64([]byte(c["what a key encrypted"]))) {
		t.Errorf("decrypting: %+v", opened)
	}
	kept := do(200, "POST", base+"/keys/k/backup"+v, admin, "")
	do(200, "DELETE", base+"/keys/k"+v, admin, "")
	do(204, "DELETE", base+"/deletedkeys/k"+v, admin, "")
	do(200, "POST", base+"/keys/restore"+v, admin, kept.body)
	chain := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: selfSigned(t, key)}))
	file := c["a certificate's key"] + chain
	do(200, "POST", base+"/certificates/brought/import"+v, admin, `{"value":`+quote(file)+`}`)
	do(400, "POST", base+"/certificates/refused/import"+v, admin, `{"value":`+quote(file)+`,"policy":{"secret_props":{"contentType":"text/plain"}}}`)
	do(400, "POST", base+"/certificates/refused/import"+v, admin, `{"value":`+quote(c["a certificate's key"])+`}`)
	do(403, "POST", base+"/certificates/refused/import"+v, stranger, `{"value":`+quote(file)+`}`)
	do(200, "PUT", at["native"].base+"/api/v1/vaults/demo/certificates/brought-too", api, `{"file":"`+base64.StdEncoding.EncodeToString([]byte(file))+`"}`)
	do(400, "PUT", at["native"].base+"/api/v1/vaults/demo/certificates/refused", api, `{"file":"MIIB","password":`+quote(c["a password"])+`}`)
	do(200, "GET", base+"/certificates/brought"+v, admin, "")
	do(200, "GET", base+"/secrets/brought"+v, admin, "")
	do(202, "POST", base+"/certificates/brought/create"+v, admin, `{"policy":{"issuer":{"name":"Self"},"key_props":{"kty":"EC","reuse_key":true},"x509_props":{"subject":"CN=again"}}}`)
	keptCertificate := do(200, "POST", base+"/certificates/brought/backup"+v, admin, "")
	do(200, "DELETE", base+"/certificates/brought"+v, admin, "")
	do(204, "DELETE", base+"/deletedcertificates/brought"+v, admin, "")
	do(200, "POST", base+"/certificates/restore"+v, admin, keptCertificate.body)
	do(200, "PUT", base+"/certificates/issuers/ca"+v, admin, `{"provider":"DigiCert","credentials":{"account_id":"a","pwd":"`+b64([]byte(c["a password of an issuer"]))+`"}}`)
	do(200, "GET", base+"/certificates/issuers/ca"+v, admin, "")
	do(202, "POST", base+"/certificates/authority/create"+v, admin, `{"policy":{"issuer":{"name":"Self","cty":"root"},"x509_props":{"subject":"CN=authority"}}}`)
	do(200, "PUT", base+"/certificates/issuers/own"+v, admin, `{"provider":"Keywright CA","keywright_settings":{"certificate":"authority"}}`)
	rule := at["native"].base + "/api/v1/vaults/demo/certificate-issuers/own/access-rules/r"
	var made struct{ MACKey string }
	if err := json.Unmarshal([]byte(do(200, "PUT", rule, api, `{"domains":["a.example"]}`).body), &made); err != nil {
		t.Fatal(err)
	}
	mac, err := base64.RawURLEncoding.DecodeString(made.MACKey)
	if err != nil || len(mac) != 32 {
		t.Fatalf("a MAC key of %d bytes, %v", len(mac), err)
	}
	c["a MAC key"], c["the bytes of a MAC key"] = made.MACKey, string(mac)
	visible.WriteString(do(200, "PUT", rule, api, `{"domains":["b.example"]}`).body + do(200, "GET", rule, api, "").body)
	visible.WriteString(do(200, "GET", at["acme"].base+"/acme/demo/own/directory", "", "").body)
	do(200, "PATCH", base+"/secrets/s"+v, admin, `{"attributes":{"enabled":false}}`)
	do(403, "GET", base+"/secrets/s"+v, admin, "")
	do(200, "PATCH", base+"/secrets/s"+v, admin, `{"attributes":{"enabled":true}}`)
	blob := do(200, "POST", base+"/secrets/s/backup"+v, admin, "")
	do(409, "POST", base+"/secrets/restore"+v, admin, blob.body)
	do(200, "DELETE", base+"/secrets/s"+v, admin, "")
	do(404, "GET", base+"/secrets/s"+v, admin, "")
	do(409, "PUT", base+"/secrets/s"+v, admin, `{"value":`+quote(c["a value that was refused"])+`}`)
	do(200, "POST", base+"/deletedsecrets/s/recover"+v, admin, "")
	do(200, "DELETE", base+"/secrets/s"+v, admin, "")
	do(204, "DELETE", base+"/deletedsecrets/s"+v, admin, "")
	do(200, "POST", base+"/secrets/restore"+v, admin, blob.body)
	do(400, "POST", base+"/secrets/restore"+v, admin, `{"value":"`+base64.RawURLEncoding.EncodeToString([]byte(c["a value that was refused"]))+`"}`)

	// Every way to be refused, with something that must not come back.
	refused := c["a value that was refused"]
	for _, body := range []string{`{"value":` + quote(refused), `{"value":{"` + refused + `":1}}`, refused, `"` + refused + `"`, `{"value":"` + strings.Repeat(refused, 600) + `"}`,
		`{"value":"x","attributes":{"exp":"` + refused + `"}}`, `{"value":"` + refused + `","tags":{"":"x"}}`, `{"value":"` + refused + `","attributes":{"nbf":-1}}`,
		`{"value":"` + refused + "\xff" + `"}`, `{"value":"` + refused + `","contentType":"` + strings.Repeat("y", 300) + `"}`, `["` + refused + `"]`} {
		do(400, "PUT", base+"/secrets/s"+v, admin, body)
		mine := strings.NewReplacer(`"attributes":{"exp":"`+refused+`"}`, `"expires":"`+refused+`"`, `"attributes":{"nbf":-1}`, `"notBefore":"`+refused+`"`).Replace(body)
		do(400, "PUT", at["native"].base+"/api/v1/vaults/demo/secrets/s", api, mine)
	}
	do(413, "PUT", base+"/secrets/s"+v, admin, `{"value":"`+strings.Repeat(refused, 6000)+`"}`)
	do(403, "PUT", base+"/secrets/s"+v, stranger, `{"value":`+quote(c["a stranger's value"])+`}`)
	do(401, "PUT", base+"/secrets/s"+v, "", `{"value":`+quote(c["a stranger's value"])+`}`)
	do(401, "GET", base+"/secrets/s"+v, c["a token of nonsense"], "")
	do(401, "GET", base+"/secrets/s"+v, admin+"x", "")
	do(401, "GET", at["native"].base+"/api/v1/status", admin, "")
	do(405, "BREW", base+"/secrets/s"+v, admin, refused)
	form := func(secret string) string {
		return url.Values{"grant_type": {"client_credentials"}, "client_id": {person.app}, "client_secret": {secret}, "scope": {at["azure"].resource + "/.default"}}.Encode()
	}
	for _, body := range []string{form(c["a wrong client secret"]), form(c["a wrong client secret"]) + "%zz", "grant_type=" + c["a password"], "client_assertion=" + c["a token of nonsense"]} {
		r, err := http.NewRequestWithContext(ctx, "POST", at["oauth"].base+"/adfs/oauth2/token", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if answer := x.roundTrip(r); answer.status >= 400 {
			visible.WriteString(answer.body)
		} else {
			t.Errorf("a token for %q: %d", body, answer.status)
		}
	}
	for _, path := range []string{"/api/v1/audit/records?limit=1000", "/api/v1/audit/records", "/api/v1/audit/export?format=azure", "/api/v1/audit/export?format=ocsf", "/api/v1/status", "/api/v1/vaults/demo/secrets", "/api/v1/principals", "/openapi.json"} {
		r := x.send("GET", at["native"].base+path, api, "")
		if r.status != 200 && !strings.Contains(path, "limit") {
			t.Errorf("%s: %d %.200s", path, r.status, r.body)
		}
		visible.WriteString(r.body)
	}
	resp, err := http.Get(x.variable("KEYWRIGHT_METRICS_URL")) //nolint:noctx // loop-back, at once
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !bytes.Contains(metrics, []byte("keywright_")) {
		t.Fatalf("metrics: %.100s, %v", metrics, err)
	}
	c.in(t, "the metrics page", metrics)
	c.in(t, "an answer", visible.Bytes())
	argv, err := os.ReadFile("/proc/self/cmdline")
	if err == nil {
		c.in(t, "the command line", argv)
	}
	for _, text := range []string{"s", "cert", "secrets"} { // the search finds what is there
		if !strings.Contains(visible.String(), text) {
			t.Errorf("the answers do not even hold %q", text)
		}
	}
	c.files(t, x.dir)
	for _, name := range []string{"azure SecretSet", "azure SecretGet", "azure SecretRestore", "native SecretSet", "store update", "keyring view", "audit append"} {
		await(t, "the span "+name, func() bool { return traced.has(name) })
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	c.in(t, "the traces", traced.bytes())
	c.files(t, x.dir)
	c.in(t, "the log", []byte(x.log.String()))
}

// TestTheSearchFindsCanaries proves that the test above would see one.
func TestTheSearchFindsCanaries(t *testing.T) {
	value := random()
	for name, text := range map[string]string{"plain": "x" + value + "y", "hex": hex.EncodeToString([]byte("ab" + value)), "base64": base64.StdEncoding.EncodeToString([]byte("a" + value + "bc")),
		"base64url": base64.RawURLEncoding.EncodeToString([]byte("ab" + value)), "third offset": base64.StdEncoding.EncodeToString([]byte("abc" + value + "d"))} {
		found := false
		for _, s := range shapes(value) {
			found = found || strings.Contains(text, s)
		}
		if !found {
			t.Errorf("%s is not seen", name)
		}
	}
}

// crashVariable makes the test binary a server that dies by the signal named in it.
const crashVariable = "KEYWRIGHT_TEST_CRASH"

func TestCrashesLeaveNoCore(t *testing.T) {
	if sig := os.Getenv(crashVariable); sig != "" {
		crash(t, sig)
		return
	}
	for _, sig := range []string{"SEGV", "ABRT", "QUIT"} {
		dir := t.TempDir()
		value := random()
		child := exec.Command("sh", "-c", `ulimit -c unlimited 2>/dev/null; exec "$@"`, "sh", os.Args[0], "-test.run=^TestCrashesLeaveNoCore$")
		child.Dir = dir
		child.Env = append(os.Environ(), crashVariable+"="+sig, "KEYWRIGHT_TEST_VALUE="+value, "GOTRACEBACK=crash")
		out, err := child.CombinedOutput()
		if err == nil || !bytes.Contains(out, []byte("about to crash")) {
			t.Fatalf("%s: the child ended with %v:\n%s", sig, err, out)
		}
		if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.CoreDump() {
			t.Errorf("%s: the kernel dumped a core", sig)
		}
		if !bytes.Contains(out, []byte("core limit 0")) {
			t.Errorf("%s: the server left its core limit as it was:\n%.300s", sig, out)
		}
		canaries{"the value": value}.in(t, "what the dying process wrote", out)
		left, err := filepath.Glob(filepath.Join(dir, "*core*"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: it left %v, %v", sig, left, err)
		}
		canaries{"the value": value}.files(t, filepath.Join(dir, "d"))
	}
}

// crash hardens itself as the command does, starts a server, stores and reads the value, and kills itself.
func crash(t *testing.T, sig string) {
	if err := harden.Process(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	d := startDev(t, filepath.Join(dir, "d"))
	value := os.Getenv("KEYWRIGHT_TEST_VALUE")
	caller := d.azure(t)
	for range 3 {
		caller.do("PUT", "/secrets/s?api-version=7.6", `{"value":"`+value+`"}`)
		if _, body := caller.do("GET", "/secrets/s?api-version=7.6", ""); !strings.Contains(body, value) {
			t.Fatal(body)
		}
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		t.Fatal(err)
	}
	os.Stderr.WriteString("core limit " + map[bool]string{true: "0", false: "not 0"}[limit.Cur == 0] + "\nabout to crash\n")
	if err := syscall.Kill(os.Getpid(), map[string]syscall.Signal{"SEGV": syscall.SIGSEGV, "ABRT": syscall.SIGABRT, "QUIT": syscall.SIGQUIT}[sig]); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Second) // the signal comes first
}

// selfSigned is a certificate for a key.
func selfSigned(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "brought.example"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
