package clients_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/keywright/keywright/e2e/netns"
	"github.com/keywright/keywright/e2e/program"
)

// Variables that a test leaves to the copy of itself in the namespace: there is no registry and no module proxy there.
const (
	binaryVariable  = "KEYWRIGHT_CLIENTS_BINARY"
	modulesVariable = "KEYWRIGHT_CLIENTS_MODULES"
)

const root = "../.."

func TestMain(m *testing.M) {
	netns.Init()
	code := m.Run()
	built.Remove()
	os.Exit(code)
}

// built is the program that the tests start.
var built = &program.Program{Variable: binaryVariable, Root: root, Flags: buildFlags}

// enter moves the test into its namespace, as netns.Enter does, with the program built.
func enter(t *testing.T, c cloud) bool {
	t.Helper()
	t.Parallel()
	built.Build(t)
	return netns.Enter(t, netns.Spec{Network: true, Addresses: []string{metadataAddress}, Hosts: c.hosts()})
}

// missing skips the test, loudly, and fails it in CI.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	message := fmt.Sprintf(format, args...)
	if os.Getenv("CI") == "true" {
		t.Fatal(message)
	}
	t.Skip("SKIPPED, NOT PASSED: ", message)
}

// clean is this process's environment without what configures clients of vaults, so that no test sees a real subscription.
func clean() []string {
	var kept []string
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if !foreign(name) {
			kept = append(kept, entry)
		}
	}
	return kept
}

func foreign(name string) bool {
	switch strings.ToUpper(name) {
	case "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY":
		return true
	case binaryVariable, modulesVariable:
		return false
	}
	for _, prefix := range []string{"AZURE_", "AWS_", "KEYWRIGHT_", "IDENTITY_", "MSI_", "APPSETTING_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
