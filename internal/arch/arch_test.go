// Package arch holds the direction of imports as a test. When it fails, move code and not the list.
package arch

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/e2e/tree"
)

const module = "github.com/keywright/keywright/"

// layers go from what knows nothing to what knows everything. A package may import packages of lower layers and its own
// sub-packages, and nothing else of this module: packages of one layer are siblings and never meet. A name covers the
// packages below it too, unless they are listed themselves.
var layers = [][]string{
	// real programs and fakes for tests and the demo: they know nothing of the product, and it knows nothing of them
	{"e2e/process", "e2e/tree", "e2e/testca", "e2e/oneport", "e2e/transcript"},
	{"e2e/daemon"},
	{"e2e/netns", "e2e/npm", "e2e/pgtest", "e2e/tdsfake", "e2e/mongofake", "e2e/mariadbtest", "e2e/redistest", "e2e/rabbitmqtest", "e2e/ldaptest", "e2e/natstest"},
	// kernel
	{"internal/fault", "internal/clock", "internal/redact"},
	// what an operator writes, as text
	{"internal/config"},
	// model
	{"internal/vault"},
	{"internal/principal"},
	// ports and pure engines
	{"internal/store", "internal/seal", "internal/rotator", "internal/authz", "internal/cryptokey", "internal/merkle", "internal/schedule", "internal/rollout",
		"internal/certfile", "internal/issuer", "internal/admission"},
	// conformance suites, then adapters of ports
	{"internal/store/storetest", "internal/seal/sealtest", "internal/rotator/rotatortest", "internal/issuer/issuertest"},
	{"internal/rotator/contract/contracttest"},
	// what the engines of the store share
	{"internal/store/relational"},
	{"internal/store/sqlite", "internal/store/postgres", "internal/seal/keyfile", "internal/seal/passphrase", "internal/seal/shamir", "internal/rotator/postgres", "internal/rotator/mysql",
		"internal/rotator/redis", "internal/rotator/rabbitmq", "internal/rotator/ldap", "internal/rotator/nats", "internal/rotator/mssql",
		"internal/rotator/mongodb", "internal/rotator/dualkey", "internal/rotator/webhook", "internal/rotator/exec", "internal/rotator/manual",
		"internal/issuer/selfsigned", "internal/issuer/internalca", "internal/issuer/external", "internal/issuer/acme"},
	{"internal/token/pkcs11"},
	{"internal/seal/pkcs11"},
	{"internal/keyring", "internal/archive"},
	// low services
	{"internal/audit", "internal/node"},
	{"internal/guard", "internal/event", "internal/ledger", "internal/mail"},
	// the life that objects of every kind have
	{"internal/object"},
	// services
	{"internal/secret", "internal/key", "internal/identity", "internal/access", "internal/auditing", "internal/membership", "internal/consumer", "internal/eventing"},
	// a certificate is also a key and a secret
	{"internal/cert"},
	{"internal/tenancy", "internal/directory", "internal/feed", "internal/backup", "internal/enrolment", "internal/endpoint"},
	{"internal/rotation", "internal/composition"},
	{"internal/rotation/rotationtest"},
	// the native API's messages, which its door and its client share; the build's version
	{"client/api", "internal/version"},
	// front doors
	{"internal/door"},
	{"internal/door/azure", "internal/door/azure/arm", "internal/door/azure/graph", "internal/door/oauth", "internal/door/native", "internal/door/acme"},
	// programs
	{"internal/server"},
	{"client"},
	{"internal/cli", "client/keywrighttest"},
	{"cmd/keywright"},
	{"demo", "bench", "e2e", "docs", "deploy"},
}

type goPackage struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func TestImportsPointDown(t *testing.T) {
	packages := list(t)
	if len(packages) < 10 {
		t.Fatalf("only %d packages were found: the test looks in the wrong place", len(packages))
	}
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == "internal/arch" {
			continue
		}
		own, entry := place(name)
		if own < 0 {
			t.Errorf("%s stands in no layer: give it a place in the list", name)
			continue
		}
		for _, imported := range p.Imports {
			other, ok := strings.CutPrefix(imported, module)
			if !ok {
				continue
			}
			if level, otherEntry := place(other); level > own || level == own && otherEntry != entry {
				t.Errorf("%s imports %s, which is not below it", name, other)
			}
		}
	}
}

// Tests may reach up to the engines and suites that they run against, but never into a front door or a program from below
// one.
func TestTestsStayBelowTheirDoors(t *testing.T) {
	doors, _ := place("internal/door")
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		own, _ := place(name)
		if own < 0 || own >= doors {
			continue
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			other, ok := strings.CutPrefix(imported, module)
			if level, _ := place(other); ok && level >= doors {
				t.Errorf("a test of %s imports %s, which is above the services", name, other)
			}
		}
	}
}

// What stands below everything for the sake of tests must not get into the product.
func TestProductHasNoTestSupport(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if name == "demo" || name == "bench" || strings.HasPrefix(name, "bench/") || strings.HasPrefix(name, "e2e/") {
			continue
		}
		for _, imported := range p.Imports {
			if other, ok := strings.CutPrefix(imported, module); ok && strings.HasPrefix(other, "e2e/") {
				t.Errorf("%s imports %s outside its tests", name, other)
			}
		}
	}
}

// place finds the layer of a package by its longest listed prefix.
func place(name string) (layer int, entry string) {
	layer = -1
	for i, names := range layers {
		for _, n := range names {
			if (name == n || strings.HasPrefix(name, n+"/")) && len(n) > len(entry) {
				layer, entry = i, n
			}
		}
	}
	return layer, entry
}

func list(t *testing.T) []goPackage {
	t.Helper()
	tree.Watch(t, "../..")
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"...").Output()
	if err != nil {
		t.Fatalf("listing packages: %v", err)
	}
	var packages []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
