package clients_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/keywright/keywright/e2e/npm"
)

func TestJavaScript(t *testing.T)            { testJavaScript(t, named) }
func TestJavaScriptPublicNames(t *testing.T) { testJavaScript(t, public) }

func testJavaScript(t *testing.T, c cloud) {
	modules(t)
	if !enter(t, c) {
		return
	}
	s := start(t, c)
	dir := t.TempDir()
	if err := npm.Lay(npm.Config{Package: "js"}, os.Getenv(modulesVariable), dir, "client.js", "signin.js", "secrets.test.js", "keys.test.js", "certificates.test.js"); err != nil {
		t.Fatal(err)
	}
	node := func(t *testing.T, env map[string]string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), "node", args...)
		cmd.Dir, cmd.Env = dir, lines(env)
		return runClient(t, cmd)
	}
	t.Run("secrets", func(t *testing.T) {
		env := s.environment(bySecret)
		env["STRANGER_ID"], env["STRANGER_SECRET"] = s.strangerID, s.strangerSecret
		out := node(t, env, "--test", "--test-reporter=tap", "secrets.test.js")
		allPassed(t, out, `(?m)^# pass (\d+)$`)
	})
	t.Run("keys", func(t *testing.T) {
		a := newAttestor(t)
		a.trusted(t, s)
		env := s.environment(bySecret)
		env["ATTESTATION"], env["RELEASE_POLICY"] = a.token(t, a.key, "azure-compliant-cvm"), string(a.policy())
		env["BAD_ATTESTATION"] = a.token(t, a.key, "none")
		env["ENVIRONMENT_KEY"] = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: must(x509.MarshalPKCS8PrivateKey(a.environment))(t)}))
		out := node(t, env, "--test", "--test-reporter=tap", "keys.test.js")
		allPassed(t, out, `(?m)^# pass (\d+)$`)
	})
	t.Run("certificates", func(t *testing.T) {
		out := node(t, s.environment(bySecret), "--test", "--test-reporter=tap", "certificates.test.js")
		allPassed(t, out, `(?m)^# pass (\d+)$`)
	})
	for _, run := range []struct {
		way         signIn
		what        string
		credentials []string
	}{
		{bySecret, "write", []string{"secret", "environment", "default", "tenantId"}},
		{byCertificate, "write", []string{"certificate", "certificateText", "environment", "default"}},
		{byWorkload, "write", []string{"workload", "default"}},
		{byAppService, "read", []string{"managed", "default"}},
		{byMetadata, "read", []string{"managed", "default"}},
	} {
		t.Run(string(run.way), func(t *testing.T) {
			out := node(t, s.environment(run.way), append([]string{"signin.js", run.what}, run.credentials...)...)
			if got := strings.Count(out, " ok\n"); got != len(run.credentials) {
				t.Errorf("%d of %d credentials were tried", got, len(run.credentials))
			}
		})
	}
}

// modules installs the packages outside the namespace, where there is a registry, and leaves their place to the copy inside.
func modules(t *testing.T) {
	t.Helper()
	if os.Getenv(modulesVariable) != "" {
		return
	}
	if err := os.Setenv(modulesVariable, npm.Modules(t, "js")); err != nil {
		t.Fatal(err)
	}
}

// allPassed makes sure that a test program ran something and skipped nothing.
func allPassed(t *testing.T, out, passed string) {
	t.Helper()
	found := regexp.MustCompile(passed).FindStringSubmatch(out)
	if found == nil || found[1] == "0" {
		t.Errorf("no test of it was run")
	}
	if regexp.MustCompile(`(?i)# skipped [1-9]|skipped=[1-9]`).MatchString(out) {
		t.Error("it skipped tests")
	}
}
