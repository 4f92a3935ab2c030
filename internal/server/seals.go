package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/seal/passphrase"
	"github.com/keywright/keywright/internal/store"
)

// Seal says what protects the root key.
type Seal struct {
	// KeyFiles are the paths of key files, newest first.
	KeyFiles []string
	// PassphraseFile is the path of a file that holds a passphrase, in place of key files.
	PassphraseFile string
}

// sealFile is the key file of a server that names no seal.
const sealFile = "seal.key"

// open makes the seal; the files have to be there.
func (s *Seal) open() (seal.Seal, error) {
	if s.PassphraseFile != "" {
		return passphrase.New(passphrase.Config{Source: passphrase.FromFile(s.PassphraseFile)})
	}
	return keyfile.New(keyfile.Config{Files: s.KeyFiles})
}

// seal opens the seal of a store. On the first start of all it makes the key, if it may: a key that is missing beside a store with a root key was lost, and
// another one would only hide that.
func (c *Config) seal(ctx context.Context, s store.Store) (seal.Seal, error) {
	named := c.Seal
	if len(named.KeyFiles) == 0 && named.PassphraseFile == "" {
		named.KeyFiles = []string{filepath.Join(c.Dir, sealFile)}
	}
	if len(named.KeyFiles) == 0 {
		return named.open()
	}
	path := named.KeyFiles[0]
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return named.open()
	}
	sealed, err := hasRoot(ctx, s)
	if err != nil {
		return nil, err
	}
	if sealed || !c.mayMake {
		return nil, fault.New(fault.Invalid, "the key file %s of the seal is missing, and nothing in the store opens without it: restore the file from its copy", path)
	}
	if err := mkdir(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := keyfile.Create(path); err != nil {
		return nil, err
	}
	return named.open()
}

// hasRoot reports whether the store has a root key, which some seal wrapped.
func hasRoot(ctx context.Context, s store.Store) (has bool, err error) {
	err = s.View(ctx, func(tx store.Tx) error {
		rows, err := tx.WrappedKeys(ctx, store.RootKey, rootOwner)
		has = len(rows) > 0
		return err
	})
	return has, err
}

// rootOwner is the owner of root keys in the store.
const rootOwner = "installation"

// admit refuses a store that was not initialised, unless what is missing may be made: a root key or a tenant that came to be by a start would belong to nobody.
func (c *Config) admit(ctx context.Context, s store.Store) error {
	if c.mayMake {
		return nil
	}
	there, err := findInstallation(ctx, s)
	if err == nil && there == nil {
		err = fault.New(fault.Invalid, "this installation is not initialised: run keywright init with the same configuration first").Because(NotInitialised)
	}
	return err
}
