package full_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/keywright/keywright/internal/archive"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/backup/full"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// world is an installation whose backups are made, proved and restored.
type world struct {
	*guardtest.World
	svc      *full.Service
	prover   *full.Prover
	now      *clock.Manual
	dir      string
	operator *guard.Caller
	offline  *age.X25519Identity
	// hold, when it is set, is called before each table of a dump.
	hold atomic.Pointer[func() error]
}

func newWorld(t *testing.T) *world {
	w := &world{now: clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)), dir: filepath.Join(t.TempDir(), "backups")}
	w.World = guardtest.New(t, guardtest.Options{Clock: w.now})
	var err error
	w.offline, err = age.GenerateX25519Identity()
	w.do(err)
	w.prover = &full.Prover{Open: func() (full.Scratch, func() error, error) {
		s := w.scratch()
		return s, s.Close, nil
	}, Keys: w.keysOf, Audit: func(context.Context, store.Tx, func(string, ...any)) (int64, error) { return 1, nil }}
	w.svc = w.service("node-1")
	w.operator = w.Caller()
	w.Grant(w.operator, authz.KeywrightBackupOperator, func(g *principal.Grant) { g.Scope = "/" })
	return w
}

func (w *world) keysOf(ctx context.Context, s store.Store) (*keyring.Keyring, func() error, error) {
	k, err := keyring.Open(ctx, keyring.Config{Store: s, Seal: w.Keys.Sealer(), Clock: w.now})
	return k, func() error { return nil }, err
}

// scratch is a new store that is open for a load.
func (w *world) scratch() *sqlite.Store {
	w.T.Helper()
	s, err := sqlite.Open(sqlite.Config{Dir: w.T.TempDir(), Load: true})
	w.do(err)
	w.T.Cleanup(func() { s.Close() })
	return s
}

// Dump implements store.Dumper.
func (w *world) Dump(ctx context.Context, to store.Sink) error {
	return w.Store.(store.Dumper).Dump(ctx, &held{to, w})
}

type held struct {
	store.Sink
	w *world
}

func (h *held) Table(t *store.Table) error {
	if f := h.w.hold.Load(); f != nil {
		if err := (*f)(); err != nil {
			return err
		}
	}
	return h.Sink.Table(t)
}

// service is that of another node.
func (w *world) service(node string) *full.Service {
	w.T.Helper()
	svc, err := full.New(full.Config{Guard: w.Guard, Store: w.Store, Dumper: w, Seal: w.Keys.Sealer, Clock: w.now, Logger: slog.New(slog.DiscardHandler), Node: node, Release: "test",
		Engine: "sqlite", Settings: full.Settings{Dir: w.dir, Recipients: []string{w.offline.Recipient().String()}, Every: 24 * time.Hour, Keep: 72 * time.Hour}, Prove: w.prover.Prove})
	w.do(err)
	w.T.Cleanup(func() { w.do(svc.Stop(context.Background())) })
	return svc
}

func (w *world) do(err error) {
	w.T.Helper()
	if err != nil {
		w.T.Fatal(err)
	}
}

func (w *world) call() *guard.Call { w.T.Helper(); c := w.Call(w.operator); c.Vault = nil; return c }

// add stores a secret of one version.
func (w *world) add(name, value string) *vault.Object {
	w.T.Helper()
	op := store.NewOp(w.now.Now())
	o := &vault.Object{ID: vault.NewObjectID(op.At), Vault: w.Vault.ID, Kind: vault.Secret, Name: name, Created: op.At}
	v := &vault.Version{ID: vault.NewVersionID(op.At), Object: o.ID, Attributes: vault.Attributes{Enabled: true, Created: op.At}}
	o.Current = v.ID
	var err error
	v.Value, err = w.Keys.Seal(w.Ctx, keyring.Place{Tenant: w.Vault.Tenant, Vault: w.Vault.ID, Object: o.ID, Version: v.ID}, []byte(value))
	w.do(err)
	w.Change(func(tx store.Tx) error {
		if err := tx.PutObject(w.Ctx, o); err != nil {
			return err
		}
		return tx.AddVersion(w.Ctx, v)
	})
	return o
}

