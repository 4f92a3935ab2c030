package server

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/keyfile"
	"github.com/keywright/keywright/internal/seal/passphrase"
	hsm "github.com/keywright/keywright/internal/seal/pkcs11"
	"github.com/keywright/keywright/internal/seal/shamir"
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

// openSeal opens the seal of a server. A development server makes its key file at the first start.
func openSeal(c *Config) (seal.Seal, func() error, error) {
	own := c.Seal
	if own.kind() == (*keyfile.Seal)(nil).Name() && len(own.KeyFiles) == 0 {
		own.KeyFiles = []string{filepath.Join(c.Dir, sealFile)}
		return own.Make(c.Clock)
	}
	return own.Open(c.Clock)
}
