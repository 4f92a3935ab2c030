package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/seal/passphrase"
	hsm "github.com/keywright/keywright/internal/seal/pkcs11"
	"github.com/keywright/keywright/internal/seal/shamir"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/token/pkcs11"
)

// SealConfig says what protects the root key. One of its fields is set; when none is, it is the key file of a development server.
type SealConfig struct {
	// KeyFiles are the paths of key files, newest first.
	KeyFiles []string `json:"keyFiles,omitempty"`
	// PassphraseFile holds a passphrase.
	PassphraseFile string `json:"passphraseFile,omitempty"`
	// Shares are held by people: the server starts sealed, and answers nothing until enough of them were given.
	Shares bool `json:"shares,omitempty"`
	// Token is a PKCS#11 token that has the key.
	Token *TokenSeal `json:"token,omitempty"`
}

// TokenSeal is a key in a PKCS#11 token.
type TokenSeal struct {
	// Module is the path of the vendor's library, and Token the label of the token.
	Module string `json:"module"`
	Token  string `json:"token"`
	// PINFile holds the user's PIN.
	PINFile string `json:"pinFile"`
	// Key is the name of the key in the token; empty means keywright-seal.
	Key string `json:"key,omitempty"`
}

// sealFile is the key file of a development server.
const sealFile = "seal.key"

func (c *SealConfig) check() error {
	set := 0
	for _, is := range []bool{len(c.KeyFiles) > 0, c.PassphraseFile != "", c.Shares, c.Token != nil} {
		if is {
			set++
		}
	}
	if set > 1 {
		return fault.New(fault.Invalid, "%d seals are configured, and one protects the root key: keep one; to change the seal, move to another", set)
	}
	return nil
}

// kind is what the seal is called in the store.
func (c *SealConfig) kind() string {
	switch {
	case c.PassphraseFile != "":
		return (*passphrase.Seal)(nil).Name()
	case c.Shares:
		return (*shamir.Seal)(nil).Name()
	case c.Token != nil:
		return (*hsm.Seal)(nil).Name()
	}
	return (*keyfile.Seal)(nil).Name()
}

// Open returns the seal of a running installation, and what ends its use. Shares have to be given to it: it is a seal.Gatherer then.
func (c *SealConfig) Open(clk clock.Clock) (seal.Seal, func() error, error) {
	return c.open(clk, false)
}

// Make is Open for the first start, and for moving to this seal: a key file or a key in a token that is missing is made. Shares are made by shamir.Create.
func (c *SealConfig) Make(clk clock.Clock) (seal.Seal, func() error, error) { return c.open(clk, true) }

func (c *SealConfig) open(clk clock.Clock, make bool) (s seal.Seal, closer func() error, err error) {
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	closer = func() error { return nil }
	switch {
	case len(c.KeyFiles) > 0:
		s, err = openKeyFiles(c.KeyFiles, make)
	case c.PassphraseFile != "":
		s, err = passphrase.New(passphrase.Config{Source: passphrase.FromFile(c.PassphraseFile)})
	case c.Shares:
		s, err = shamir.New(shamir.Config{Clock: clk})
	case c.Token != nil:
		var t *hsm.Seal
		if t, err = c.Token.open(make); err == nil {
			s, closer = t, t.Close
		}
	default:
		return nil, nil, fault.New(fault.Invalid, "no seal is configured: name a key file, a passphrase file, shares or a token")
	}
	if err != nil {
		return nil, nil, err
	}
	return s, closer, nil
}

func openKeyFiles(files []string, make bool) (seal.Seal, error) {
	if _, err := os.Lstat(files[0]); make && errors.Is(err, os.ErrNotExist) {
		if err := keyfile.Create(files[0]); err != nil {
			return nil, err
		}
	}
	return keyfile.New(keyfile.Config{Files: files})
}

func (t *TokenSeal) open(make bool) (*hsm.Seal, error) {
	pin, err := pkcs11.ReadPIN(t.PINFile)
	if err != nil {
		return nil, err
	}
	return hsm.New(hsm.Config{Token: pkcs11.Config{Module: t.Module, Token: t.Token, PIN: pin, Sessions: 2}, Key: t.Key, Make: make})
}

// openSeal opens the seal of a store. On the first start of all it makes the key, if it may: a key that is missing beside a store with a root key was lost, and
// another one would only hide that.
func openSeal(ctx context.Context, c *Config, s store.Store) (seal.Seal, func() error, error) {
	own := c.Seal
	if own.kind() == (*keyfile.Seal)(nil).Name() && len(own.KeyFiles) == 0 {
		own.KeyFiles = []string{filepath.Join(c.Dir, sealFile)}
	}
	sealed, err := hasRoot(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	missing := ""
	if len(own.KeyFiles) > 0 {
		if _, err := os.Lstat(own.KeyFiles[0]); errors.Is(err, os.ErrNotExist) {
			missing = own.KeyFiles[0]
		}
	}
	switch {
	case own.Shares && !sealed:
		return nil, nil, fault.New(fault.Invalid, "the store has no root key that shares could open: initialise it with another seal, and move to shares with keywright seal migrate")
	case c.mayMake && !sealed:
		if missing != "" {
			if err := mkdir(filepath.Dir(missing)); err != nil {
				return nil, nil, err
			}
		}
		return own.Make(c.Clock)
	case missing != "":
		return nil, nil, fault.New(fault.Invalid, "the key file %s of the seal is missing, and nothing in the store opens without it: restore the file from its copy", missing)
	}
	return own.Open(c.Clock)
}

// unseal opens the door for the operators of the machine, and waits until the seal is open.
func (k *core) unseal(ctx context.Context, c *Config, s seal.Seal) error {
	k.sealing = &sealing{clock: c.Clock, log: c.Logger, seal: s}
	k.onClose(k.sealing.close)
	stop, err := openLocalDoor(c.Dir, k.sealing, c.Logger)
	if err != nil {
		return err
	}
	k.onShutdown(stop)
	g, ok := s.(seal.Gatherer)
	if !ok {
		return nil
	}
	if err := keyring.Expect(ctx, k.store, g); err != nil {
		return err
	}
	if c.WhileSealed != nil {
		stop, err := c.WhileSealed(sealedDoor(k.sealing))
		if err != nil {
			return err
		}
		defer stop()
	}
	needed := g.Progress().Needed
	c.Logger.WarnContext(ctx, "the server is sealed and serves nothing until shares are given: keywright seal unseal", "shares", needed)
	if c.Sealed != nil {
		c.Sealed(needed)
	}
	return g.Wait(ctx)
}

// hasRoot reports whether the store has a root key, which some seal wrapped.
func hasRoot(ctx context.Context, s store.Store) (has bool, err error) {
	err = s.View(ctx, func(tx store.Tx) error {
		rows, err := tx.WrappedKeys(ctx, store.RootKey, keyring.Installation)
		has = len(rows) > 0
		return err
	})
	return has, err
}
