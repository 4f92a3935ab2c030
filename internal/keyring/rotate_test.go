package keyring_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/seal/passphrase"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// The story of a rotation of every layer, while values that were sealed at each step go on opening.
func TestRotatingEveryLayer(t *testing.T) {
	w := newWorld(t)
	other := w.open(t, w.seal)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	values := map[string]keyring.Place{}
	check := func() {
		t.Helper()
		for value, p := range values {
			env := w.envelope(t, p)
			mustOpen(t, w.Keyring, p, env, value)
			mustOpen(t, other, p, env, value)
			mustOpen(t, w.open(t, w.seal), p, env, value)
		}
	}
	add := func(value string) {
		t.Helper()
		values[value] = w.secret(t, tenant, id, value)
		check()
	}
	rotate := func(what string, fn func() (string, error)) {
		t.Helper()
		w.clock.Advance(time.Microsecond)
		if key, err := fn(); err != nil || key == "" {
			t.Fatalf("rotating the %s key: %q, %v", what, key, err)
		}
		check()
		add("after " + what)
	}
	add("first")
	rotate("vault", func() (string, error) { return w.RotateVaultKey(ctx, tenant, id, nil) })
	rotate("tenant", func() (string, error) { return w.RotateTenantKeys(ctx, tenant, nil) })
	rotate("root", func() (string, error) { return w.RotateRoot(ctx, nil) })

	for _, owner := range []struct {
		purpose store.KeyPurpose
		owner   string
	}{{store.RootKey, "installation"}, {store.TenantKey, string(tenant)}, {store.VaultKey, string(id)}} {
		rows := w.keys(t, owner.purpose, owner.owner)
		if len(rows) != 2 || rows[0].State != store.KeyDecryptOnly || rows[1].State != store.KeyActive {
			t.Errorf("%s: %d keys; want a decrypt-only and an active one", owner.purpose, len(rows))
		}
	}

	done, err := w.Maintain(ctx)
	if err != nil || done.Retired != 0 || done.Resealed != 1 {
		t.Errorf("Maintain within the grace = %+v, %v; want one version resealed and nothing retired", done, err)
	}
	w.clock.Advance(grace + time.Second)
	if done, err = w.Maintain(ctx); err != nil || done != (keyring.Maintenance{Retired: 4}) {
		t.Errorf("Maintain after the grace = %+v, %v; want the three old keys retired, and the backup key that sealed no backup", done, err)
	}
	check()
	if done, err = w.Maintain(ctx); err != nil || done != (keyring.Maintenance{}) {
		t.Errorf("Maintain when all is done = %+v, %v", done, err)
	}
	for _, p := range values {
		if env := w.envelope(t, p); env.Key != w.keys(t, store.VaultKey, string(id))[0].ID {
			t.Errorf("a version is still under key %s", env.Key)
		}
	}
}

// A key that something still needs is not retired, however old it is.
func TestRetireKeepsWhatIsNeeded(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	p := w.secret(t, tenant, id, "value")
	env := w.envelope(t, p)
	if _, err := w.RotateVaultKey(ctx, tenant, id, nil); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(10 * grace)
	if n, err := w.RetireVault(ctx, id); err != nil || n != 0 {
		t.Fatalf("%d keys that a version needs were retired, %v", n, err)
	}
	// So does the key of a version whose object is soft-deleted.
	w.update(t, func(tx store.Tx) error {
		o, err := tx.Object(ctx, id, vault.Secret, "s"+string(p.Object))
		if err != nil {
			return err
		}
		if o, err = o.Delete(w.clock.Now(), grace); err != nil {
			return err
		}
		return tx.PutObject(ctx, o)
	})
	if n, err := w.RetireVault(ctx, id); err != nil || n != 0 {
		t.Fatalf("%d keys that a deleted object needs were retired, %v", n, err)
	}
	// The version cannot be moved because its data key is damaged: its key must stay until somebody decides.
	bad := env
	bad.WrappedKey = append([]byte{}, env.WrappedKey...)
	bad.WrappedKey[20] ^= 1
	w.update(t, func(tx store.Tx) error {
		v, err := tx.Version(ctx, p.Object, p.Version)
		if err != nil {
			return err
		}
		next := *v
		next.Value = bad
		return tx.PutVersion(ctx, &next)
	})
	if _, err := w.Maintain(ctx); !errors.Is(err, keyring.ErrDamaged) {
		t.Errorf("Maintain: %v", err)
	}
	if n := len(w.keys(t, store.VaultKey, string(id))); n != 2 {
		t.Errorf("%d vault keys are left of 2", n)
	}
	mustOpen(t, w.Keyring, p, env, "value")
}