// value opens the current version of a secret of a store.
func (w *world) value(s store.Store, k *keyring.Keyring, name string) (string, error) {
	var o *vault.Object
	var v *vault.Version
	if err := s.View(w.Ctx, func(tx store.Tx) (err error) {
		if o, err = tx.Object(w.Ctx, w.Vault.ID, vault.Secret, name); err != nil {
			return err
		}
		v, err = tx.Version(w.Ctx, o.ID, o.Current)
		return err
	}); err != nil {
		return "", err
	}
	plain, err := k.Open(w.Ctx, keyring.Place{Tenant: w.Vault.Tenant, Vault: w.Vault.ID, Object: o.ID, Version: v.ID}, v.Value)
	return string(plain), err
}

// ended waits until nothing works on a backup.
func (w *world) ended(b *full.Backup, err error) *full.Backup {
	w.T.Helper()
	w.do(err)
	for range 2000 {
		got, err := w.svc.Get(w.Ctx, w.call(), b.ID)
		w.do(err)
		if got.State != full.Running && (got.Proof == nil || got.Proof.State != full.Running) {
			return got
		}
		time.Sleep(5 * time.Millisecond)
	}
	w.T.Fatal("the work does not end")
	return nil
}

func (w *world) made() *full.Backup {
	w.T.Helper()
	b := w.ended(w.svc.Create(w.Ctx, w.call(), 0))
	if b.State != full.Done {
		w.T.Fatalf("the backup: %+v", b)
	}
	return b
}

func (w *world) file(b *full.Backup) []byte {
	w.T.Helper()
	f, size, err := w.svc.Content(w.Ctx, w.call(), b.ID)
	w.do(err)
	defer f.Close()
	content, err := io.ReadAll(f)
	w.do(err)
	if int64(len(content)) != size || size != b.Bytes {
		w.T.Errorf("the file has %d bytes, is said to have %d, and %d were written", len(content), size, b.Bytes)
	}
	return content
}

func (w *world) reader(file []byte, identities ...age.Identity) *archive.Reader {
	w.T.Helper()
	if len(identities) == 0 {
		identities = append(identities, w.offline, &archive.Unsealing{Ctx: w.Ctx, Seal: w.Keys.Sealer()})
	}
	r, err := archive.Open(bytes.NewReader(file), identities...)
	w.do(err)
	return r
}

// restore restores into a store and opens that for use.
func (w *world) restore(file []byte, change func(*full.Restoration)) (*sqlite.Store, store.Loaded) {
	w.T.Helper()
	dir := w.T.TempDir()
	to, err := sqlite.Open(sqlite.Config{Dir: dir, Load: true})
	w.do(err)
	r := &full.Restoration{From: w.reader(file), To: to, Clock: w.now, Forget: func(name string) bool { return name == "of-the-node" }, Tables: []string{"nodes"},
		Check: func(ctx context.Context, s store.Store) error { _, _, err := w.keysOf(ctx, s); return err }}
	if change != nil {
		change(r)
	}
	done, err := full.Restore(w.Ctx, r)
	w.do(err)
	w.do(to.Close())
	s, err := sqlite.Open(sqlite.Config{Dir: dir})
	w.do(err)
	w.T.Cleanup(func() { s.Close() })
	return s, done
}

