package server

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/internal/archive"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/postgres"
	"github.com/keywright/keywright/internal/store/sqlite"
)

// TestOutgrowingOneMachine brings an installation from the embedded store into PostgreSQL, where it goes on, and back.
func TestOutgrowingOneMachine(t *testing.T) {
	pg := pgtest.Run(t)
	h := &house{t: t, dir: t.TempDir()}
	h.certify(time.Now().Add(30 * 24 * time.Hour))
	h.write("dsn", []byte(pg.AdminDSN()+"\n"), 0o600)
	offline, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	h.write("offline.txt", []byte(offline.String()+"\n"), 0o600)
	text := func(directory, store string) string {
		return `
directory: ` + directory + `
names: {suffix: ` + prodSuffix + `}
listeners: {public: {address: "127.0.0.1:0"}, admin: {address: "127.0.0.1:0"}}
tls: {certificates: [{certificateFile: tls.crt, keyFile: tls.key}]}
store: ` + store + `
seal: {keyFiles: [seal.key]}
backup: {directory: backups, recipients: [` + offline.Recipient().String() + `]}
audit: {segment: 1MiB, reserve: 1MiB, durability: os}
`
	}
	h.file = h.parse(text("one", "{engine: sqlite}"))
	if h.made, err = Initialise(t.Context(), h.config(), Initial{Tenant: "t", Subscription: "s", ResourceGroup: "g", Administrator: "deploy", Life: time.Hour}); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.enrol()
	admin := func() string {
		t.Helper()
		return h.token("admin", "login.example.org", "https://example.org"+h.port("public"))
	}
	token := admin()
	must := func(want int, method, path, body string) string {
		t.Helper()
		status, text := h.ask("admin", method, "example.org", "/api/v1"+path, token, body)
		if status != want {
			t.Fatalf("%s %s: %d %s", method, path, status, text)
		}
		return text
	}
	must(http.StatusOK, "PUT", "/vaults/payroll", `{"subscription":"`+h.made.Subscription+`","resourceGroup":"g"}`)
	must(http.StatusOK, "POST", "/grants", `{"role":"Key Vault Administrator","principal":"`+h.made.Administrator+
		`","scope":"/subscriptions/`+h.made.Subscription+`/resourceGroups/g/providers/Microsoft.KeyVault/vaults/payroll"}`)
	for _, value := range []string{"one", "two"} {
		must(http.StatusOK, "PUT", "/vaults/payroll/secrets/s", `{"value":"`+value+`"}`)
	}
	backUp := func() string {
		t.Helper()
		var b struct{ ID, State, File string }
		if err := json.Unmarshal([]byte(must(http.StatusAccepted, "POST", "/backups", `{}`)), &b); err != nil {
			t.Fatal(err)
		}
		for range 1000 {
			if err := json.Unmarshal([]byte(must(http.StatusOK, "GET", "/backups/"+b.ID, "")), &b); err != nil || b.State == "failed" {
				t.Fatalf("the backup %+v, %v", b, err)
			}
			if b.State == "done" {
				return filepath.Join(h.dir, "backups", b.File)
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatal("the backup does not end")
		return ""
	}
	// A credential that is good once, and may be used up behind the backup.
	if err := h.core.store.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error {
		return tx.PutSignIn(t.Context(), &store.SignIn{Kind: "enrolment", ID: "left", Tenant: "t", Expires: time.Now().Add(time.Hour)})
	}); err != nil {
		t.Fatal(err)
	}
	file := backUp()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	restore := func(from, directory, store string) *Restored {
		t.Helper()
		h.file = h.parse(text(directory, store))
		c := h.config()
		r := Restoration{Offline: Offline{File: from, Dir: c.Dir, Seal: c.Seal, Identities: []string{filepath.Join(h.dir, "offline.txt")}}, Store: c.Store}
		done, err := r.Restore(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Restore(t.Context()); !fault.Is(err, fault.Conflict) {
			t.Errorf("a second restore over it: %v, want a Conflict", err)
		}
		return done
	}
	done := restore(file, "two", "{engine: postgres, dsnFile: dsn}")
	if done.Header.Engine != "sqlite" || done.Rows == 0 {
		t.Errorf("restored %+v", done)
	}
	open := func(directory string) (store.Dumper, io.Closer) {
		t.Helper()
		if directory == "" {
			s, err := postgres.Open(t.Context(), postgres.Config{DSN: pg.AdminDSN()})
			if err != nil {
				t.Fatal(err)
			}
			return s, s
		}
		s, err := sqlite.Open(sqlite.Config{Dir: filepath.Join(h.dir, directory, storeDir)})
		if err != nil {
			t.Fatal(err)
		}
		return s, s
	}
	// Every object, version and key is the same, byte for byte.
	sums := func(directory string) map[string]archive.TableEnd {
		t.Helper()
		s, closer := open(directory)
		defer closer.Close()
		end, err := archive.Write(t.Context(), io.Discard, archive.Header{ID: strings.Repeat("0", 32)}, s, []age.Recipient{offline.Recipient()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		all := make(map[string]archive.TableEnd)
		for _, table := range end.Tables {
			all[table.Name] = table
		}
		return all
	}
	same := func(a, b map[string]archive.TableEnd) {
		t.Helper()
		for _, table := range []string{"tenants", "subscriptions", "resource_groups", "vaults", "objects", "versions", "principals", "grants", "wrapped_keys", "signing_keys", "tombstones"} {
			if a[table] != b[table] {
				t.Errorf("the table %s is %+v in one and %+v in the other", table, a[table], b[table])
			}
		}
		if a["versions"].Rows == 0 {
			t.Error("there are no versions to compare")
		}
	}
	embedded, restored := sums("one"), sums("")
	same(embedded, restored)
	if embedded["sign_ins"].Rows == 0 || restored["sign_ins"].Rows != 0 {
		t.Errorf("of %d sign-ins %d were restored, want none", embedded["sign_ins"].Rows, restored["sign_ins"].Rows)
	}

	// The installation goes on where it was: the same administrator, the same values, another node with another log.
	h.start()
	token = admin()
	if text := must(http.StatusOK, "GET", "/vaults/payroll/secrets/s", ""); !strings.Contains(text, `"two"`) {
		t.Errorf("the secret is %s", text)
	}
	if text := must(http.StatusOK, "GET", "/audit/records?operation=BackupRestore", ""); !strings.Contains(text, done.Header.ID) {
		t.Errorf("the audit log does not tell of the restore: %s", text)
	}
	if text := must(http.StatusOK, "GET", "/audit/checkpoint", ""); !strings.Contains(text, ".restored-"+done.Header.ID) {
		t.Errorf("the log's origin does not name the backup: %s", text)
	}
	if text := must(http.StatusOK, "POST", "/audit/verify", `{}`); !strings.Contains(text, `"ok":true`) {
		t.Errorf("the audit log does not verify: %s", text)
	}
	must(http.StatusOK, "PUT", "/vaults/payroll/secrets/s", `{"value":"three"}`)
	file = backUp()
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}

	// And back.
	if done = restore(file, "three", "{engine: sqlite}"); done.Header.Engine != "postgres" {
		t.Errorf("restored %+v", done)
	}
	same(sums(""), sums("three"))
	h.start()
	token = admin()
	if text := must(http.StatusOK, "GET", "/vaults/payroll/secrets/s", ""); !strings.Contains(text, `"three"`) {
		t.Errorf("the secret is %s", text)
	}
	// The administration of a node that has the database open is not taken away from it.
	report, err := (&Offline{File: file, Dir: h.config().Dir, Seal: h.config().Seal}).Prove(t.Context(), 0)
	if err != nil || !report.OK() || report.Opened != 3 {
		t.Errorf("the backup of PostgreSQL: %+v, %v", report, err)
	}
}
