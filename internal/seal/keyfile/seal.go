package keyfile

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
)

const (
	magic    = "KWF1"
	headSize = len(magic) + idBytes
)

// Config names the key files.
type Config struct {
	// Files are the paths of key files, newest first: the first wraps, all of them unwrap.
	Files []string
}

// Seal wraps with the key in a file.
type Seal struct {
	newest [idBytes]byte
	keys   map[[idBytes]byte]cipher.AEAD
}

var _ seal.Seal = (*Seal)(nil)

// New reads the key files. A file that others can read, or that is damaged, is a fault.Invalid that says what to do; one
// that cannot be read is a fault.Unavailable.
func New(c Config) (*Seal, error) {
	if len(c.Files) == 0 {
		return nil, fault.New(fault.Invalid, "the key file seal needs at least one file: name one")
	}
	s := &Seal{keys: make(map[[idBytes]byte]cipher.AEAD, len(c.Files))}
	for i, path := range c.Files {
		id, key, err := read(path)
		if err != nil {
			return nil, err
		}
		if s.keys[id] != nil {
			return nil, fault.New(fault.Invalid, "the key file %s holds the same key as another file: name each key once", path)
		}
		if s.keys[id], err = newAEAD(&key); err != nil {
			return nil, err
		}
		if i == 0 {
			s.newest = id
		}
	}
	return s, nil
}

// newAEAD zeroes the key.
func newAEAD(key *[keyBytes]byte) (cipher.AEAD, error) {
	defer clear(key[:])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Name returns "keyfile".
func (*Seal) Name() string { return "keyfile" }

// Wrap encrypts under the newest file's key.
func (s *Seal) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := append(append(make([]byte, 0, headSize+len(plaintext)+28), magic...), s.newest[:]...)
	bound := append(append(make([]byte, 0, headSize+len(aad)), out...), aad...)
	return s.keys[s.newest].Seal(out, nil, plaintext, bound), nil
}

// Unwrap decrypts with whichever of the files made the wrap.
func (s *Seal) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(wrapped) > seal.MaxWrapBytes || len(wrapped) < headSize || string(wrapped[:len(magic)]) != magic {
		return nil, fault.New(fault.Invalid, "the root key was not wrapped by a key file: configure the seal that wrapped it")
	}
	id := [idBytes]byte(wrapped[len(magic):headSize])
	aead := s.keys[id]
	if aead == nil {
		return nil, fault.New(fault.Invalid, "the root key was wrapped by the key file with id %s, which is not among those configured: add that file",
			hex.EncodeToString(id[:]))
	}
	bound := append(append(make([]byte, 0, headSize+len(aad)), wrapped[:headSize]...), aad...)
	plain, err := aead.Open(nil, nil, wrapped[headSize:], bound)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the wrapped root key does not open with its key file: it was changed or belongs to another installation")
	}
	return plain, nil
}