func TestMakeProveRestore(t *testing.T) {
	w := newWorld(t)
	w.add("db", "correct horse")
	w.Change(func(tx store.Tx) error {
		_, err := tx.AcquireLease(w.Ctx, "somebody", "old", time.Hour, 0)
		if err == nil {
			err = tx.PutSetting(w.Ctx, "of-the-node", []byte("x"))
		}
		return err
	})
	b := w.made()
	if b.Rows == 0 || b.Bytes == 0 || b.Ended.IsZero() || !b.Expires.Equal(b.Made.Add(72*time.Hour)) || b.By != string(w.operator.Principal) || len(b.To) != 1 {
		t.Errorf("the backup: %+v", b)
	}
	if got := w.Changes(); got[len(got)-1].Action != "Keywright/backups/write" || !strings.Contains(got[len(got)-1].Detail, b.ID) {
		t.Errorf("the audit log has %+v", got[len(got)-1])
	}
	file := w.file(b)
	if bytes.Contains(file, []byte("correct horse")) {
		t.Error("the file holds a value in clear")
	}
	proved := w.ended(w.svc.Verify(w.Ctx, w.call(), b.ID, 0))
	r := proved.Proof.Report
	if proved.Proof.State != full.Done || r == nil || !r.OK() || r.Opened != 1 || r.Versions != 1 || r.Vaults != 1 || r.Keys < 6 || r.Checkpoints != 1 || r.Header.ID != b.ID {
		t.Errorf("the proof: %+v, %+v", proved.Proof, r)
	}
	s, _ := w.restore(file, nil)
	keys, _, err := w.keysOf(w.Ctx, s)
	w.do(err)
	if got, err := w.value(s, keys, "db"); got != "correct horse" || err != nil {
		t.Errorf("restored: %q, %v", got, err)
	}
	from, err := full.LastRestored(w.Ctx, s)
	if err != nil || from == nil || from.Backup != b.ID || !from.Made.Equal(b.Made) {
		t.Errorf("restored from %+v, %v", from, err)
	}
	w.do(s.View(w.Ctx, func(tx store.Tx) error {
		if _, err := tx.Setting(w.Ctx, "of-the-node"); !fault.Is(err, fault.NotFound) {
			t.Errorf("a setting of the node was restored: %v", err)
		}
		if _, err := tx.Backup(w.Ctx, b.ID); !fault.Is(err, fault.NotFound) {
			t.Errorf("the backup under way was restored as one that there is: %v", err)
		}
		return nil
	}))
	w.do(w.svc.Delete(w.Ctx, w.call(), b.ID, false))
	if files, _ := os.ReadDir(w.dir); len(files) != 0 {
		t.Errorf("the directory still has %v", files)
	}
	if _, err := w.svc.Get(w.Ctx, w.call(), b.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("the deleted backup: %v", err)
	}
}

// table is a dump of one table with one row of nothing.
type table struct{ *store.Table }

func (d table) Dump(_ context.Context, to store.Sink) error {
	return errors.Join(to.Table(d.Table), to.Row(make([]any, len(d.Columns))))
}

// A restore that finds something wrong leaves a store that nobody opens.
func TestRestoreRefuses(t *testing.T) {
	w := newWorld(t)
	w.add("db", "v")
	file := w.file(w.made())
	dir := t.TempDir()
	to, err := sqlite.Open(sqlite.Config{Dir: dir, Load: true})
	w.do(err)
	wrong := fault.New(fault.Invalid, "another seal")
	r := &full.Restoration{From: w.reader(file), To: to, Clock: w.now, Forget: func(string) bool { return false }, Check: func(context.Context, store.Store) error { return wrong }}
	if _, err := full.Restore(w.Ctx, r); !fault.Is(err, fault.Invalid) {
		t.Errorf("Restore = %v, want what Check says", err)
	}
	w.do(to.Close())
	if _, err := sqlite.Open(sqlite.Config{Dir: dir}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("the store was opened: %v", err)
	}
	// What anybody can have written who has the public key is not taken, unless somebody says so.
	var written bytes.Buffer
	_, err = archive.Write(w.Ctx, &written, archive.Header{ID: strings.Repeat("0", 32)}, w.scratch(), []age.Recipient{w.offline.Recipient()}, nil)
	w.do(err)
	to = w.scratch()
	r = &full.Restoration{From: w.reader(written.Bytes()), To: to, Clock: w.now}
	if _, err := full.Restore(w.Ctx, r); err == nil || fault.As(err).Reason != full.NotSealed {
		t.Errorf("Restore of a file that the seal does not open = %v", err)
	}
	r = &full.Restoration{From: w.reader(written.Bytes()), To: to, Clock: w.now, Unsealed: true, Forget: func(string) bool { return false },
		Check: func(context.Context, store.Store) error { return nil }}
	if _, err := full.Restore(w.Ctx, r); err != nil {
		t.Errorf("Restore of it all the same = %v", err)
	}
	// A table without a column that tells what its rows mean is refused, and nothing worse happens.
	for _, lacking := range []*store.Table{{Name: "backups", Columns: []string{"id"}}, {Name: "settings", Columns: []string{"value"}}, {Name: "tombstones", Columns: []string{"object"}}} {
		var forged bytes.Buffer
		_, err = archive.Write(w.Ctx, &forged, archive.Header{ID: strings.Repeat("0", 32)}, table{lacking}, []age.Recipient{w.offline.Recipient()}, nil)
		w.do(err)
		if _, err := full.Tombstones(w.Ctx, w.reader(forged.Bytes())); lacking.Name == "tombstones" && !fault.Is(err, fault.Invalid) {
			t.Errorf("Tombstones of a table without its columns: %v", err)
		}
		r := &full.Restoration{From: w.reader(forged.Bytes()), To: w.scratch(), Clock: w.now, Unsealed: true, Forget: func(string) bool { return false },
			Check: func(context.Context, store.Store) error { return nil }}
		if _, err := full.Restore(w.Ctx, r); lacking.Name != "tombstones" && !fault.Is(err, fault.Invalid) {
			t.Errorf("Restore of the table %s without its columns: %v", lacking.Name, err)
		}
	}
	// A store that is in use is left alone, unless somebody says so, and one in which a node works even then.
	live := w.scratch()
	w.do(live.Update(w.Ctx, store.NewOp(w.now.Now()), func(tx store.Tx) error { return tx.JoinNode(w.Ctx, &store.Node{ID: "n", Process: "p", Host: "h"}) }))
	r = &full.Restoration{From: w.reader(file), To: live, Clock: w.now}
	if _, err := full.Restore(w.Ctx, r); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("Restore over a store = %v", err)
	}
	r = &full.Restoration{From: w.reader(file), To: live, Clock: w.now, Replace: true}
	if _, err := full.Restore(w.Ctx, r); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "stop every node") {
		t.Errorf("Restore under a node = %v", err)
	}
}