// What is sealed is moved and kept whatever kind of object it belongs to: an issuer's password counts like a secret.
func TestEveryKindIsMoved(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	places := map[vault.Kind]keyring.Place{}
	for _, kind := range vault.Kinds() {
		places[kind] = w.object(t, tenant, id, kind, string(kind))
	}
	if _, err := w.RotateVaultKey(ctx, tenant, id, nil); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(10 * grace)
	if done, err := w.Maintain(ctx); err != nil || done.Resealed != len(places) {
		t.Errorf("Maintain = %+v, %v; want %d moved", done, err, len(places))
	}
	for kind, p := range places {
		mustOpen(t, w.Keyring, p, w.envelope(t, p), string(kind))
	}
}

func TestRotationCarriesTheCallersRecord(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	no := errors.New("the record cannot be kept")
	rotations := map[string]func(with keyring.With) error{
		"vault":   func(with keyring.With) error { _, err := w.RotateVaultKey(ctx, tenant, id, with); return err },
		"tenant":  func(with keyring.With) error { _, err := w.RotateTenantKeys(ctx, tenant, with); return err },
		"root":    func(with keyring.With) error { _, err := w.RotateRoot(ctx, with); return err },
		"migrate": func(with keyring.With) error { return w.Migrate(ctx, w.seal, with) },
	}
	for name, rotate := range rotations {
		refuse := func(context.Context, func(store.Tx, store.Op) error) error { return no }
		if err := rotate(refuse); !errors.Is(err, no) {
			t.Errorf("%s went on without its record: %v", name, err)
		}
		var record []byte
		stop := w.store.Watch(func(c *store.Commit) {
			if c.Audit != nil {
				record = c.Audit
			}
		})
		err := rotate(func(ctx context.Context, change func(store.Tx, store.Op) error) error {
			op := store.NewOp(w.clock.Now())
			return w.store.Update(ctx, op, func(tx store.Tx) error { tx.Audit([]byte(name)); return change(tx, op) })
		})
		stop()
		if err != nil || string(record) != name {
			t.Errorf("%s: record %q, %v", name, record, err)
		}
	}
	if n := len(w.keys(t, store.VaultKey, string(id))); n != 2 {
		t.Errorf("%d vault keys; a refused rotation left one", n)
	}
}

