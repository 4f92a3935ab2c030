package keyring_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func newReader(s string) io.Reader { return strings.NewReader(s) }

// Unwrap gives another key than it was given.
func (f forgetful) Unwrap(context.Context, []byte, []byte) ([]byte, error) {
	return make([]byte, 32), nil
}

func TestSealFor(t *testing.T) {
	w := newWorld(t)
	tenant, other := w.tenant(t), w.tenant(t)
	env, err := w.SealFor(ctx, tenant, "totp", "u1", []byte("seed"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := w.OpenFor(ctx, tenant, "totp", "u1", env); err != nil || string(got) != "seed" {
		t.Fatalf("OpenFor = %q, %v", got, err)
	}
	for _, bad := range []struct {
		tenant      vault.TenantID
		purpose, id string
	}{{other, "totp", "u1"}, {tenant, "signing", "u1"}, {tenant, "totp", "u2"}, {tenant, "totpu", "1"}} {
		if got, err := w.OpenFor(ctx, bad.tenant, bad.purpose, bad.id, env); !errors.Is(err, keyring.ErrDamaged) || got != nil {
			t.Errorf("%v: %q, %v", bad, got, err)
		}
	}
	if _, err := w.RotateTenantKeys(ctx, tenant, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := w.OpenFor(ctx, tenant, "totp", "u1", env); err != nil || string(got) != "seed" {
		t.Errorf("OpenFor after rotation = %q, %v", got, err)
	}
}

func TestAudit(t *testing.T) {
	w := newWorld(t)
	tenant, other := string(w.tenant(t)), string(w.tenant(t))
	record, aad := []byte("who did what"), []byte("head")
	for _, owner := range []string{tenant, ""} {
		sealed, err := w.SealAudit([]byte("before"), owner, record, aad)
		if err != nil || !bytes.HasPrefix(sealed, []byte("before")) || len(sealed) != 6+len(record)+keyring.AuditOverhead {
			t.Fatalf("SealAudit: %d bytes, %v", len(sealed), err)
		}
		sealed = sealed[6:]
		again := w.open(t, w.seal)
		if got, err := again.OpenAudit([]byte("x"), owner, sealed, aad); err != nil || string(got) != "x"+string(record) {
			t.Fatalf("OpenAudit after a restart = %q, %v", got, err)
		}
		for i := range sealed {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1
			if got, err := w.OpenAudit(nil, owner, bad, aad); err == nil || got != nil {
				t.Fatalf("opened with byte %d changed", i)
			}
			if _, err := w.OpenAudit(nil, owner, sealed[:i], aad); err == nil {
				t.Fatalf("opened with %d bytes", i)
			}
		}
		if _, err := w.OpenAudit(nil, owner, sealed, []byte("heaD")); !errors.Is(err, keyring.ErrDamaged) {
			t.Errorf("other data: %v", err)
		}
		if _, err := w.OpenAudit(nil, other, sealed, aad); !errors.Is(err, keyring.ErrDamaged) {
			t.Errorf("another tenant: %v", err)
		}
		if _, err := w.RotateTenantKeys(ctx, vault.TenantID(tenant), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := w.RotateRoot(ctx, nil); err != nil {
			t.Fatal(err)
		}
		next, err := w.SealAudit(nil, owner, record, aad)
		if err != nil || bytes.Equal(next[:17], sealed[:17]) {
			t.Errorf("after rotation the old audit key still seals: %v", err)
		}
		for _, s := range [][]byte{sealed, next} {
			if _, err := w.OpenAudit(nil, owner, s, aad); err != nil {
				t.Errorf("after rotation: %v", err)
			}
		}
	}
	sealed, _ := w.SealAudit(nil, tenant, record, aad)
	w.destroy(t, store.AuditKey, tenant)
	if _, err := w.OpenAudit(nil, tenant, sealed, aad); !fault.Is(err, fault.Gone) {
		t.Errorf("a shredded record: %v", err)
	}
	if _, err := w.SealAudit(nil, tenant, record, aad); !fault.Is(err, fault.Gone) {
		t.Errorf("sealing for a shredded tenant: %v", err)
	}
}

func TestAuditDrawsANewSaltInTime(t *testing.T) {
	w := newWorld(t)
	w.SetRecordsPerSalt(3)
	salts := map[string]int{}
	for range 10 {
		s, err := w.SealAudit(nil, "", []byte("r"), nil)
		if err != nil {
			t.Fatal(err)
		}
		salts[string(s[17:33])]++
	}
	if len(salts) != 4 {
		t.Errorf("10 records were sealed under %d salts, want 4", len(salts))
	}
	for _, n := range salts {
		if n > 3 {
			t.Errorf("%d records under one salt", n)
		}
	}
}

// away is a store that can be switched off.
type away struct {
	store.Store
	off atomic.Bool
}

func (a *away) View(ctx context.Context, fn func(store.Tx) error) error {
	if a.off.Load() {
		return fault.New(fault.Unavailable, "the store is away")
	}
	return a.Store.View(ctx, fn)
}

func TestADeadStoreStopsNeitherReadsNorTheirRecords(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	p := w.secret(t, tenant, w.vault(t, tenant), "value")
	env := w.envelope(t, p)
	a := &away{Store: w.store}
	k, err := keyring.Open(ctx, keyring.Config{Store: a, Seal: w.seal})
	if err != nil {
		t.Fatal(err)
	}
	o, err := k.Opener(ctx, p, env)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.SealAudit(nil, string(tenant), nil, nil); err != nil {
		t.Fatal(err)
	}
	a.off.Store(true)
	k.Changed(&store.Commit{Changes: []store.Change{{Kind: store.KeyChanged, Key: "another"}}})
	if got, err := o.Open(nil, env.Ciphertext); err != nil || string(got) != "value" {
		t.Errorf("Opener.Open = %q, %v", got, err)
	}
	mustOpen(t, k, p, env, "value")
	if _, err := k.SealAudit(nil, string(tenant), []byte("read"), nil); err != nil {
		t.Errorf("SealAudit: %v", err)
	}
	if _, err := k.Seal(ctx, p, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Seal without knowing the newest key: %v", err)
	}
}

func TestBackup(t *testing.T) {
	w := newWorld(t)
	tenant, other := w.tenant(t), w.tenant(t)
	blob, err := w.SealBackup(ctx, tenant, "", []byte("all versions"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.RotateTenantKeys(ctx, tenant, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := w.OpenBackup(ctx, tenant, blob); err != nil || string(got) != "all versions" {
		t.Fatalf("OpenBackup = %q, %v", got, err)
	}
	refuse := func(what string, tenant vault.TenantID, blob []byte) {
		t.Helper()
		if got, err := w.OpenBackup(ctx, tenant, blob); !fault.Is(err, fault.Invalid) || got != nil {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	refuse("another tenant", other, blob)
	for i := range blob {
		bad := bytes.Clone(blob)
		bad[i] ^= 1
		refuse("changed", tenant, bad)
		refuse("cut", tenant, blob[:i])
	}
	stranger := newWorld(t)
	foreign, err := stranger.SealBackup(ctx, stranger.tenant(t), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	refuse("another installation", tenant, foreign)
	w.destroy(t, store.BackupKey, string(tenant))
	refuse("shredded", tenant, blob)
}

func FuzzOpenBackup(f *testing.F) {
	w := newWorld(f)
	id := w.tenant(f)
	blob, err := w.SealBackup(ctx, id, "", []byte("content"))
	if err != nil {
		f.Fatal(err)
	}
	record, err := w.SealAudit(nil, string(id), []byte("content"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(blob)
	f.Add(record)
	f.Add([]byte("KWB1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := w.OpenBackup(ctx, id, b); (err == nil) != bytes.Equal(b, blob) || err != nil && (got != nil || !fault.Is(err, fault.Invalid)) {
			t.Errorf("OpenBackup = %q, %v", got, err)
		}
		if got, err := w.OpenAudit(nil, string(id), b, nil); (err == nil) != bytes.Equal(b, record) || err != nil && got != nil {
			t.Errorf("OpenAudit = %q, %v", got, err)
		}
	})
}

func TestDigest(t *testing.T) {
	w := newWorld(t)
	tenant, other := w.tenant(t), w.tenant(t)
	w.clock.Advance(time.Microsecond)
	secret := []byte("client secret")
	first, err := w.Digest(ctx, tenant, "client", secret)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.Digest(ctx, tenant, "client", secret); err != nil || !bytes.Equal(again, first) {
		t.Errorf("a second Digest differs: %v", err)
	}
	if _, err := w.RotateTenantKeys(ctx, tenant, nil); err != nil {
		t.Fatal(err)
	}
	second, err := w.Digest(ctx, tenant, "client", secret)
	if err != nil || bytes.Equal(second, first) {
		t.Errorf("Digest after rotation is the same: %v", err)
	}
	changed := bytes.Clone(first)
	changed[len(changed)-1] ^= 1
	unknown := bytes.Clone(first)
	unknown[3] ^= 1
	tests := []struct {
		name            string
		tenant          vault.TenantID
		purpose, secret string
		digest          []byte
		want            bool
	}{
		{"new", tenant, "client", string(secret), second, true},
		{"old", tenant, "client", string(secret), first, true},
		{"another secret", tenant, "client", "client secreT", first, false},
		{"another purpose", tenant, "device", string(secret), first, false},
		{"another tenant", other, "client", string(secret), first, false},
		{"changed", tenant, "client", string(secret), changed, false},
		{"unknown key", tenant, "client", string(secret), unknown, false},
		{"nothing", tenant, "client", string(secret), nil, false},
		{"cut", tenant, "client", string(secret), first[:20], false},
	}
	for _, tt := range tests {
		if got, err := w.Matches(ctx, tt.tenant, tt.purpose, []byte(tt.secret), tt.digest); err != nil || got != tt.want {
			t.Errorf("%s: Matches = %v, %v", tt.name, got, err)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	p := w.secret(t, tenant, id, "value")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				env := w.envelope(t, p)
				mustOpen(t, w.Keyring, p, env, "value")
				if o, err := w.Opener(ctx, p, env); err != nil {
					t.Error(err)
				} else if got, err := o.Open(nil, env.Ciphertext); !errors.Is(err, keyring.ErrStale) && string(got) != "value" {
					t.Errorf("Opener.Open = %q, %v", got, err)
				}
				s, err := w.SealAudit(nil, string(tenant), []byte("r"), nil)
				if err != nil {
					t.Error(err)
				}
				if _, err := w.OpenAudit(nil, string(tenant), s, nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for range 5 {
			_, err := w.RotateVaultKey(ctx, tenant, id, nil)
			_, err2 := w.RotateTenantKeys(ctx, tenant, nil)
			_, err3 := w.RotateRoot(ctx, nil)
			w.clock.Advance(2 * grace)
			_, err4 := w.Maintain(ctx)
			if err := errors.Join(err, err2, err3, err4); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
}

func hotPath(t testing.TB) (open, audit func()) {
	w := newWorld(t)
	tenant := w.tenant(t)
	id := w.vault(t, tenant)
	p := keyring.Place{Tenant: tenant, Vault: id, Object: "o", Version: "v"}
	env, err := w.Seal(ctx, p, bytes.Repeat([]byte("v"), 200))
	if err != nil {
		t.Fatal(err)
	}
	o, err := w.Opener(ctx, p, env)
	if err != nil {
		t.Fatal(err)
	}
	dst, rec, name := make([]byte, 0, 1024), bytes.Repeat([]byte("r"), 300), string(tenant)
	open = func() {
		if _, err := o.Open(dst[:0], env.Ciphertext); err != nil {
			t.Fatal(err)
		}
	}
	audit = func() {
		head := append(dst[:0], "envelope in the clear"...)
		if _, err := w.SealAudit(head, name, rec, head); err != nil {
			t.Fatal(err)
		}
	}
	open()
	audit()
	return open, audit
}

func TestTheHotPathDoesNotAllocate(t *testing.T) {
	open, audit := hotPath(t)
	if n := testing.AllocsPerRun(100, open); n != 0 {
		t.Errorf("Opener.Open allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, audit); n != 0 {
		t.Errorf("SealAudit allocates %v times", n)
	}
}

func BenchmarkOpenerOpen200B(b *testing.B) {
	open, _ := hotPath(b)
	for b.Loop() {
		open()
	}
}

// The bare cipher, to compare with in the same run.
func BenchmarkBareGCMOpen200B(b *testing.B) {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		b.Fatal(err)
	}
	aad := make([]byte, 170)
	sealed, dst := gcm.Seal(nil, nil, make([]byte, 200), aad), make([]byte, 0, 256)
	for b.Loop() {
		if _, err := gcm.Open(dst, nil, sealed, aad); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSealAudit300B(b *testing.B) {
	_, audit := hotPath(b)
	for b.Loop() {
		audit()
	}
}

// held is a store in which something happens between one look at it and the use of what was seen.
type held struct {
	store.Store
	between atomic.Pointer[func()]
}

func (h *held) View(ctx context.Context, fn func(store.Tx) error) error {
	err := h.Store.View(ctx, fn)
	if between := h.between.Swap(nil); between != nil {
		(*between)()
	}
	return err
}

func TestNobodyJoinsALoadThatBeganBeforeAChange(t *testing.T) {
	w := newWorld(t)
	tenant := w.tenant(t)
	p := w.secret(t, tenant, w.vault(t, tenant), "value")
	env := w.envelope(t, p)
	h := &held{Store: w.store}
	k, err := keyring.Open(ctx, keyring.Config{Store: h, Seal: w.seal})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.store.Watch(k.Changed))

	destroy := func() {
		w.update(t, func(tx store.Tx) error { return tx.DeleteWrappedKey(ctx, env.Key) })
		soon, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if _, err := k.Open(soon, p, env); !fault.Is(err, fault.Gone) {
			t.Errorf("after its key was destroyed a value opens with %v", err)
		}
	}
	h.between.Store(&destroy)
	_, _ = k.Open(ctx, p, env)
	if _, err := k.Open(ctx, p, env); !fault.Is(err, fault.Gone) {
		t.Errorf("the destroyed key was kept: %v", err)
	}
}