// A damaged file, a key that does not open and a value in another's place are found by the proof.
func TestProofFindsDamage(t *testing.T) {
	w := newWorld(t)
	a, b := w.add("a", "one"), w.add("b", "two")
	whole := w.made()
	path := filepath.Join(w.dir, whole.File)
	content, err := os.ReadFile(path)
	w.do(err)
	w.do(os.WriteFile(path, append(content[:len(content)-20], bytes.Repeat([]byte{0}, 20)...), 0o600))
	if got := w.ended(w.svc.Verify(w.Ctx, w.call(), whole.ID, 0)); got.Proof.State != full.Failed {
		t.Errorf("a damaged file: %+v", got.Proof)
	}
	// The ciphertexts of two secrets are exchanged in the store.
	w.Change(func(tx store.Tx) error {
		va, err := tx.Version(w.Ctx, a.ID, a.Current)
		if err != nil {
			return err
		}
		vb, err := tx.Version(w.Ctx, b.ID, b.Current)
		if err != nil {
			return err
		}
		next := *va
		next.Value = vb.Value
		return tx.PutVersion(w.Ctx, &next)
	})
	w.now.Advance(time.Hour)
	got := w.ended(w.svc.Verify(w.Ctx, w.call(), w.made().ID, 0))
	if r := got.Proof.Report; got.Proof.State != full.Failed || r == nil || r.Wrong != 1 || !strings.Contains(r.Problems[0], `"a"`) || r.Opened != 1 {
		t.Errorf("a value in another's place: %+v, %+v", got.Proof, r)
	}
}

