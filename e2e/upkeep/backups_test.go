package upkeep_test

import (
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/e2e/blobfake"
	"github.com/keywright/keywright/e2e/devserver"
	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/e2e/program"
)

// The flags are those of make build, so that its objects serve.
var keywright = program.Program{Variable: "KEYWRIGHT_UPKEEP_PROGRAM", Root: "../..", Flags: []string{"-trimpath"}}

// timeEnv is how long the load goes on before and behind each backup.
const timeEnv = "KEYWRIGHT_UPKEEP_TIME"

func TestMain(m *testing.M) {
	code := m.Run()
	keywright.Remove()
	os.Exit(code)
}

// long is whether the long version was asked for.
func long() bool { return os.Getenv(timeEnv) != "" }

// pause keeps the short version from taking the machine from other tests.
func pause() {
	if !long() {
		time.Sleep(3 * time.Millisecond)
	}
}

// lasts is how long a load goes on before something else happens.
func lasts(t testing.TB) time.Duration {
	text := os.Getenv(timeEnv)
	if text == "" {
		return 150 * time.Millisecond
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		t.Fatalf("%s=%s is no duration", timeEnv, text)
	}
	return d
}

// backup is a backup that was made under a load, and when.
type backup struct {
	file string
	window
}

// site is what a test has: a database server, and the identity that opens backups away from the servers.
type site struct {
	*testing.T
	db        *pgtest.Server
	recipient string
	identity  string
	storage   *httptest.Server
}

func newSite(t *testing.T) *site {
	keywright.Build(t)
	s := &site{T: t, db: pgtest.Run(t), identity: filepath.Join(t.TempDir(), "offline.txt"), storage: httptest.NewServer(blobfake.New())}
	t.Cleanup(s.storage.Close)
	s.recipient = strings.TrimSpace(devserver.Run(t, s.program(), nil, "backup", "keygen", "--file", s.identity))
	return s
}

func (s *site) program() string { return os.Getenv(keywright.Variable) }

// server is one that is not started yet; with a database it keeps everything there.
func (s *site) server(dsnFile string) *devserver.Server {
	args := []string{"--backup-recipient", s.recipient}
	if dsnFile != "" {
		args = append(args, "--store-dsn-file", dsnFile)
	}
	return devserver.New(s.T, s.program(), "127.0.0.1:0", args...)
}

// database makes one, and returns the file of its connection string.
func (s *site) database(name string) string {
	s.Helper()
	s.do(s.db.Exec(s.Context(), "CREATE DATABASE "+name))
	file := filepath.Join(s.TempDir(), "dsn")
	s.do(os.WriteFile(file, []byte(s.db.DSN(pgtest.Superuser, s.db.Password, name)), 0o600))
	return file
}

