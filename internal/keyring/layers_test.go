package keyring_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// sealed is everything that a keyring can seal, with what it was.
type sealed struct {
	tenant  vault.TenantID
	place   keyring.Place
	value   string
	audit   []byte
	backup  []byte
	digest  []byte
	service vault.Envelope
}

func (w *world) sealAll(t fataler, k *keyring.Keyring, tenant vault.TenantID, id vault.ID, value string) *sealed {
	t.Helper()
	s := &sealed{tenant: tenant, value: value, place: w.secret(t, tenant, id, value)}
	var err error
	if s.audit, err = k.SealAudit(nil, string(tenant), []byte(value), nil); err != nil {
		t.Fatalf("SealAudit: %v", err)
	}
	if s.backup, err = k.SealBackup(ctx, tenant, id, []byte(value), s.place.Object); err != nil {
		t.Fatalf("SealBackup: %v", err)
	}
	if s.digest, err = k.Digest(ctx, tenant, "test", []byte(value)); err != nil {
		t.Fatalf("Digest: %v", err)
	}
	if s.service, err = k.SealFor(ctx, tenant, "test", "1", []byte(value)); err != nil {
		t.Fatalf("SealFor: %v", err)
	}
	return s
}

// opens checks that all of it opens.
func (s *sealed) opens(t fataler, w *world, k *keyring.Keyring) {
	t.Helper()
	want := []byte(s.value)
	for what, open := range map[string]func() ([]byte, error){
		"version": func() ([]byte, error) { return k.Open(ctx, s.place, w.envelope(t, s.place)) },
		"audit":   func() ([]byte, error) { return k.OpenAudit(nil, string(s.tenant), s.audit, nil) },
		"backup":  func() ([]byte, error) { return k.OpenBackup(ctx, s.tenant, s.backup) },
		"service": func() ([]byte, error) { return k.OpenFor(ctx, s.tenant, "test", "1", s.service) },
	} {
		if got, err := open(); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: %q, %v; want %q", what, got, err, want)
		}
	}
	if ok, err := k.Matches(ctx, s.tenant, "test", want, s.digest); err != nil || !ok {
		t.Fatalf("digest: %v, %v", ok, err)
	}
}

// Every layer is rotated, and rotated again, and everything that was ever sealed opens; what is moved ends, and is told.
func TestEveryLayerRotates(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	var all []*sealed
	for round := range 3 {
		for _, layer := range keyring.Layers() {
			all = append(all, w.sealAll(t, w.Keyring, tenant, id, fmt.Sprintf("%s in round %d", layer, round)))
			key, err := w.Rotate(ctx, keyring.Rotation{Layer: layer, Tenant: tenant, Vault: id}, nil)
			if err != nil || key == "" {
				t.Fatalf("rotating the layer %s: %v", layer, err)
			}
			select {
			case <-w.Woken():
			default:
				t.Errorf("nobody was woken after the layer %s was rotated", layer)
			}
			for _, s := range all {
				s.opens(t, w, w.Keyring)
			}
			w.clock.Advance(2 * grace)
			if _, err := w.Maintain(ctx); err != nil {
				t.Fatalf("maintaining after the layer %s: %v", layer, err)
			}
		}
	}
	again := w.open(t, w.seal)
	for _, s := range all {
		s.opens(t, w, again)
	}
	if _, err := w.Rotate(ctx, keyring.Rotation{Layer: keyring.AuditLayer}, nil); err != nil {
		t.Errorf("the installation's audit key: %v", err)
	}
	for _, owner := range []vault.TenantID{"", tenant} {
		states, err := w.States(ctx, owner)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			if s.Moving != 0 || s.Layer != keyring.DataLayer && (s.Keys == 0 || s.Newest.IsZero()) {
				t.Errorf("the layer %s is %+v", s.Layer, s)
			}
			// What only the keyring's own rows depend on is retired; the rest stays.
			retired := slices.Contains([]keyring.Layer{keyring.RootLayer, keyring.TenantLayer, keyring.VaultLayer}, s.Layer)
			if retired != (s.Old == 0) && s.Layer != keyring.DataLayer {
				t.Errorf("the layer %s has %d old keys", s.Layer, s.Old)
			}
		}
	}
	if _, err := w.Rotate(ctx, keyring.Rotation{Layer: "none", Tenant: tenant}, nil); !fault.Is(err, fault.Invalid) {
		t.Errorf("an unknown layer: %v", err)
	}
}

