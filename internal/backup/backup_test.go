package backup_test

import (
	"bytes"
	"context"
	"crypto"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/backup"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/selfsigned"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/secret"
)

// signature is what authorises at the container of the tests.
const signature = "sv=2021-12-02&sig=s3cret%2Bsignature"

// storage speaks as much of the protocol of Azure Blob Storage as a backup needs.
type storage struct {
	*httptest.Server
	mu    sync.Mutex
	blobs map[string][]byte
	// hold, when not nil, is waited for by every request.
	hold chan struct{}
}

func newStorage(t *testing.T) *storage {
	s := &storage{blobs: map[string][]byte{}}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *storage) serve(w http.ResponseWriter, r *http.Request) {
	if s.hold != nil {
		<-s.hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name, ok := strings.CutPrefix(r.URL.Path, "/account/copies/")
	content, found := s.blobs[name]
	switch {
	case r.URL.Query().Get("sig") != "s3cret+signature" || r.Header.Get("X-Ms-Version") == "":
		w.Header().Set("X-Ms-Error-Code", "AuthenticationFailed")
		w.WriteHeader(http.StatusForbidden)
	case !ok || r.Method != http.MethodPut && !found:
		w.Header().Set("X-Ms-Error-Code", "BlobNotFound")
		w.WriteHeader(http.StatusNotFound)
	case r.Method == http.MethodPut && r.Header.Get("X-Ms-Blob-Type") == "BlockBlob":
		s.blobs[name], _ = io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
	case r.Method == http.MethodGet:
		w.Write(content)
	case r.Method == http.MethodDelete:
		delete(s.blobs, name)
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

func (s *storage) source(folder string) backup.Source {
	return backup.Source{Address: s.URL + "/account/copies", Token: signature, Folder: folder}
}

func (s *storage) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.blobs))
}

type world struct {
	*guardtest.World
	svc     *backup.Service
	keys    *key.Service
	secrets *secret.Service
	certs   *cert.Service
	admin   *guard.Caller
	now     *clock.Manual
	storage *storage
}

func newWorld(t *testing.T) *world {
	w := &world{now: clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)), storage: newStorage(t)}
	w.World = guardtest.New(t, guardtest.Options{Clock: w.now})
	log := slog.New(slog.DiscardHandler)
	var err error
	w.keys, err = key.New(key.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock, Logger: log})
	w.do(err)
	w.secrets, err = secret.New(secret.Config{Guard: w.Guard, Store: w.Store, Keys: w.Keys, Clock: w.Clock})
	w.do(err)
	w.certs, err = cert.New(cert.Config{Guard: w.Guard, Store: w.Store, Sealing: w.Keys, Clock: w.Clock, Logger: log, Keys: w.keys, Secrets: w.secrets, Issuers: w})
	w.do(err)
	w.svc, err = backup.New(backup.Config{Guard: w.Guard, Store: w.Store, Node: "node", Secrets: w.secrets, Keys: w.keys, Certificates: w.certs, Sealing: w.Keys, Clock: w.Clock, Logger: log,
		Open: backup.Blobs{Transport: w.storage.Client().Transport}.Open})
	w.do(err)
	t.Cleanup(func() { w.do(w.svc.Stop(context.Background())) })
	w.Watch(w.keys.Changed)
	w.Watch(w.secrets.Changed)
	w.Watch(w.certs.Changed)
	w.admin = w.Caller(authz.VaultAdministrator)
	return w
}

// Issuer implements cert.Issuers.
func (w *world) Issuer(_ context.Context, o cert.Order) (issuer.Issuer, error) {
	return selfsigned.New(selfsigned.Config{Clock: w.now, Signer: func(ctx context.Context, _ issuer.Request) (crypto.Signer, error) { return o.Signer(ctx) }})
}