func TestMigrate(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	p := w.secret(t, tenant, w.vault(t, tenant), "value")
	if _, err := w.RotateRoot(ctx, nil); err != nil {
		t.Fatal(err)
	}
	phrase, err := passphrase.New(passphrase.Config{
		Source: passphrase.FromReader(newReader("five random words of yours\n")),
		Cost:   passphrase.Cost{Passes: 2, MemoryKiB: 19 << 10, Lanes: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	before := w.SealName()
	if err := w.Migrate(ctx, phrase, nil); err != nil {
		t.Fatal(err)
	}
	if before != w.seal.Name() || w.SealName() != "passphrase" {
		t.Errorf("the seal was named %q, and %q after the move", before, w.SealName())
	}
	mustOpen(t, w.Keyring, p, w.envelope(t, p), "value")
	mustOpen(t, w.open(t, phrase), p, w.envelope(t, p), "value")
	if _, err := keyring.Open(ctx, keyring.Config{Store: w.store, Seal: w.seal}); !fault.Is(err, fault.Invalid) {
		t.Errorf("the old seal still opens: %v", err)
	}
	if err := w.Migrate(ctx, forgetful{w.seal}, nil); err == nil {
		t.Error("migrated to a seal that does not give back what it was given")
	}
	mustOpen(t, w.open(t, phrase), p, w.envelope(t, p), "value")

	// A key file's successor is named before it, and the root is wrapped again.
	dir := t.TempDir()
	old, fresh := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	for _, path := range []string{old, fresh} {
		if err := keyfile.Create(path); err != nil {
			t.Fatal(err)
		}
	}
	for _, files := range [][]string{{old}, {fresh, old}} {
		s, err := keyfile.New(keyfile.Config{Files: files})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Migrate(ctx, s, nil); err != nil {
			t.Fatal(err)
		}
	}
	s, err := keyfile.New(keyfile.Config{Files: []string{fresh}})
	if err != nil {
		t.Fatal(err)
	}
	mustOpen(t, w.open(t, s), p, w.envelope(t, p), "value")
}

// model is what a random history must keep true: whatever was stored opens with its value, unless its key was destroyed.
type model struct {
	places  map[keyring.Place]string
	vaults  map[vault.ID]vault.TenantID
	openers map[keyring.Place]*keyring.Opener
}

// TestMain makes a handful of histories the default, because each has a store on disk; -rapid.checks asks for more.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		flag.Set("rapid.checks", "6")
	}
	os.Exit(m.Run())
}

func TestRandomHistories(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		other := w.open(t, w.seal)
		m := model{map[keyring.Place]string{}, map[vault.ID]vault.TenantID{}, map[keyring.Place]*keyring.Opener{}}
		tenants := []vault.TenantID{w.tenant(r), w.tenant(r)}
		pickVault := func(r *rapid.T) (vault.TenantID, vault.ID) {
			if len(m.vaults) == 0 {
				r.Skip("no vault")
			}
			id := rapid.SampledFrom(slices.Sorted(maps.Keys(m.vaults))).Draw(r, "vault")
			return m.vaults[id], id
		}
		must := func(r *rapid.T, what string, err error) {
			if err != nil {
				r.Fatalf("%s: %v", what, err)
			}
		}
		r.Repeat(map[string]func(*rapid.T){
			"new vault": func(r *rapid.T) {
				tenant := rapid.SampledFrom(tenants).Draw(r, "tenant")
				m.vaults[w.vault(r, tenant)] = tenant
			},
			"seal": func(r *rapid.T) {
				tenant, id := pickVault(r)
				value := fmt.Sprint("value ", len(m.places))
				m.places[w.secret(r, tenant, id, value)] = value
			},
			"rotate vault": func(r *rapid.T) {
				tenant, id := pickVault(r)
				_, err := w.RotateVaultKey(ctx, tenant, id, nil)
				must(r, "RotateVaultKey", err)
			},
			"rotate tenant": func(r *rapid.T) {
				_, err := w.RotateTenantKeys(ctx, rapid.SampledFrom(tenants).Draw(r, "tenant"), nil)
				must(r, "RotateTenantKeys", err)
			},
			"rotate root": func(r *rapid.T) {
				_, err := w.RotateRoot(ctx, nil)
				must(r, "RotateRoot", err)
			},
			"maintain on the other node": func(r *rapid.T) {
				_, err := other.Maintain(ctx)
				must(r, "Maintain", err)
			},
			"time passes": func(r *rapid.T) { w.clock.Advance(grace * 2) },
			"lock": func(r *rapid.T) {
				w.Lock()
				must(r, "Unlock", w.Unlock(ctx))
			},
			"flush": func(r *rapid.T) { other.Flush() },
			"shred": func(r *rapid.T) {
				_, id := pickVault(r)
				w.destroy(r, store.VaultKey, string(id))
				delete(m.vaults, id)
			},
			"": func(r *rapid.T) {
				for p, value := range m.places {
					env := w.envelope(r, p)
					if _, there := m.vaults[p.Vault]; !there {
						for _, k := range []*keyring.Keyring{w.Keyring, other} {
							if got, err := k.Open(ctx, p, env); !fault.Is(err, fault.Gone) {
								r.Fatalf("a shredded value: %q, %v", got, err)
							}
						}
						if o := m.openers[p]; o != nil && !o.Stale() {
							r.Fatalf("an opener outlived its key")
						}
						continue
					}
					mustOpen(r, w.Keyring, p, env, value)
					mustOpen(r, other, p, env, value)
					if o := m.openers[p]; o == nil || o.Stale() {
						fresh, err := w.Opener(ctx, p, env)
						must(r, "Opener", err)
						m.openers[p] = fresh
					}
					got, err := m.openers[p].Open(nil, env.Ciphertext)
					if err != nil || string(got) != value {
						r.Fatalf("Opener.Open = %q, %v", got, err)
					}
				}
			},
		})
	})
}

type forgetful struct{ seal.Seal }

// rerun is a store that runs a view twice, as the port permits: what the first run found counts for nothing.
type rerun struct {
	store.Store
	between func()
}

// View implements store.Store.
func (r *rerun) View(ctx context.Context, f func(store.Tx) error) error {
	if between := r.between; between != nil {
		r.between = nil
		if err := r.Store.View(ctx, f); err != nil {
			return err
		}
		between()
	}
	return r.Store.View(ctx, f)
}

// A key that only a run of the look that was thrown away took for unused is not retired.
func TestRetireBelievesTheLastRunAlone(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	p := w.secret(t, tenant, id, "value")
	before := w.envelope(t, p)
	if _, err := w.RotateVaultKey(ctx, tenant, id, nil); err != nil {
		t.Fatal(err)
	}
	if done, err := w.Maintain(ctx); err != nil || done.Resealed != 1 {
		t.Fatalf("Maintain = %+v, %v", done, err)
	}
	w.clock.Advance(grace + time.Second)
	again := &rerun{Store: w.store}
	k, err := keyring.Open(ctx, keyring.Config{Store: again, Seal: w.seal, Clock: w.clock, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	again.between = func() {
		w.update(t, func(tx store.Tx) error {
			v, err := tx.Version(ctx, p.Object, p.Version)
			if err != nil {
				return err
			}
			next := *v
			next.Value = before
			return tx.PutVersion(ctx, &next)
		})
	}
	if n, err := k.RetireVault(ctx, id); err != nil || n != 0 {
		t.Errorf("%d keys that a version needs were retired, %v", n, err)
	}
}
