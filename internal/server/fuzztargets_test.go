package server

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// parsers names the fuzz target of each parser of what strangers send, by package. A parser without one has no place in the
// request path.
var parsers = map[string][]string{
	"internal/vault":      {"FuzzGUID", "FuzzVersionID", "FuzzNames"},
	"internal/event":      {"FuzzEndpoint"},
	"internal/door":       {"FuzzMatch", "FuzzDecode", "FuzzQuery", "FuzzLoneSurrogate", "FuzzBearer"},
	"internal/door/acme":  {"FuzzRequest", "FuzzPayload", "FuzzCertificateID"},
	"internal/enrolment":  {"FuzzPermits"},
	"internal/door/azure": {"FuzzString", "FuzzHost", "FuzzAPIVersion", "FuzzPage"},
	"internal/server":     {"FuzzHosts", "FuzzDoorByPath", "FuzzParseChallengeName"},
}

// TestEveryParserIsFuzzed runs the search of scripts/fuzz, with a Go that only lists.
func TestEveryParserIsFuzzed(t *testing.T) {
	if testing.Short() {
		t.Skip("lists every package of the module")
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	fake := filepath.Join(t.TempDir(), "go")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\n[ \"$1\" = list ] && exec go \"$@\"\nexit 0\n"), 0o755); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(root, "scripts", "fuzz"), "1s")
	cmd.Env = append(os.Environ(), "GO="+fake)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	found := string(out)
	for name, targets := range parsers {
		for _, target := range targets {
			if !strings.Contains(found, "fuzz: github.com/keywright/keywright/"+name+" "+target+"\n") {
				t.Errorf("scripts/fuzz does not run %s of %s", target, name)
			}
		}
	}
	// The table holds every target of the packages that it names.
	for _, m := range regexp.MustCompile(`fuzz: github\.com/keywright/keywright/(\S+) (Fuzz\w+)`).FindAllStringSubmatch(found, -1) {
		if targets, ok := parsers[m[1]]; ok && !strings.Contains(strings.Join(targets, " ")+" ", m[2]+" ") {
			t.Errorf("%s of %s is not in the table", m[2], m[1])
		}
	}
}

func FuzzHosts(f *testing.F) {
	n := namesFor(DefaultSuffix, ":8443")
	for _, s := range []string{"demo.vault.keywright.localhost:8443", "[::1]:80", "LOGIN.keywright.localhost.", "127.0.0.1", "", "a..b", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		only := hostOnly(host)
		if only != strings.ToLower(only) {
			t.Errorf("%q is %q", host, only)
		}
		if n.allows(only) && strings.HasSuffix(only, "."+n.suffix) && strings.Contains(strings.TrimSuffix(only, "."+n.suffix), ".") {
			t.Errorf("a certificate is issued for %q, which is two labels below the suffix", only)
		}
	})
}

// stub stands for a door that can be told from the others.
type stub int

func (stub) ServeHTTP(http.ResponseWriter, *http.Request) {}

func FuzzDoorByPath(f *testing.F) {
	d := &dispatch{vault: stub(1), login: stub(2), arm: stub(3), graph: stub(4), nativ: stub(5), acme: stub(6)}
	for _, s := range []string{"/secrets/a", "//providers/x", "/adfs/oauth2/token", "/healthz", "/v1.0/me", "", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if d.byPath(path) == nil {
			t.Errorf("%q has no door", path)
		}
		if d.byPath(strings.ToUpper(path)) != d.byPath(path) && strings.IndexFunc(path, func(r rune) bool { return r >= 0x80 }) < 0 {
			t.Errorf("%q has another door in capital letters", path)
		}
	})
}
