package main

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/e2e/process"
)

func TestReadEnv(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dev.env")
	if _, err := readEnv(path); err == nil {
		t.Error("a missing file gave no error")
	}
	if err := os.WriteFile(path, []byte("# a remark=1\nA=1\nB=x=y \n\nC=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "1", "B": "x=y ", "C": ""}
	if got, err := readEnv(path); err != nil || !maps.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// A developer's own cloud credentials must reach neither the demo's vault nor its application.
func TestForeignCredentialsStayOutside(t *testing.T) {
	foreign := []string{"AZURE_CLIENT_SECRET", "AWS_SECRET_ACCESS_KEY", "KEYWRIGHT_URL", "IDENTITY_ENDPOINT", "MSI_SECRET", "SSL_CERT_FILE"}
	for _, name := range foreign {
		t.Setenv(name, "foreign")
	}
	t.Setenv("HARMLESS", "kept")
	own := ownEnvironment()
	if !slices.Contains(own, "HARMLESS=kept") {
		t.Error("an ordinary variable was dropped")
	}
	k := &keywright{env: map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1:1", "AZURE_CLIENT_SECRET": "of dev mode"}}
	for _, entry := range slices.Concat(own, appEnvironment(k, "ca.pem")) {
		if strings.HasSuffix(entry, "=foreign") || strings.HasPrefix(entry, "AZURE_") {
			t.Errorf("the environment has %s", entry)
		}
	}
}

// fakeApp serves one answer, with a process beside it that stands for the application.
func fakeApp(t *testing.T, status int, answer string) *app {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintln(w, answer)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	p, err := process.Start("the application", exec.Command("sleep", "60"))
	if err != nil {
		t.Fatal(err)
	}
	a := &app{process: p, address: "http://" + l.Addr().String()}
	t.Cleanup(func() {
		if err := a.stop(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestOnlyHealthyIsHealthy(t *testing.T) {
	for _, c := range []struct {
		status int
		answer string
		want   bool
	}{
		{http.StatusOK, "healthy", true},
		{http.StatusServiceUnavailable, "unhealthy", false},
		{http.StatusServiceUnavailable, "healthy", false},
		{http.StatusOK, "hello", false},
	} {
		t.Run(fmt.Sprintf("%d %s", c.status, c.answer), func(t *testing.T) {
			if _, err := fakeApp(t, c.status, c.answer).healthy(t.Context()); (err == nil) != c.want {
				t.Errorf("got %v", err)
			}
		})
	}
}

// The applications are what users of the cloud would deploy: no address of this machine, nothing of Keywright.
func TestApplicationsKnowOnlyTheCloud(t *testing.T) {
	for _, name := range []string{"app-postgres", "app-mssql"} {
		files := []string{"server.js", "package.json", "package-lock.json"}
		if name == "app-postgres" {
			files = append(files, "function.js")
		}
		for _, file := range files {
			content, err := os.ReadFile(filepath.Join(name, file))
			if err != nil {
				t.Fatal(err)
			}
			for _, word := range []string{"keywright", "127.0.0.1", "localhost", "NODE_EXTRA_CA_CERTS", "rejectUnauthorized", `"resolved"`} {
				if strings.Contains(strings.ToLower(string(content)), strings.ToLower(word)) {
					t.Errorf("%s/%s mentions %s", name, file, word)
				}
			}
		}
	}
	content, err := os.ReadFile("app-mssql/server.js")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(content), "'https://"+publicVaultHost+"'") {
		t.Errorf("app-mssql does not name https://%s", publicVaultHost)
	}
}