func TestWhoMay(t *testing.T) {
	w := newWorld(t)
	b := w.made()
	admin := w.Caller(authz.VaultAdministrator)
	contributor := w.Caller()
	w.Grant(contributor, authz.Contributor, func(g *principal.Grant) { g.Scope = "/" })
	for name, who := range map[string]*guard.Caller{"an administrator of the vault": admin, "a contributor": contributor} {
		call := func() *guard.Call { c := w.Call(who); c.Vault = nil; return c }
		if _, err := w.svc.Create(w.Ctx, call(), 0); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s makes a backup: %v", name, err)
		}
		if _, _, err := w.svc.Content(w.Ctx, call(), b.ID); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s takes one away: %v", name, err)
		}
		if err := w.svc.Delete(w.Ctx, call(), b.ID, true); !fault.Is(err, fault.Forbidden) {
			t.Errorf("%s deletes one: %v", name, err)
		}
	}
	// The owner of another tenant is nobody here.
	other := vault.NewTenantID()
	stranger := &guard.Caller{Principal: principal.ID(vault.NewGUID()), Tenant: other, Kind: principal.Service, Expires: w.now.Now().Add(time.Hour)}
	w.now.Advance(time.Minute)
	w.Change(func(tx store.Tx) error {
		if err := tx.PutTenant(w.Ctx, &vault.Tenant{ID: other, Name: "Other", Created: w.now.Now()}); err != nil {
			return err
		}
		return tx.PutGrant(w.Ctx, &principal.Grant{ID: vault.NewGUID(), Tenant: other, Scope: "/", Role: authz.Owner, Principal: stranger.Principal, PrincipalKind: principal.Service})
	})
	call := func() *guard.Call { c := w.Call(stranger); c.Vault = nil; return c }
	_, list := w.svc.List(w.Ctx, call(), "", 10)
	_, create := w.svc.Create(w.Ctx, call(), 0)
	_, get := w.svc.Get(w.Ctx, call(), b.ID)
	for what, err := range map[string]error{"List": list, "Create": create, "Get": get} {
		if f := fault.As(err); f == nil || f.Kind != fault.Forbidden || f.Reason != guard.NotOperator {
			t.Errorf("%s by another tenant's owner: %v", what, err)
		}
	}
}

// One piece of work runs at a time, and it ends with its server; what a node left that died is ended by another.
func TestWorkEnds(t *testing.T) {
	w := newWorld(t)
	began, release := make(chan struct{}), make(chan struct{})
	hold := func() error {
		select {
		case began <- struct{}{}:
		default:
		}
		<-release
		return nil
	}
	w.hold.Store(&hold)
	first, err := w.svc.Create(w.Ctx, w.call(), 0)
	w.do(err)
	<-began
	other := w.service("node-2")
	for _, svc := range []*full.Service{w.svc, other} {
		if _, err := svc.Create(w.Ctx, w.call(), 0); !fault.Is(err, fault.Conflict) {
			t.Errorf("two at a time: %v", err)
		}
		if err := svc.Delete(w.Ctx, w.call(), first.ID, true); !fault.Is(err, fault.Conflict) {
			t.Errorf("a backup is deleted while it is made: %v", err)
		}
	}
	w.hold.Store(nil)
	go func() { time.Sleep(20 * time.Millisecond); close(release) }()
	w.do(w.svc.Stop(w.Ctx))
	got, err := other.Get(w.Ctx, w.call(), first.ID)
	w.do(err)
	if got.State != full.Failed || !strings.Contains(got.Error, "ended") {
		t.Errorf("after the end of its server: %+v", got)
	}
	if files, _ := os.ReadDir(w.dir); len(files) != 0 {
		t.Errorf("what failed left %v", files)
	}
	// A row whose worker is gone, and what it wrote.
	b := w.made2(other)
	w.Change(func(tx store.Tx) error {
		row, err := tx.Backup(w.Ctx, b.ID)
		if err != nil {
			return err
		}
		next := *row
		next.Open, next.Doc = true, bytes.Replace(row.Doc, []byte(`"done"`), []byte(`"running"`), 1)
		return tx.PutBackup(w.Ctx, &next)
	})
	w.do(other.Tend(w.Ctx))
	if got, err = other.Get(w.Ctx, w.call(), b.ID); err != nil || got.State != full.Failed || !strings.Contains(got.Error, "ended before") {
		t.Errorf("what a dead node left: %+v, %v", got, err)
	}
	if files, _ := os.ReadDir(w.dir); len(files) != 0 {
		t.Errorf("what it left is still there: %v", files)
	}
}

func (w *world) made2(svc *full.Service) *full.Backup {
	w.T.Helper()
	was := w.svc
	w.svc = svc
	defer func() { w.svc = was }()
	return w.made()
}

