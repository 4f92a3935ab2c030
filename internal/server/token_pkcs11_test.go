//go:build pkcs11

package server

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/token/pkcs11"
)

const softPIN = "271828"

// softHSM makes a token of SoftHSM in a directory of its own and says how to open it.
func softHSM(t *testing.T) pkcs11.Config {
	t.Helper()
	const module = "/usr/lib/softhsm/libsofthsm2.so"
	_, missing := os.Stat(module)
	if _, err := exec.LookPath("softhsm2-util"); err != nil || missing != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("SoftHSM is not installed: scripts/deps installs it")
		}
		t.Skip("SKIPPED: no server was bound to a PKCS#11 token, because SoftHSM is not installed; scripts/deps installs it")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.Mkdir(filepath.Join(dir, "tokens"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"/tokens\nlog.level = ERROR\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "vaults", "--pin", softPIN, "--so-pin", "31415926").CombinedOutput(); err != nil {
		t.Fatalf("making a token: %v\n%s", err, out)
	}
	return pkcs11.Config{Module: module, Token: "vaults", PIN: softPIN, Sessions: 2}
}

// ask sends a request to the demo vault and reads the answer, which has to have the status.
func (x *target) ask(t *testing.T, status int, method, path, body string) map[string]any {
	t.Helper()
	r := x.send(method, x.namedVault(devVault)+path+"?api-version=7.6", x.token(t, x.vaultResource()), body)
	if r.status != status {
		t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	var out map[string]any
	if r.body != "" {
		if err := json.Unmarshal([]byte(r.body), &out); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func member(t *testing.T, in map[string]any, path ...string) string {
	t.Helper()
	for _, p := range path[:len(path)-1] {
		in, _ = in[p].(map[string]any)
	}
	s, ok := in[path[len(path)-1]].(string)
	if !ok {
		t.Fatalf("there is no %v in %v", path, in)
	}
	return s
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func unb64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestTokenBehindTheAPI(t *testing.T) {
	config := softHSM(t)
	dir := filepath.Join(t.TempDir(), "d")
	bound := func(c *DevConfig) { c.Token = config }
	x := startTargetIn(t, dir, bound)
	native := "https://" + x.names.api + x.names.port
	nativeToken := x.token(t, native)
	status := x.send("GET", native+"/api/v1/status", nativeToken, "")
	if status.status != http.StatusOK || !strings.Contains(status.body, `"label":"vaults"`) || !strings.Contains(status.body, `SoftHSM`) {
		t.Errorf("status: %d %s", status.status, status.body)
	}

	made := x.ask(t, 200, "POST", "/keys/signer/create", `{"kty":"RSA-HSM"}`)
	if kty, platform := member(t, made, "key", "kty"), member(t, made, "attributes", "hsmPlatform"); kty != "RSA-HSM" || platform != "0" {
		t.Errorf("kty %s, hsmPlatform %s: SoftHSM is no hardware", kty, platform)
	}
	if r := x.send("GET", native+"/api/v1/vaults/demo/keys/signer", nativeToken, ""); !strings.Contains(r.body, `"token":"vaults"`) || !strings.Contains(r.body, `"hardware":false`) {
		t.Errorf("the native API shows %s", r.body)
	}
	digest := sha256.Sum256([]byte("message"))
	signs := func(x *target, name, publicPEM string) {
		t.Helper()
		answer := x.ask(t, 200, "POST", "/keys/"+name+"/sign", fmt.Sprintf(`{"alg":"PS256","value":%q}`, b64(digest[:])))
		block, _ := pem.Decode([]byte(publicPEM))
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if err := rsa.VerifyPSS(public.(*rsa.PublicKey), crypto.SHA256, digest[:], unb64(t, member(t, answer, "value")), nil); err != nil {
			t.Error(err)
		}
	}
	var shown struct{ PublicKey string }
	if err := json.Unmarshal([]byte(x.send("GET", native+"/api/v1/vaults/demo/keys/signer", nativeToken, "").body), &shown); err != nil {
		t.Fatal(err)
	}
	signs(x, "signer", shown.PublicKey)

	// What is encrypted outside is decrypted in the token.
	sealed := x.ask(t, 200, "POST", "/keys/signer/encrypt", `{"alg":"RSA-OAEP","value":"`+b64([]byte("value"))+`"}`)
	opened := x.ask(t, 200, "POST", "/keys/signer/decrypt", `{"alg":"RSA-OAEP","value":"`+member(t, sealed, "value")+`"}`)
	if string(unb64(t, member(t, opened, "value"))) != "value" {
		t.Errorf("decrypted %v", opened)
	}
	x.ask(t, 200, "POST", "/keys/wrapper/create", `{"kty":"oct-HSM","key_size":256}`)
	wrapped := x.ask(t, 200, "POST", "/keys/wrapper/wrapkey", `{"alg":"A256KW","value":"`+b64(digest[:])+`"}`)
	unwrapped := x.ask(t, 200, "POST", "/keys/wrapper/unwrapkey", `{"alg":"A256KW","value":"`+member(t, wrapped, "value")+`"}`)
	if member(t, unwrapped, "value") != b64(digest[:]) {
		t.Errorf("unwrapped %v", unwrapped)
	}

	// A key from outside goes in, and does not come out.
	own, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	own.Precompute()
	x.ask(t, 200, "PUT", "/keys/brought", fmt.Sprintf(`{"Hsm":true,"key":{"kty":"RSA","n":%q,"e":"AQAB","d":%q,"p":%q,"q":%q,"dp":%q,"dq":%q,"qi":%q}}`, b64(own.N.Bytes()),
		b64(own.D.Bytes()), b64(own.Primes[0].Bytes()), b64(own.Primes[1].Bytes()), b64(own.Precomputed.Dp.Bytes()), b64(own.Precomputed.Dq.Bytes()), b64(own.Precomputed.Qinv.Bytes())))
	public, err := x509.MarshalPKIXPublicKey(&own.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	signs(x, "brought", string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})))
	for curve, alg := range map[string]string{"P-256": "ES256", "P-256K": "ES256K"} {
		x.ask(t, 200, "POST", "/keys/curve"+curve+"/create", `{"kty":"EC-HSM","crv":"`+curve+`"}`)
		answer := x.ask(t, 200, "POST", "/keys/curve"+curve+"/sign", fmt.Sprintf(`{"alg":%q,"value":%q}`, alg, b64(digest[:])))
		if verdict := x.ask(t, 200, "POST", "/keys/curve"+curve+"/verify", fmt.Sprintf(`{"alg":%q,"digest":%q,"value":%q}`, alg, b64(digest[:]), member(t, answer, "value"))); verdict["value"] != true {
			t.Errorf("%s: %v", curve, verdict)
		}
	}
	if r := x.send("POST", x.namedVault(devVault)+"/keys/signer/backup?api-version=7.6", x.token(t, x.vaultResource()), ""); r.status < 400 || !strings.Contains(r.body, `vaults`) {
		t.Errorf("a backup of a key in a token: %d %s", r.status, r.body)
	}

	// An authority signs in the token, and so does what it has signed.
	for _, c := range []struct{ name, policy string }{
		{"root", `"key_props":{"kty":"EC-HSM"},"x509_props":{"subject":"CN=Root"},"issuer":{"name":"Self","cty":"root"}`},
		{"web", `"key_props":{"kty":"RSA-HSM"},"x509_props":{"subject":"CN=web.example"},"issuer":{"name":"inside"}`},
	} {
		if c.name == "web" {
			if r := x.send("PUT", native+"/api/v1/vaults/demo/certificate-issuers/inside", nativeToken, `{"provider":"Keywright CA","options":{"certificate":"root"}}`); r.status != 200 {
				t.Fatalf("the issuer: %d %s", r.status, r.body)
			}
		}
		x.ask(t, 202, "POST", "/certificates/"+c.name+"/create", `{"policy":{`+c.policy+`}}`)
		if op := x.ask(t, 200, "GET", "/certificates/"+c.name+"/pending", ""); op["status"] != "completed" {
			t.Fatalf("%s: %v", c.name, op)
		}
		if r := x.send("GET", native+"/api/v1/vaults/demo/keys/"+c.name, nativeToken, ""); !strings.Contains(r.body, `"token":"vaults"`) {
			t.Errorf("the key of %s: %s", c.name, r.body)
		}
	}
	chain := func(name string) *x509.Certificate {
		found, err := base64.StdEncoding.DecodeString(member(t, x.ask(t, 200, "GET", "/certificates/"+name, ""), "cer"))
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(found)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if err := chain("web").CheckSignatureFrom(chain("root")); err != nil {
		t.Error(err)
	}

	// It protects another vault.
	x.newVault(x.estate.Tenant, x.estate.Subscription, devGroup, "billing")
	if r := x.send("PUT", native+"/api/v1/vaults/billing/encryption", nativeToken, `{"keyVault":"demo","key":"signer"}`); r.status != 200 {
		t.Fatalf("protecting a vault: %d %s", r.status, r.body)
	}
	app := person{x.estate.Tenant, x.estate.App, "", ""}
	x.grant(app, authz.VaultAdministrator)
	secret := native + "/api/v1/vaults/billing/secrets/password"
	if r := x.send("PUT", secret, nativeToken, `{"value":"hunter2"}`); r.status != 200 {
		t.Fatalf("setting: %d %s", r.status, r.body)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}

	// A server without the token says which it lacks; with it, all goes on.
	x = startTargetIn(t, dir, func(*DevConfig) {})
	if r := x.send("POST", x.namedVault(devVault)+"/keys/signer/sign?api-version=7.6", x.token(t, x.vaultResource()), fmt.Sprintf(`{"alg":"PS256","value":%q}`, b64(digest[:]))); r.status != 503 ||
		!strings.Contains(r.body, `vaults`) {
		t.Errorf("without the token: %d %s", r.status, r.body)
	}
	if r := x.send("GET", "https://"+x.names.api+x.names.port+"/api/v1/vaults/billing/secrets/password", x.token(t, "https://"+x.names.api+x.names.port), ""); r.status != 503 {
		t.Errorf("a vault that a key in the token protects: %d %s", r.status, r.body)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	x = startTargetIn(t, dir, bound)
	signs(x, "signer", shown.PublicKey)
	if r := x.send("GET", "https://"+x.names.api+x.names.port+"/api/v1/vaults/billing/secrets/password", x.token(t, "https://"+x.names.api+x.names.port), ""); r.status != 200 || !strings.Contains(r.body, "hunter2") {
		t.Errorf("%d %s", r.status, r.body)
	}
	// A purged key is in the token no more.
	before := keysIn(t, config)
	x.ask(t, 200, "DELETE", "/keys/brought", "")
	x.ask(t, 204, "DELETE", "/deletedkeys/brought", "")
	if after := keysIn(t, config); after >= before {
		t.Errorf("%d objects are in the token, of %d before the purge", after, before)
	}
	if strings.Contains(x.log.String(), softPIN) {
		t.Error("the PIN is in the log")
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	config.PIN = "000000"
	if _, err := StartDev(t.Context(), DevConfig{Listen: "127.0.0.1:0", Config: Config{Dir: dir, AuditReserveBytes: 1 << 20, AuditSegmentBytes: 1 << 20, Token: config}}); err == nil ||
		!strings.Contains(err.Error(), "PIN") || strings.Contains(err.Error(), "000000") {
		t.Errorf("a wrong PIN: %v", err)
	}
}

// keysIn counts the files of the token's objects.
func keysIn(t *testing.T, c pkcs11.Config) (n int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(filepath.Dir(os.Getenv("SOFTHSM2_CONF")), "tokens", "*", "*.object"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}
