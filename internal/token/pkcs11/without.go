//go:build !pkcs11

package pkcs11

import (
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

// Token is a token in builds with the tag pkcs11. There is none in this one.
type Token struct{}

var errWithout = fault.New(fault.Unsupported, "this build cannot use PKCS#11 tokens; build it with cgo and -tags pkcs11")

// Open answers fault.Unsupported.
func Open(Config) (*Token, error) { return nil, errWithout }

// Close does nothing.
func (*Token) Close() error { return nil }

// Info knows nothing.
func (*Token) Info() Info { return Info{} }

// Name knows none.
func (*Token) Name() string { return "" }

// Hardware is false.
func (*Token) Hardware() bool { return false }

// Import answers fault.Unsupported.
func (*Token) Import(*cryptokey.Key, []byte) (*cryptokey.Key, error) { return nil, errWithout }

// FindImported answers fault.Unsupported.
func (*Token) FindImported([]byte) (*cryptokey.Key, error) { return nil, errWithout }

// Generate answers fault.Unsupported.
func (*Token) Generate(cryptokey.Spec, []byte) (*cryptokey.Key, error) { return nil, errWithout }

// Find answers fault.Unsupported.
func (*Token) Find([]byte) (*cryptokey.Key, error) { return nil, errWithout }

// Destroy answers fault.Unsupported.
func (*Token) Destroy([]byte) error { return errWithout }