// The schedule makes one when the newest is old enough, deletes what has ended, and keeps the newest however old.
func TestSchedule(t *testing.T) {
	w := newWorld(t)
	list := func() []*full.Backup {
		t.Helper()
		all, err := w.svc.List(w.Ctx, w.call(), "", 100)
		w.do(err)
		return all
	}
	tend := func() []*full.Backup {
		t.Helper()
		w.do(w.svc.Tend(w.Ctx))
		for _, b := range list() {
			w.ended(b, nil)
		}
		return list()
	}
	if all := tend(); len(all) != 1 || all[0].State != full.Done || all[0].By != "" {
		t.Fatalf("the first look made %+v", all)
	}
	if all := tend(); len(all) != 1 {
		t.Errorf("a second look made another: %d", len(all))
	}
	w.now.Advance(25 * time.Hour)
	if all := tend(); len(all) != 2 {
		t.Errorf("a day later there are %d", len(all))
	}
	// Backups fail from now on: what ends goes, but for the newest, whose end is moved.
	broken := func() error { return fault.New(fault.Unavailable, "no state can be read") }
	w.hold.Store(&broken)
	w.now.Advance(48 * time.Hour)
	all := tend()
	if len(all) != 2 || all[0].State != full.Failed || !strings.Contains(all[0].Error, "no state can be read") || all[1].State != full.Done {
		t.Fatalf("after two days: %+v", all)
	}
	w.now.Advance(100 * time.Hour)
	before := all[1]
	all = tend()
	kept := all[len(all)-1]
	if kept.ID != before.ID || !kept.Expires.Equal(w.now.Now().Add(24*time.Hour)) {
		t.Errorf("the newest was not kept: %+v", kept)
	}
	// When there is a newer one again, it goes.
	w.hold.Store(nil)
	w.now.Advance(25 * time.Hour)
	tend()
	w.now.Advance(25 * time.Hour)
	whole := 0
	for _, b := range tend() {
		if b.State == full.Done {
			whole++
		}
		if b.ID == before.ID {
			t.Errorf("it is still there: %+v", b)
		}
	}
	if files, _ := os.ReadDir(w.dir); whole != 2 || len(files) != whole {
		t.Errorf("%d are whole, and the directory has %v", whole, files)
	}
}

// A customer's key that a backup needs is held until the backup ends, and no longer.
func TestHeldKeys(t *testing.T) {
	w := newWorld(t)
	w.EditVault(func(v *vault.Vault) {
		v.Encryption = &vault.Encryption{CustomerKey: vault.CustomerKey{Vault: "key-vault", Key: "key-object", Name: "customer"}}
	})
	needs := func() (list []*store.KeyNeed) {
		t.Helper()
		w.do(w.Store.View(w.Ctx, func(tx store.Tx) (err error) {
			list, err = tx.KeyNeeds(w.Ctx, "key-vault", "")
			return err
		}))
		return list
	}
	first := w.made()
	w.now.Advance(time.Hour)
	second := w.made()
	got := needs()
	if len(got) != 1 || got[0].Use != store.NeededByFullBackups || got[0].By != w.Vault.ID || !got[0].Until.Equal(second.Expires) || len(first.Needs) != 1 {
		t.Fatalf("the needs: %+v", got)
	}
	w.do(w.svc.Delete(w.Ctx, w.call(), second.ID, false))
	if got = needs(); len(got) != 1 || !got[0].Until.Equal(first.Expires) {
		t.Errorf("after the newer was deleted: %+v", got)
	}
	broken := func() error { return fault.New(fault.Unavailable, "no") }
	w.hold.Store(&broken)
	w.ended(w.svc.Create(w.Ctx, w.call(), 1000*time.Hour))
	if got = needs(); len(got) != 1 || !got[0].Until.Equal(first.Expires) {
		t.Errorf("a backup that failed holds: %+v", got)
	}
	w.do(w.svc.Delete(w.Ctx, w.call(), first.ID, false))
	if got = needs(); len(got) != 0 {
		t.Errorf("held although there is no backup: %+v", got)
	}
}

// A file that is elsewhere is not forgotten by mistake.
func TestFileElsewhere(t *testing.T) {
	w := newWorld(t)
	b := w.made()
	w.do(os.Rename(filepath.Join(w.dir, b.File), filepath.Join(t.TempDir(), "x")))
	if err := w.svc.Delete(w.Ctx, w.call(), b.ID, false); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), "node-1") {
		t.Errorf("Delete = %v, want where it is", err)
	}
	if _, _, err := w.svc.Content(w.Ctx, w.call(), b.ID); !fault.Is(err, fault.NotFound) {
		t.Errorf("Content = %v", err)
	}
	w.do(w.svc.Delete(w.Ctx, w.call(), b.ID, true))
}