func (s *site) do(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// backUp makes a backup by the command line while the load goes on, and takes its file away.
func (s *site) backUp(from *devserver.Server, l *load) backup {
	s.Helper()
	b := backup{file: filepath.Join(s.TempDir(), "backup.kwb")}
	b.from = l.mark()
	fields := strings.Split(from.Run(s.T, "backup", "create", "--output", "tsv"), "\t")
	b.to = l.mark()
	from.Run(s.T, "backup", "download", strings.TrimSpace(fields[0]), "--file", b.file)
	return b
}

// restore starts a server on what was restored from a backup. It has the seal of the first one.
func (s *site) restore(b, newer backup, seal *devserver.Server, dsnFile string) *devserver.Server {
	s.Helper()
	to := s.server(dsnFile)
	to.TakeSeal(s.T, seal)
	args := []string{"restore", "--file", b.file, "--dir", to.Dir, "--identity-file", s.identity}
	if newer.file != "" {
		args = append(args, "--newer", newer.file)
	}
	if dsnFile != "" {
		args = append(args, "--postgres-dsn-file", dsnFile)
	}
	said := strings.TrimSpace(devserver.Run(s.T, s.program(), nil, args...))
	if s.Log(said); newer.file != "" && !strings.Contains(said, "were left out") {
		s.Error("nothing that the newer backup knows to be purged was left out")
	}
	to.Start(s.T)
	return to
}

// verified proves the audit log.
func (s *site) verified(of *devserver.Server) {
	s.Helper()
	report, err := of.Client(s.T).VerifyAudit(s.Context(), "")
	s.do(err)
	if !report.OK || report.Records == 0 {
		s.Errorf("the audit log does not verify: %+v", report)
	}
}

// rotate makes new keys of every layer, and waits until what is to be moved was moved.
func (s *site) rotate(of *devserver.Server) {
	s.Helper()
	local, err := client.NewLocal(of.Dir)
	s.do(err)
	defer local.Close()
	ring := of.Client(s.T)
	type caller interface {
		RotateKeyring(context.Context, api.RotateKeys) (*api.KeysRotated, error)
		KeyringStatus(context.Context) (*api.KeyringStatus, error)
	}
	for _, layer := range []string{"service", "digest", "audit", "backup", "data", "tenant", "root"} { // data rotates the layer vault, too
		var c caller = ring
		if layer == "root" {
			c = local.Keyring("")
		}
		made, err := c.RotateKeyring(s.Context(), api.RotateKeys{Layer: layer})
		s.do(err)
		if made.Made == 0 {
			s.Errorf("no key of the layer %s was rotated", layer)
		}
		for moving := 1; moving > 0; time.Sleep(10 * time.Millisecond) {
			status, err := c.KeyringStatus(s.Context())
			s.do(err)
			moving = 0
			for _, l := range status.Layers {
				if l.Layer == layer {
					moving += l.Moving
				}
			}
		}
	}
}

// TestBackUpUnderLoad restores a store of one machine in PostgreSQL, goes on there, and comes back.
func TestBackUpUnderLoad(t *testing.T) {
	s := newSite(t)
	one := s.server("")
	one.Start(t)
	k := s.keep(one)
	embedded := newLoad(t, "embedded")
	stop := embedded.work(one.Client(t))
	wait := lasts(t)
	var made []backup
	for round := range 4 {
		embedded.goesOn(wait)
		made = append(made, s.backUp(one, embedded))
		if round == 0 {
			k.purge(one)
		}
		if round < 3 {
			s.rotate(one)
		}
	}
	embedded.goesOn(wait)
	stop()
	s.verified(one)
	s.do(one.End())
	first, last := made[0], made[len(made)-1]
	t.Logf("on SQLite %d writes, %d reads", embedded.writes, embedded.reads)

	// The oldest backup has the keys of before the rotations; what was purged since stays gone.
	old := s.restore(first, last, one, s.database("first"))
	s.verified(old)
	k.purged(old)
	t.Logf("the first backup in PostgreSQL: %d versions are the same", embedded.check(old, first.window, last.window))
	s.do(old.End())
	several := s.restore(last, backup{}, one, s.database("last"))
	t.Logf("the last backup in PostgreSQL: %d versions are the same", embedded.check(several, last.window, last.window))
	k.bringBack(several)

	shared := newLoad(t, "shared")
	stop = shared.work(several.Client(t))
	shared.goesOn(wait)
	if long() { // what moves keys is the same on both engines, and slower here
		s.rotate(several)
	}
	back := s.backUp(several, shared)
	shared.goesOn(wait)
	stop()
	s.verified(several)
	s.do(several.End())
	t.Logf("on PostgreSQL %d writes, %d reads", shared.writes, shared.reads)
	home := s.restore(back, backup{}, one, "")
	s.verified(home)
	t.Logf("back in SQLite: %d versions are the same", shared.check(home, back.window, back.window))
	k.there(home)
	s.do(home.End())
}

// keeping is what was backed up object by object before any key was rotated.
type keeping struct {
	*site
	secret, key []byte
	public      string
	folder      string
}

const keptValue = "correct horse"

// doomed is in the first backup, and purged behind it.
const doomed = "doomed"

func (k *keeping) purge(at *devserver.Server) {
	k.Helper()
	ctx, v := k.Context(), at.Client(k.T).Vault(vaultName)
	_, err := v.Delete(ctx, doomed)
	k.do(err)
	k.do(v.Purge(ctx, doomed))
}

// purged checks that what was purged did not come back.
func (k *keeping) purged(at *devserver.Server) {
	k.Helper()
	ctx, v := k.Context(), at.Client(k.T).Vault(vaultName)
	if _, err := v.Get(ctx, doomed); client.KindOf(err) != client.NotFound {
		k.Errorf("what was purged behind the backup is there again: %v", err)
	}
	if _, err := v.GetDeleted(ctx, doomed); client.KindOf(err) != client.NotFound {
		k.Errorf("what was purged behind the backup is among what was deleted: %v", err)
	}
}

// keep makes a secret and a key, backs each up, and copies the vault.
func (s *site) keep(from *devserver.Server) *keeping {
	s.Helper()
	ctx, c := s.Context(), from.Client(s.T)
	v := c.Vault(vaultName)
	_, err := v.Set(ctx, "kept", []byte("before"))
	s.do(err)
	_, err = v.Set(ctx, "kept", []byte(keptValue))
	s.do(err)
	for _, name := range []string{"copied", doomed} {
		_, err = v.Set(ctx, name, []byte(keptValue))
		s.do(err)
	}
	made, err := v.Keys().Create(ctx, "kept", client.CreateKey{Type: "EC"})
	s.do(err)
	k := &keeping{site: s, public: made.PublicKey}
	k.secret, err = v.Backup(ctx, "kept")
	s.do(err)
	k.key, err = v.Keys().Backup(ctx, "kept")
	s.do(err)
	job, err := c.CopyVault(ctx, vaultName, s.container(""))
	s.do(err)
	address := s.whole(c, job)
	k.folder = address[strings.LastIndex(address, "/")+1:]
	return k
}

func (s *site) container(folder string) api.VaultContainer {
	return api.VaultContainer{Address: s.storage.URL + "/copies", Token: blobfake.Signature, Folder: folder}
}

// whole waits for the end of a job and returns where its copy is.
func (s *site) whole(c *client.Client, job *api.VaultJob) string {
	s.Helper()
	for {
		j, err := c.VaultJob(s.Context(), vaultName, job.Kind, job.ID)
		s.do(err)
		switch j.Status {
		case "Succeeded":
			return j.Address
		case "Failed":
			s.Fatalf("the job: %+v", j)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// bringBack purges what was kept and restores it, from before three rotations of every key and from another engine.
func (k *keeping) bringBack(to *devserver.Server) {
	k.Helper()
	ctx, c := k.Context(), to.Client(k.T)
	v := c.Vault(vaultName)
	for _, name := range []string{"kept", "copied"} {
		_, err := v.Delete(ctx, name)
		k.do(err)
		k.do(v.Purge(ctx, name))
	}
	_, err := v.Keys().Delete(ctx, "kept")
	k.do(err)
	k.do(v.Keys().Purge(ctx, "kept"))
	_, err = v.Restore(ctx, k.secret)
	k.do(err)
	_, err = v.Keys().Restore(ctx, k.key)
	k.do(err)
	job, err := c.RestoreVault(ctx, vaultName, k.container(k.folder))
	k.do(err)
	k.whole(c, job)
	k.there(to)
}

// there checks that what was kept is there.
func (k *keeping) there(at *devserver.Server) {
	k.Helper()
	ctx, v := k.Context(), at.Client(k.T).Vault(vaultName)
	for name, versions := range map[string]int{"kept": 2, "copied": 1} {
		got, err := v.Get(ctx, name)
		k.do(err)
		n := 0
		for _, err := range v.Versions(ctx, name) {
			k.do(err)
			n++
		}
		if string(got.Bytes()) != keptValue || n != versions {
			k.Errorf("%s came back as %q with %d versions, want %q with %d", name, got.Bytes(), n, keptValue, versions)
		}
	}
	key, err := v.Keys().Get(ctx, "kept", client.Selector{})
	k.do(err)
	if key.PublicKey != k.public {
		k.Error("another key came back")
	}
	k.do(signs(ctx, v, key, client.Selector{}))
}
