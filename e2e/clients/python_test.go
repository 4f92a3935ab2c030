package clients_test

import (
	"encoding/json"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/e2e/blobfake"
)

// debianPython is the interpreter that Debian's packages are installed for, whatever other ones a machine has.
const debianPython = "/usr/bin/python3"

func TestPython(t *testing.T)            { testPython(t, named) }
func TestPythonPublicNames(t *testing.T) { testPython(t, public) }

func testPython(t *testing.T, c cloud) {
	if out, err := exec.Command(debianPython, "-c", "import azure.identity, azure.keyvault.secrets, azure.keyvault.keys, azure.keyvault.certificates, azure.keyvault.administration").CombinedOutput(); err != nil {
		missing(t, "the Azure SDK for Python is not installed (as root: apt-get install --no-install-recommends python3-azure): %v %s", err, out)
	}
	if !enter(t, c) {
		return
	}
	s := start(t, c)
	dir, err := filepath.Abs("python")
	if err != nil {
		t.Fatal(err)
	}
	python := func(t *testing.T, env map[string]string, args ...string) string {
		cmd := exec.CommandContext(t.Context(), debianPython, args...)
		env["PYTHONDONTWRITEBYTECODE"] = "1"
		cmd.Dir, cmd.Env = dir, lines(env)
		return runClient(t, cmd)
	}
	for _, suite := range []string{"secrets", "keys", "certificates"} {
		t.Run(suite, func(t *testing.T) {
			env := s.environment(bySecret)
			env["STRANGER_ID"], env["STRANGER_SECRET"] = s.strangerID, s.strangerSecret
			allPassed(t, python(t, env, "-W", "ignore::ResourceWarning", "-m", "unittest", "-v", "test_"+suite), `(?m)^Ran (\d+) tests`)
		})
	}
	if !c.public {
		// What is administered does not depend on names.
		t.Run("administration", func(t *testing.T) { s.pythonAdministration(t, python) })
	}
	if !c.public {
		t.Run("vault without a name", func(t *testing.T) {
			env := s.environment(bySecret)
			env["VAULT_URL"] = s.env["AZURE_KEYVAULT_URL"]
			python(t, env, "signin.py", "write", "environment")
		})
	}
	for _, run := range []struct {
		way         signIn
		what        string
		credentials []string
	}{
		{bySecret, "write", []string{"secret", "environment", "default", "tenant-id"}},
		{byCertificate, "write", []string{"certificate", "environment", "default"}},
		{byWorkload, "write", []string{"managed", "default"}},
		{byAppService, "read", []string{"managed", "default"}},
		{byMetadata, "read", []string{"managed", "default"}},
	} {
		t.Run(string(run.way), func(t *testing.T) {
			out := python(t, s.environment(run.way), append([]string{"signin.py", run.what}, run.credentials...)...)
			if got := strings.Count(out, " ok\n"); got != len(run.credentials) {
				t.Errorf("%d of %d credentials were tried", got, len(run.credentials))
			}
		})
	}
}

// pythonAdministration runs the suite of the administration API.
func (s *server) pythonAdministration(t *testing.T, python func(*testing.T, map[string]string, ...string) string) {
	storage := httptest.NewServer(blobfake.New())
	defer storage.Close()
	env := s.environment(bySecret)
	env["STRANGER_ID"], env["STRANGER_SECRET"], env["STRANGER_OBJECT"] = s.strangerID, s.strangerSecret, s.objectID(t, s.strangerID)
	env["STORAGE_URL"], env["SIGNATURE"] = storage.URL+"/copies", blobfake.Signature
	allPassed(t, python(t, env, "-W", "ignore::ResourceWarning", "-m", "unittest", "-v", "test_administration"), `(?m)^Ran (\d+) tests`)
}

// objectID is the object id of an application.
func (s *server) objectID(t *testing.T, appID string) string {
	t.Helper()
	var shown struct{ ID string }
	if err := json.Unmarshal([]byte(s.keywright(t, "", "principal", "show", appID, "-o", "json")), &shown); err != nil || shown.ID == "" {
		t.Fatalf("the principal %s has no id: %v", appID, err)
	}
	return shown.ID
}