func (w *world) do(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

func (w *world) call() *guard.Call { w.T.Helper(); return w.Call(w.admin) }

// fill gives the vault a secret, two versions of a key, and a certificate.
func (w *world) fill() {
	w.T.Helper()
	_, err := w.secrets.Set(w.Ctx, w.call(), "Db", secret.Input{Value: []byte("correct horse"), Enabled: true})
	w.do(err)
	for range 2 {
		_, err = w.keys.Create(w.Ctx, w.call(), "Signer", key.Spec{Kty: "EC"}, key.Input{Enabled: true})
		w.do(err)
	}
	_, _, err = w.certs.Create(w.Ctx, w.call(), "web", cert.Input{Policy: &cert.Policy{Issuer: cert.IssuerRef{Name: cert.SelfIssuer}, Key: cert.KeyProps{Kty: "EC"},
		X509: cert.X509Props{Subject: "CN=shop.example"}}})
	w.do(err)
	for {
		n, err := w.certs.Due(w.Ctx)
		w.do(err)
		if n == 0 {
			return
		}
	}
}

// ended waits for a job.
func (w *world) ended(job backup.Job, err error) backup.Job {
	w.T.Helper()
	w.do(err)
	for range 1000 {
		j, err := w.svc.Job(w.Ctx, w.call(), job.Kind, job.ID)
		w.do(err)
		if j.Status != backup.InProgress {
			return j
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.T.Fatal("the job does not end")
	return backup.Job{}
}

// copied makes a copy and returns its folder.
func (w *world) copied() string {
	w.T.Helper()
	j := w.ended(w.svc.Backup(w.Ctx, w.call(), w.storage.source("")))
	if j.Status != backup.Succeeded || j.Ended.IsZero() {
		w.T.Fatalf("the copy: %+v", j)
	}
	return j.Address[strings.LastIndexByte(j.Address, '/')+1:]
}

func (w *world) purge(remove func(context.Context, *guard.Call, string) error, name string) {
	w.T.Helper()
	w.do(remove(w.Ctx, w.call(), name))
}

func (w *world) empty() {
	w.T.Helper()
	_, err := w.secrets.Delete(w.Ctx, w.call(), "Db")
	w.do(err)
	w.purge(w.secrets.Purge, "Db")
	_, err = w.keys.Delete(w.Ctx, w.call(), "Signer")
	w.do(err)
	w.purge(w.keys.Purge, "Signer")
}

func TestCopyAndRestore(t *testing.T) {
	w := newWorld(t)
	w.fill()
	folder := w.copied()
	want := []string{folder + "/certificates/web", folder + "/keys/Signer", folder + "/manifest", folder + "/secrets/Db"}
	if got := w.storage.names(); !slices.Equal(got, want) {
		t.Errorf("the container holds %v, want %v", got, want)
	}
	for name, content := range w.storage.blobs {
		if bytes.Contains(content, []byte("correct horse")) || bytes.Contains(content, []byte("sha256")) {
			t.Errorf("%s is in clear", name)
		}
	}
	before, err := w.keys.Versions(w.Ctx, w.call(), "Signer", key.Page{Limit: 10})
	w.do(err)
	w.empty()
	j := w.ended(w.svc.Restore(w.Ctx, w.call(), w.storage.source(folder)))
	if j.Status != backup.Succeeded || j.Details != "2 objects were restored. 1 were there already, live or deleted, and were left as they are." {
		t.Fatalf("the restore: %+v", j)
	}
	_, value, err := w.secrets.Get(w.Ctx, w.call(), secret.Selector{Name: "Db"}, nil)
	w.do(err)
	if string(value) != "correct horse" {
		t.Errorf("the secret is %q", value)
	}
	after, err := w.keys.Versions(w.Ctx, w.call(), "Signer", key.Page{Limit: 10})
	w.do(err)
	if len(after.Items) != 2 || after.Items[1].Version.ID != before.Items[1].Version.ID {
		t.Errorf("the key has %d versions", len(after.Items))
	}
	// One key alone, which must not be there.
	again := w.ended(w.svc.RestoreKey(w.Ctx, w.call(), "signer", w.storage.source(folder)))
	if again.Status != backup.Failed || again.Err.Kind != fault.Conflict {
		t.Errorf("restored over a live key: %+v", again)
	}
	w.empty()
	if j := w.ended(w.svc.RestoreKey(w.Ctx, w.call(), "signer", w.storage.source(folder))); j.Status != backup.Succeeded {
		t.Errorf("the key: %+v, %v", j, j.Err)
	}
	if _, _, err := w.secrets.Get(w.Ctx, w.call(), secret.Selector{Name: "Db"}, nil); !fault.Is(err, fault.NotFound) {
		t.Errorf("the secret came too: %v", err)
	}
	if j := w.ended(w.svc.RestoreKey(w.Ctx, w.call(), "web", w.storage.source(folder))); j.Status != backup.Failed || j.Err.Kind != fault.NotFound {
		t.Errorf("the key of a certificate: %+v", j)
	}
}

func TestChecks(t *testing.T) {
	w := newWorld(t)
	if j := w.ended(w.svc.CheckBackup(w.Ctx, w.call(), w.storage.source(""))); j.Status != backup.Succeeded || len(w.storage.names()) != 0 {
		t.Errorf("%+v leaves %v", j, w.storage.names())
	}
	folder := w.copied()
	if j := w.ended(w.svc.CheckRestore(w.Ctx, w.call(), w.storage.source(folder))); j.Status != backup.Succeeded || !strings.Contains(j.Details, "holds 0 objects") {
		t.Errorf("%+v", j)
	}
	for name, at := range map[string]backup.Source{"no such folder": w.storage.source("none"),
		"no signature": {Address: w.storage.URL + "/account/copies", Token: "sig=wrong", Folder: folder}, "nobody there": {Address: "https://127.0.0.1:1/copies", Folder: folder}} {
		j := w.ended(w.svc.CheckRestore(w.Ctx, w.call(), at))
		if j.Status != backup.Failed || j.Err == nil || strings.Contains(j.Err.Error(), "sig") && strings.Contains(j.Err.Error(), "wrong") {
			t.Errorf("%s: %+v", name, j)
		}
	}
	for _, at := range []backup.Source{{Address: "http://127.0.0.1:1/c"}, {Address: "https://user@host/c"}, {Address: "https://host"}, {Address: "ftp://host/c"}, {Address: "::"},
		{Address: "https://host/c", Token: "%zz"}} {
		if _, err := w.svc.CheckBackup(w.Ctx, w.call(), at); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", at.Address, err)
		}
	}
	for _, folder := range []string{"", "../x", "a/b", "a b", strings.Repeat("x", 129)} {
		if _, err := w.svc.Restore(w.Ctx, w.call(), w.storage.source(folder)); !fault.Is(err, fault.Invalid) {
			t.Errorf("folder %q: %v", folder, err)
		}
	}
}

// Whoever holds the container can take blobs away and change them, but cannot pass anything off as what it is not.
func TestTamperedCopiesAreNotRestored(t *testing.T) {
	for name, tamper := range map[string]func(blobs map[string][]byte, folder string){
		"another blob in its place": func(b map[string][]byte, f string) { b[f+"/secrets/Db"] = b[f+"/keys/Signer"] },
		"a changed blob":            func(b map[string][]byte, f string) { b[f+"/secrets/Db"][40] ^= 1 },
		"a blob less":               func(b map[string][]byte, f string) { delete(b, f+"/secrets/Db") },
		"no manifest":               func(b map[string][]byte, f string) { delete(b, f+"/manifest") },
		"a changed manifest":        func(b map[string][]byte, f string) { b[f+"/manifest"][60] ^= 1 },
		"a blob as manifest":        func(b map[string][]byte, f string) { b[f+"/manifest"] = b[f+"/keys/Signer"] },
	} {
		w := newWorld(t)
		w.fill()
		folder := w.copied()
		w.empty()
		tamper(w.storage.blobs, folder)
		if j := w.ended(w.svc.Restore(w.Ctx, w.call(), w.storage.source(folder))); j.Status != backup.Failed || j.Err == nil {
			t.Errorf("%s: %+v", name, j)
		}
		if _, _, err := w.secrets.Get(w.Ctx, w.call(), secret.Selector{Name: "Db"}, nil); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: the secret is there: %v", name, err)
		}
	}
}

func TestWhoMayCopy(t *testing.T) {
	w := newWorld(t)
	w.fill()
	for _, role := range []string{authz.CryptoOfficer, authz.SecretsOfficer, authz.VaultReader, authz.LocalRestore} {
		if _, err := w.svc.Backup(w.Ctx, w.Call(w.Caller(role)), w.storage.source("")); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", role, err)
		}
	}
	for _, role := range []string{authz.CryptoUser, authz.LocalBackup} {
		if _, err := w.svc.Restore(w.Ctx, w.Call(w.Caller(role)), w.storage.source("x")); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s: %v", role, err)
		}
	}
	// The roles of the administration API suffice, and a job is nobody's business who may not do the same.
	job, err := w.svc.Backup(w.Ctx, w.Call(w.Caller(authz.LocalBackup)), w.storage.source(""))
	if j := w.ended(job, err); j.Status != backup.Succeeded {
		t.Errorf("%+v, %v", j, j.Err)
	}
	if _, err := w.svc.Job(w.Ctx, w.Call(w.Caller(authz.LocalRestore)), backup.Copying, job.ID); !fault.Is(err, fault.Forbidden) {
		t.Errorf("the job is shown: %v", err)
	}
	for _, wrong := range []string{"none", ""} {
		if _, err := w.svc.Job(w.Ctx, w.call(), backup.Copying, wrong); !fault.Is(err, fault.NotFound) {
			t.Errorf("job %q: %v", wrong, err)
		}
	}
	if _, err := w.svc.Job(w.Ctx, w.call(), backup.Restoring, job.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("a copy as a restore: %v", err)
	}
}

