package tdsfake_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/keywright/keywright/e2e/npm"
)

// connectionString is what an application of npm's mssql is configured with.
func connectionString(server, user, password, more string) string {
	return fmt.Sprintf(`Server=tcp:%s;Initial Catalog=app;User ID=%s;Password="%s";%sConnection Timeout=10;`,
		server, user, strings.ReplaceAll(password, `"`, `""`), more)
}

func TestNodeDriver(t *testing.T) {
	modules := npm.Modules(t, "../../demo/app-mssql")
	s := start(t)
	server := fmt.Sprintf("localhost,%d", s.Addr().Port)
	const changed = `new;"pass'word`
	scenarios, err := json.Marshal(map[string]string{
		"good": connectionString(server, "app", appPassword, "Encrypt=True;TrustServerCertificate=False;"),
		"bad":  connectionString(server, "app", "wrong", "Encrypt=True;"),
		"next": connectionString(server, "app", changed, "Encrypt=True;"),
		"loud": connectionString(server, "app", changed, "Encrypt=False;"),
		"change": "ALTER LOGIN [app] WITH PASSWORD = " + quoteText(changed) +
			" OLD_PASSWORD = " + quoteText(appPassword),
	})
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Open("testdata/driver.js")
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	cmd := exec.CommandContext(t.Context(), "node", "-")
	cmd.Stdin = program
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "NODE_EXTRA_CA_CERTS="+writeCA(t, s), "TDS_SCENARIOS="+string(scenarios))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	const want = `query [{"alive":1}]
batch [{"alive":1}]
two results [[{"a":1}],[{"b":"two"}]]
parameters [[{"p":"grüße 🙂"}],[{"n":7}]]
long 3000
cancel ECANCEL at once
after cancel 1
in transaction 1
refused statement 102
still open app
old password ELOGIN 18456
wrong password ELOGIN 18456
new password true
without encryption EENCRYPT
`
	if string(out) != want {
		t.Errorf("the driver printed:\n%s\nwant:\n%s", out, want)
	}
}

func TestNodeDriverWantsATrustedCertificate(t *testing.T) {
	modules := npm.Modules(t, "../../demo/app-mssql")
	s := start(t)
	const program = `require('mssql').connect(process.env.TDS).then(() => console.log('connected'), (e) => console.log(e.code))`
	cmd := exec.CommandContext(t.Context(), "node", "-e", program)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "TDS="+connectionString(
		fmt.Sprintf("localhost,%d", s.Addr().Port), "app", appPassword, "Encrypt=True;TrustServerCertificate=False;"))
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "ESOCKET\n" {
		t.Errorf("got %q, %v", out, err)
	}
}
