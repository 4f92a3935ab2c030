package server

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/internal/fault"
)

// TestServerOnPostgreSQL initialises an installation in a database, starts two servers on it, and lets the doctor look at it in between.
func TestServerOnPostgreSQL(t *testing.T) {
	pg := pgtest.Run(t)
	h := &house{t: t, dir: t.TempDir()}
	h.certify(time.Now().Add(30 * 24 * time.Hour))
	h.write("dsn", []byte(pg.AdminDSN()+"\n"), 0o600)
	text := func(node string) string {
		return `
directory: ` + node + `
names: {suffix: ` + prodSuffix + `}
listeners: {public: {address: "127.0.0.1:0"}, admin: {address: "127.0.0.1:0"}}
tls: {certificates: [{certificateFile: tls.crt, keyFile: tls.key}]}
store: {engine: postgres, dsnFile: dsn}
seal: {keyFiles: [seal.key]}
audit: {segment: 1MiB, reserve: 1MiB, durability: os}
`
	}
	h.write("one.yaml", []byte(text("one")), 0o644)
	h.write("two.yaml", []byte(text("two")), 0o644)
	doctor := func(file, check, want string) {
		t.Helper()
		findings := Examine(t.Context(), filepath.Join(h.dir, file))
		if got := strings.Join(find(findings, check), " "); got != want {
			t.Errorf("the check %q says %q, want %q: %+v", check, got, want, findings)
		}
	}
	doctor("one.yaml", "store", FindingWarn)
	doctor("one.yaml", "seal", FindingWarn)
	h.file = h.parse(text("one"))
	// A server that was given the wrong database leaves nothing in it.
	p, err := Start(t.Context(), h.file, h.config(), nil)
	if err == nil {
		p.Close()
	}
	if f := fault.As(err); f == nil || f.Reason != NotInitialised {
		t.Errorf("a server on a database that was not initialised: %v", err)
	}
	if findings := Examine(t.Context(), filepath.Join(h.dir, "one.yaml")); !slices.ContainsFunc(findings, func(f Finding) bool { return f.Check == "store" && strings.Contains(f.What, "none yet") }) {
		t.Errorf("there is a store in a database that was not initialised: %+v", findings)
	}
	h.made, err = Initialise(t.Context(), h.config(), Initial{Tenant: "t", Subscription: "s", ResourceGroup: "g", Administrator: "deploy", Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	doctor("one.yaml", "store", FindingOK)
	doctor("one.yaml", "seal", FindingOK)
	h.start()
	h.enrol()
	// A further node has the seal and the connection string, and makes its directory by itself.
	other := &house{t: t, dir: h.dir, roots: h.roots, made: h.made, secret: h.secret}
	other.file = other.parse(text("two"))
	doctor("two.yaml", "store", FindingOK)
	other.start()
	if token := other.token("public", "login.example.org", "https://"+prodSuffix); token == "" {
		t.Error("the second node knows nobody")
	}
	h.write("dsn", []byte("postgres://nobody:wrong@127.0.0.1:1/none"), 0o600)
	doctor("one.yaml", "store", FindingFail)
	for _, f := range Examine(t.Context(), filepath.Join(h.dir, "one.yaml")) {
		if strings.Contains(f.What, "wrong@") {
			t.Errorf("a password is told: %s", f.What)
		}
	}
}