// Access that is withdrawn while a copy is made ends it, and a vault has one job at a time.
func TestWithdrawnAccessEndsACopy(t *testing.T) {
	w := newWorld(t)
	w.fill()
	w.storage.hold = make(chan struct{})
	job, err := w.svc.Backup(w.Ctx, w.call(), w.storage.source(""))
	w.do(err)
	if _, err := w.svc.Backup(w.Ctx, w.call(), w.storage.source("")); !fault.Is(err, fault.Conflict) {
		t.Errorf("a second job: %v", err)
	}
	ending := w.Caller(authz.VaultAdministrator) // looks at the job for the one who is gone
	w.admin.Revoke()
	close(w.storage.hold)
	for {
		j, err := w.svc.Job(w.Ctx, w.Call(ending), backup.Copying, job.ID)
		w.do(err)
		if j.Status == backup.InProgress {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		if j.Status != backup.Failed || j.Err.Kind != fault.Forbidden || slices.ContainsFunc(w.storage.names(), func(n string) bool { return strings.HasSuffix(n, "/manifest") }) {
			t.Errorf("%+v, %v", j, w.storage.names())
		}
		return
	}
}

// A server that ends does not wait for a container.
func TestStopEndsJobs(t *testing.T) {
	w := newWorld(t)
	w.fill()
	w.storage.hold = make(chan struct{})
	defer close(w.storage.hold)
	_, err := w.svc.Backup(w.Ctx, w.call(), w.storage.source(""))
	w.do(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w.do(w.svc.Stop(ctx))
}