func TestSettings(t *testing.T) {
	for name, s := range map[string]full.Settings{"too often": {Dir: "d", Every: time.Second}, "too short": {Keep: time.Minute}, "nowhere": {Every: time.Hour},
		"no recipient": {Recipients: []string{"ssh-ed25519 AAAA"}}} {
		if err := s.Check(); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// After three rotations of every layer of keys, the seal's included, and with all old keys retired, an older backup restores, and everything in it opens.
func TestOlderBackupsOpenAfterRotations(t *testing.T) {
	w := newWorld(t)
	w.add("old", "of the first key")
	first := w.file(w.made())
	dir, files := t.TempDir(), []string{}
	seals := []seal.Seal{w.Keys.Sealer()}
	for i := range 3 {
		w.now.Advance(time.Hour)
		// A new key file before the old ones, which stay for what they wrapped.
		path := filepath.Join(dir, fmt.Sprint("seal-", i))
		w.do(keyfile.Create(path))
		files = append([]string{path}, files...)
		next, err := keyfile.New(keyfile.Config{Files: files})
		w.do(err)
		seals = append(seals, next)
		w.do(w.Keys.Migrate(w.Ctx, next, nil))
		for what, rotate := range map[string]func() (string, error){
			"root":   func() (string, error) { return w.Keys.RotateRoot(w.Ctx, nil) },
			"tenant": func() (string, error) { return w.Keys.RotateTenantKeys(w.Ctx, w.Vault.Tenant, nil) },
			"vault":  func() (string, error) { return w.Keys.RotateVaultKey(w.Ctx, w.Vault.Tenant, w.Vault.ID, nil) },
		} {
			if _, err := rotate(); err != nil {
				t.Fatalf("rotating the %s key: %v", what, err)
			}
		}
		w.add(fmt.Sprint("new-", i), "of a later key")
		for range 2 {
			w.now.Advance(keyring.DefaultGrace + time.Minute)
			_, err := w.Keys.Maintain(w.Ctx)
			w.do(err)
		}
	}
	var roots []*store.WrappedKey
	w.do(w.Store.View(w.Ctx, func(tx store.Tx) (err error) {
		roots, err = tx.WrappedKeys(w.Ctx, store.RootKey, "installation")
		return err
	}))
	if len(roots) != 1 {
		t.Errorf("%d root keys are left, so the test proves less than it says", len(roots))
	}
	// The newest backup opens with the newest seal, and the oldest with the seal of its time.
	newest := w.file(w.made())
	for name, one := range map[string]struct {
		file   []byte
		seal   seal.Seal
		opened int64
	}{"oldest": {first, seals[0], 1}, "newest": {newest, seals[3], 4}} {
		p := *w.prover
		p.Keys = func(ctx context.Context, s store.Store) (*keyring.Keyring, func() error, error) {
			k, err := keyring.Open(ctx, keyring.Config{Store: s, Seal: one.seal, Clock: w.now})
			return k, func() error { return nil }, err
		}
		r, err := p.Prove(w.Ctx, w.reader(one.file, &archive.Unsealing{Ctx: w.Ctx, Seal: one.seal}), 0)
		if err != nil || !r.OK() || r.Opened != one.opened {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	// With another seal than that of its time the file opens to its recipient, and what is in it does not open to anybody.
	p := *w.prover
	r, err := p.Prove(w.Ctx, w.reader(first), 0)
	if err != nil || r.OK() || r.Opened != 0 {
		t.Errorf("with the newest seal alone: %+v, %v", r, err)
	}
}

// A sample opens about as many values as it says, and never none of a few.
func TestSample(t *testing.T) {
	w := newWorld(t)
	for i := range 40 {
		w.add(fmt.Sprint("s-", i), "v")
	}
	file := w.file(w.made())
	r, err := w.prover.Prove(w.Ctx, w.reader(file), 20)
	if err != nil || !r.OK() || r.Versions != 40 || r.Opened == 0 || r.Opened == 40 {
		t.Errorf("a sample of 20 of 40: %+v, %v", r, err)
	}
	if r, err = w.prover.Prove(w.Ctx, w.reader(file), 100); err != nil || r.Opened != 40 {
		t.Errorf("a sample of more than there are: %+v, %v", r, err)
	}
}
