package azure

import (
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/secret"
)

// operation is one of the Key Vault REST API.
type operation struct{ method, path, name string }

// published reads the list of all operations of the published models (secrets 2026-04-01, keys 2025-07-01, certificates 7.6, and of
// 2025-07-01 role-based access control, settings, and full backup and restore), as lines of method, path and operation id.
func published(t *testing.T) (list []operation) {
	t.Helper()
	text, err := os.ReadFile("testdata/operations.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.Fields(line)
		if len(parts) != 3 {
			t.Fatalf("line %q", line)
		}
		list = append(list, operation{parts[0], parts[1], parts[2]})
	}
	return list
}

var parameter = regexp.MustCompile(`\{[^}]*\}`)

// Every operation is routed, however clients write its optional parts and its scope.
func TestEveryPublishedOperationIsRouted(t *testing.T) {
	list := published(t)
	if len(list) < 80 {
		t.Fatalf("only %d operations", len(list))
	}
	mux, err := door.NewMux(Table(new(secret.Service), new(key.Service), new(cert.Service)))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		paths := []string{o.path}
		if strings.HasPrefix(o.path, "/{scope}/") {
			rest := strings.TrimPrefix(o.path, "/{scope}")
			paths = []string{rest, "/" + rest, "/keys" + rest, "/keys/one" + rest}
		}
		for _, version := range []string{"{secret-version}", "{key-version}", "{certificate-version}"} {
			if strings.Contains(o.path, version) {
				paths = append(paths, strings.Replace(o.path, version, "", 1))
			}
		}
		for _, path := range paths {
			path = parameter.ReplaceAllString(path, "0123456789abcdef0123456789abcdef")
			var params door.Params
			if route, allowed := mux.Match(o.method, &url.URL{Path: path}, &params); route == nil {
				t.Errorf("%s: %s %s is not routed; there are %v", o.name, o.method, path, allowed)
			}
		}
	}
}

// All versions that clients are known to ask for are taken.
func TestEveryVersionIsTaken(t *testing.T) {
	versions := []string{"2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4-preview.1", "7.4", "7.5", "7.6-preview.2", "7.6", "2025-07-01", "2026-04-01"}
	var before apiVersion
	for _, s := range versions {
		v, err := parseVersion(s)
		if err != nil || v <= before {
			t.Errorf("%s: %d, %v", s, v, err)
		}
		before = v
	}
	if slices.Contains(versions, "") || len(versions) != len(apiVersions) {
		t.Errorf("there are %d versions", len(apiVersions))
	}
}
