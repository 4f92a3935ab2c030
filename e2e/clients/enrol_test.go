package clients_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// enrolment is what clients may sign in with beside dev.env.
type enrolment struct {
	// certificateFile holds the application's private key and its certificate, as az ad sp create-for-rbac writes them.
	certificateFile string
	// tokenFile holds a token of the trusted issuer, as a Kubernetes projected volume would.
	tokenFile string
	// stranger is an application of the tenant that has no role.
	strangerID, strangerSecret string
	// A user with a password and a code generator (seed) who may read everything of the subscription, and the values of its
	// secrets.
	upn, password, seed string
}

// keywright runs the command line with dev.env, as an administrator would, and returns what it prints.
func (s *server) keywright(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Getenv(binaryVariable), args...)
	// A command has done its work when it ends: the race detector need not wait a second for what others of its goroutines still do.
	env := map[string]string{"PATH": os.Getenv("PATH"), "HOME": filepath.Dir(s.dir), "GORACE": "atexit_sleep_ms=10"}
	maps.Copy(env, s.env)
	cmd.Env, cmd.Stdin = lines(env), strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("keywright %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// enrol gives the application of dev.env a certificate and a federation, and makes a stranger and a person.
func enrol(t *testing.T, s *server) enrolment {
	t.Helper()
	dir, app := t.TempDir(), s.env["AZURE_CLIENT_ID"]
	e := enrolment{certificateFile: filepath.Join(dir, "app.pem"), tokenFile: filepath.Join(dir, "token"), upn: "ada@example.org",
		password: "correct horse battery"}

	certificate := filepath.Join(dir, "certificate.pem")
	newCertificate(t, e.certificateFile, certificate)
	s.keywright(t, "", "principal", "credential", "add", app, "--kind", "certificate", "--certificate", certificate)

	issuer := newIssuer(t)
	write(t, e.tokenFile, issuer.token(t, workloadSubject)+"\n")
	ca := filepath.Join(dir, "issuer-ca.pem")
	write(t, ca, issuer.ca())
	s.keywright(t, "", "principal", "issuer", "add", issuer.URL, "--issuer-ca-file", ca)
	s.keywright(t, "", "principal", "credential", "add", app, "--kind", "federation", "--issuer", issuer.URL, "--subject", workloadSubject)

	var stranger struct{ AppID string }
	if err := json.Unmarshal([]byte(s.keywright(t, "", "principal", "create", "stranger", "-o", "json")), &stranger); err != nil || stranger.AppID == "" {
		t.Fatalf("the new principal has no client id: %v", err)
	}
	e.strangerID, e.strangerSecret = stranger.AppID, s.keywright(t, "", "principal", "credential", "add", stranger.AppID)

	s.keywright(t, "", "principal", "create", "Ada", "--kind", "user", "--upn", e.upn)
	s.keywright(t, e.password, "principal", "credential", "set-password", e.upn, "--value-from-stdin")
	generator := must(url.Parse(s.keywright(t, "", "principal", "credential", "add", e.upn, "--kind", "totp")))(t)
	e.seed = generator.Query().Get("secret")
	for _, role := range []string{"Reader", "Key Vault Secrets User"} {
		s.keywright(t, "", "grant", "create", "--role", role, "--principal", e.upn, "--scope", "/subscriptions/"+s.env["KEYWRIGHT_SUBSCRIPTION_ID"])
	}
	return e
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// newCertificate writes a key with its self-signed certificate to one file, and the certificate alone to another.
func newCertificate(t *testing.T, both, alone string) {
	t.Helper()
	key := must(rsa.GenerateKey(rand.Reader, 2048))(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "client"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key))(t)
	private := must(x509.MarshalPKCS8PrivateKey(key))(t)
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, alone, certificate)
	write(t, both, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))+certificate)
}