func TestDataKeysAreRenewed(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	p := w.secret(t, tenant, id, "value")
	before := w.envelope(t, p)
	if _, err := w.Rotate(ctx, keyring.Rotation{Layer: keyring.VaultLayer, Tenant: tenant, Vault: id}, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	wrapped := w.envelope(t, p)
	if bytes.Equal(wrapped.WrappedKey, before.WrappedKey) || !bytes.Equal(wrapped.Ciphertext, before.Ciphertext) {
		t.Error("rotating the vault's key is to wrap the data key anew, and no more")
	}
	if _, err := w.Rotate(ctx, keyring.Rotation{Layer: keyring.DataLayer, Tenant: tenant, Vault: id}, nil); err != nil {
		t.Fatal(err)
	}
	states, err := w.States(ctx, tenant)
	if err != nil || states[2].Layer != keyring.DataLayer || states[2].Moving != 1 {
		t.Errorf("while it is to be done: %+v, %v", states, err)
	}
	if _, err := w.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	if renewed := w.envelope(t, p); bytes.Equal(renewed.Ciphertext, wrapped.Ciphertext) {
		t.Error("rotating data keys left the ciphertext as it was")
	}
	mustOpen(t, w.Keyring, p, w.envelope(t, p), "value")
}

// A walk that is interrupted goes on where it was, on another node too, and two of them at a time do no harm.
func TestWalkGoesOnWhereItWas(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	places := map[keyring.Place]string{}
	for i := range 150 {
		value := fmt.Sprint("value ", i)
		places[w.secret(t, tenant, id, value)] = value
	}
	if _, err := w.RotateVaultKey(ctx, tenant, id, nil); err != nil {
		t.Fatal(err)
	}
	b := &breaking{Store: w.store, left: 1, stored: true}
	dying, err := keyring.Open(ctx, keyring.Config{Store: b, Seal: w.seal, Clock: w.clock, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	first, err := dying.ResealVault(ctx, tenant, id)
	if !fault.Is(err, fault.Unavailable) || first == 0 {
		t.Fatalf("the walk that died: %d, %v", first, err)
	}
	states, err := w.States(ctx, tenant)
	if err != nil || states[1].Moving != 1 || states[1].Seen < int64(first) || states[1].Moved < int64(first) {
		t.Errorf("after the death: %+v, %v", states[1], err)
	}
	other := w.open(t, w.seal)
	done := make(chan error, 1)
	go func() { _, err := other.ResealVault(ctx, tenant, id); done <- err }()
	second, err := w.ResealVault(ctx, tenant, id)
	if err := <-done; err != nil || second >= 150 {
		t.Errorf("the walk that went on moved %d, %v", second, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var newest string
	for _, row := range w.keys(t, store.VaultKey, string(id)) {
		if row.State == store.KeyActive {
			newest = row.ID
		}
	}
	for p, value := range places {
		if env := w.envelope(t, p); env.Key != newest {
			t.Fatal("a version was left")
		}
		mustOpen(t, w.Keyring, p, w.envelope(t, p), value)
	}
	if states, err = w.States(ctx, tenant); err != nil || states[1].Moving != 0 {
		t.Errorf("at the end: %+v, %v", states[1], err)
	}
}

// A node that heard nothing of a rotation, and was stopped until the old key was retired, must not store what it sealed with it.
func TestWriteUnderARetiredKeyIsRefused(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	p := w.secret(t, tenant, id, "before")
	deaf, err := keyring.Open(ctx, keyring.Config{Store: w.store, Seal: w.seal, Clock: w.clock, Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	env, err := deaf.Seal(ctx, p, []byte("after"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(env vault.Envelope) error {
		return deaf.Checked(w.store).Update(ctx, store.NewOp(w.clock.Now()), func(tx store.Tx) error {
			v, err := tx.Version(ctx, p.Object, p.Version)
			if err != nil {
				return err
			}
			next := *v
			next.Value = env
			return tx.PutVersion(ctx, &next)
		})
	}
	if _, err := w.RotateVaultKey(ctx, tenant, id, nil); err != nil {
		t.Fatal(err)
	}
	if err := write(env); err != nil {
		t.Fatalf("a write under a key that is replaced but not retired: %v", err)
	}
	for range 3 { // the write came behind the walk, which notices
		w.clock.Advance(2 * grace)
		if _, err := w.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	mustOpen(t, w.Keyring, p, w.envelope(t, p), "after")
	if n := len(w.keys(t, store.VaultKey, string(id))); n != 1 {
		t.Fatalf("%d keys are left, the old one was not retired", n)
	}
	late, err := deaf.Seal(ctx, p, []byte("late"))
	if err != nil {
		t.Fatal(err)
	}
	if err := write(late); !fault.Is(err, fault.Unavailable) || fault.As(err).Reason != keyring.KeyRetired {
		t.Errorf("a write under the retired key: %v", err)
	}
	mustOpen(t, w.Keyring, p, w.envelope(t, p), "after")
	if late, err = deaf.Seal(ctx, p, []byte("again")); err != nil {
		t.Fatal(err)
	}
	if err := write(late); err != nil {
		t.Errorf("the write that was tried again: %v", err)
	}
	mustOpen(t, w.Keyring, p, w.envelope(t, p), "again")
}

// Whatever is rotated, moved, retired or interrupted, in whichever order and on whichever node: everything that was sealed opens.
func TestRandomRotationsOfAllLayers(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		w := newWorld(t)
		tenants := []vault.TenantID{w.tenant(r), w.tenant(r)}
		vaults := map[vault.TenantID]vault.ID{}
		for _, tenant := range tenants {
			vaults[tenant] = w.vault(r, tenant)
		}
		b := &breaking{Store: w.store, left: 1 << 30}
		nodes := []*keyring.Keyring{w.Keyring, w.open(t, w.seal)}
		var all []*sealed
		tenant := func(r *rapid.T) vault.TenantID { return rapid.SampledFrom(tenants).Draw(r, "tenant") }
		node := func(r *rapid.T) *keyring.Keyring { return rapid.SampledFrom(nodes).Draw(r, "node") }
		r.Repeat(map[string]func(*rapid.T){
			"seal": func(r *rapid.T) {
				of := tenant(r)
				all = append(all, w.sealAll(r, node(r), of, vaults[of], fmt.Sprint("value ", len(all))))
			},
			"rotate": func(r *rapid.T) {
				of := tenant(r)
				if _, err := node(r).Rotate(ctx, keyring.Rotation{Layer: rapid.SampledFrom(keyring.Layers()).Draw(r, "layer"), Tenant: of, Vault: vaults[of]}, nil); err != nil {
					r.Fatalf("Rotate: %v", err)
				}
			},
			"maintain": func(r *rapid.T) {
				if _, err := node(r).Maintain(ctx); err != nil {
					r.Fatalf("Maintain: %v", err)
				}
			},
			"die while maintaining": func(r *rapid.T) {
				b.dead, b.left, b.stored = false, rapid.IntRange(0, 4).Draw(r, "updates"), rapid.Bool().Draw(r, "stored")
				dying, err := keyring.Open(ctx, keyring.Config{Store: b, Seal: w.seal, Clock: w.clock, Grace: grace})
				if err != nil {
					r.Fatalf("Open: %v", err)
				}
				if _, err := dying.Maintain(ctx); err != nil && !fault.Is(err, fault.Unavailable) {
					r.Fatalf("Maintain: %v", err)
				}
			},
			"time passes": func(*rapid.T) { w.clock.Advance(2 * grace) },
			"":            func(r *rapid.T) { slices.Values(all)(func(s *sealed) bool { s.opens(r, w, node(r)); return true }) },
		})
	})
}

func TestDestroyedKeysAreRecorded(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	turn, asked := true, 0
	var told []string
	w.Maintainer(func(context.Context, store.Tx) error {
		if asked++; !turn {
			return fault.New(fault.Conflict, "it is another node's turn")
		}
		return nil
	}, func(purpose store.KeyPurpose, owner string, ids []string) keyring.With {
		return func(ctx context.Context, change func(store.Tx, store.Op) error) error {
			op := store.NewOp(w.clock.Now())
			err := w.store.Update(ctx, op, func(tx store.Tx) error { return change(tx, op) })
			if err == nil {
				told = append(told, fmt.Sprint(purpose, " ", owner, " ", len(ids)))
			}
			return err
		}
	})
	if _, err := w.RotateVaultKey(ctx, tenant, id, nil); err != nil {
		t.Fatal(err)
	}
	turn = false
	if _, err := w.Maintain(ctx); !fault.Is(err, fault.Conflict) {
		t.Errorf("maintained in another node's turn: %v", err)
	}
	turn = true
	if _, err := w.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(grace + time.Second)
	if done, err := w.Maintain(ctx); err != nil || done.Retired != 1 || asked == 0 {
		t.Errorf("Maintain: %+v, %v", done, err)
	}
	if want := fmt.Sprint("vault ", id, " 1"); !slices.Equal(told, []string{want}) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// Needs that have ended are remembered for a while, and removed then; what something is still needed for stays, and so does what has no end.
func TestEndedNeedsAreSwept(t *testing.T) {
	const kept, day = 10 * 24 * time.Hour, 24 * time.Hour
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	p := w.secret(t, tenant, id, "value")
	k, err := keyring.Open(ctx, keyring.Config{Store: w.store, Seal: w.seal, Clock: w.clock, Grace: grace, BackupsKept: kept})
	if err != nil {
		t.Fatal(err)
	}
	hold := func(by vault.ID, until time.Time) {
		t.Helper()
		w.update(t, func(tx store.Tx) error {
			return tx.PutKeyNeed(ctx, &store.KeyNeed{Key: p.Object, In: id, By: by, Use: store.NeededByHold, Until: until, Note: "{}"})
		})
	}
	// More than one transaction removes.
	for i := range 300 {
		hold(vault.ID(fmt.Sprint("over-", i)), w.clock.Now().Add(time.Hour))
	}
	hold("long", w.clock.Now().Add(365*day))
	hold("endless", time.Time{})
	if _, err := k.SealBackup(ctx, tenant, id, []byte("value"), p.Object); err != nil {
		t.Fatal(err)
	}
	counts := func() (holds, backups int) {
		t.Helper()
		for _, in := range []vault.ID{id, store.BackupsOf(id), vault.ID(tenant)} {
			if err := w.store.View(ctx, func(tx store.Tx) error {
				needs, err := tx.KeyNeeds(ctx, in, "")
				for _, n := range needs {
					if n.Use == store.NeededByHold {
						holds++
					} else {
						backups++
					}
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		return holds, backups
	}
	for _, step := range []struct {
		after          time.Duration
		holds, backups int
	}{
		{2 * time.Hour, 302, 2}, // over, and remembered
		{29 * day, 302, 2},
		{day, 2, 2}, // thirty days after their end
		{8 * day, 2, 2},
		{4 * day, 2, 0}, // the backups', of ten days and one, too
		{365 * day, 1, 0},
		{3650 * day, 1, 0}, // what has no end
	} {
		w.clock.Advance(step.after)
		if _, err := k.Maintain(ctx); err != nil {
			t.Fatal(err)
		}
		if holds, backups := counts(); holds != step.holds || backups != step.backups {
			t.Errorf("%s later there are %d holds and %d needs of backups, want %d and %d", step.after, holds, backups, step.holds, step.backups)
		}
	}
	if _, err := k.SealBackup(ctx, tenant, id, []byte("value"), p.Object); err != nil {
		t.Errorf("a backup after the sweep: %v", err)
	}
	if _, backups := counts(); backups != 2 {
		t.Errorf("a backup after the sweep is needed by %d", backups)
	}
}

// A backup key outlives its successors for as long as the last backup under it, and what it sealed with it.
func TestBackupKeyIsDestroyedWithItsLastBackup(t *testing.T) {
	const kept = 30 * 24 * time.Hour
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	p := w.secret(t, tenant, id, "value")
	k, err := keyring.Open(ctx, keyring.Config{Store: w.store, Seal: w.seal, Clock: w.clock, Grace: grace, BackupsKept: kept})
	if err != nil {
		t.Fatal(err)
	}
	backup := func() []byte {
		t.Helper()
		blob, err := k.SealBackup(ctx, tenant, id, []byte("value"), p.Object)
		if err != nil {
			t.Fatal(err)
		}
		return blob
	}
	first := backup()
	w.clock.Advance(10 * 24 * time.Hour)
	last := backup()
	rotation := keyring.Rotation{Layer: keyring.BackupLayer, Tenant: tenant}
	if _, err := k.Rotate(ctx, rotation, nil); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(kept - time.Hour)
	if _, err := k.Maintain(ctx); err != nil {
		t.Fatal(err)
	}
	for _, blob := range [][]byte{first, last} {
		if got, err := k.OpenBackup(ctx, tenant, blob); err != nil || string(got) != "value" {
			t.Fatalf("a backup that is kept: %q, %v", got, err)
		}
	}
	w.clock.Advance(2 * 24 * time.Hour)
	if done, err := k.Maintain(ctx); err != nil || done.Retired != 1 {
		t.Fatalf("after the last backup's end: %+v, %v", done, err)
	}
	if got, err := k.OpenBackup(ctx, tenant, last); !fault.Is(err, fault.Invalid) || got != nil {
		t.Errorf("a backup whose key is destroyed: %q, %v", got, err)
	}
	mustOpen(t, k, p, w.envelope(t, p), "value")
}
