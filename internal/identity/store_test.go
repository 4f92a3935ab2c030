package identity_test

import (
	"context"
	"encoding/base64"
	"errors"
	"path/filepath"
	"testing"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// openStore opens the embedded engine and a keyring, with one tenant.
func openStore(t testing.TB, c clock.Clock, tenant vault.TenantID) (store.Store, identity.Keys) {
	t.Helper()
	ctx, dir := context.Background(), t.TempDir()
	s, err := sqlite.Open(sqlite.Config{Dir: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	file := filepath.Join(dir, "seal.key")
	errCreate := keyfile.Create(file)
	sealer, errSeal := keyfile.New(keyfile.Config{Files: []string{file}})
	if err := errors.Join(errCreate, errSeal); err != nil {
		t.Fatal(err)
	}
	ring, err := keyring.Open(ctx, keyring.Config{Store: s, Seal: sealer, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Watch(ring.Changed))
	addTenant(t, s, ring, c, tenant)
	return s, ring
}

func addTenant(t testing.TB, s store.Store, ring *keyring.Keyring, c clock.Clock, tenant vault.TenantID) {
	t.Helper()
	ctx, now := context.Background(), clock.Micro(c.Now())
	keys, err := ring.NewTenantKeys(ctx, tenant, now)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		for _, k := range keys {
			if err := tx.PutWrappedKey(ctx, k); err != nil {
				return err
			}
		}
		return tx.PutTenant(ctx, &vault.Tenant{ID: tenant, Name: "test", Created: now})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func base64URL(b []byte) redact.String { return redact.String(base64.RawURLEncoding.EncodeToString(b)) }

func unbase64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
