package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// How a store is filled: so many versions of each secret, so many secrets in a transaction.
const (
	versionsEach = 3
	fillBatch    = 2000
)

// filler puts secrets straight into the store of a server that has ended. They are sealed as the server seals them.
type filler struct {
	store *sqlite.Store
	keys  *keyring.Keyring
	vault *vault.Vault
}

func runFill(o *options) (err error) {
	ctx := context.Background()
	var f filler
	if f.store, err = sqlite.Open(sqlite.Config{Dir: filepath.Join(o.dir, "store")}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.store.Close()) }()
	s, err := keyfile.New(keyfile.Config{Files: []string{filepath.Join(o.dir, "seal.key")}})
	if err != nil {
		return err
	}
	if f.keys, err = keyring.Open(ctx, keyring.Config{Store: f.store, Seal: s}); err != nil {
		return err
	}
	if err := f.store.View(ctx, func(tx store.Tx) (err error) {
		f.vault, err = tx.VaultByName(ctx, "demo")
		return err
	}); err != nil {
		return err
	}
	for n := 0; n < o.secrets; n += fillBatch {
		if err := f.add(ctx, n, min(n+fillBatch, o.secrets)); err != nil {
			return fmt.Errorf("storing secrets %d and on: %w", n, err)
		}
	}
	fmt.Println("filled")
	return nil
}

// add stores the secrets of some numbers.
func (f *filler) add(ctx context.Context, from, to int) error {
	now := time.Now()
	objects, versions := make([]*vault.Object, 0, to-from), make([]*vault.Version, 0, (to-from)*versionsEach)
	for n := from; n < to; n++ {
		o := &vault.Object{ID: vault.NewObjectID(now), Vault: f.vault.ID, Kind: vault.Secret, Name: nameOf(n), Created: now}
		for i := range versionsEach {
			at := now.Add(time.Duration(i) * time.Millisecond)
			v := &vault.Version{Object: o.ID, ID: vault.NewVersionID(at), Attributes: vault.Attributes{Enabled: true, Created: at, Updated: at}, Previous: o.Current}
			var err error
			if v.Value, err = f.keys.Seal(ctx, object.Place(f.vault, o.ID, v.ID), []byte(value)); err != nil {
				return err
			}
			versions = append(versions, v)
			o = o.Promote(v.ID)
		}
		objects = append(objects, o)
	}
	return f.store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		for i, o := range objects {
			for _, v := range versions[i*versionsEach : (i+1)*versionsEach] {
				if err := tx.AddVersion(ctx, v); err != nil {
					return err
				}
			}
			if err := tx.PutObject(ctx, o); err != nil {
				return err
			}
		}
		return nil
	})
}

// freeBytes is what a file system has left for this user (statfs(2)).
func freeBytes(dir string) (int64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}
