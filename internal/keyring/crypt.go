package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"

	"github.com/keywright/keywright/internal/fault"
)

const (
	keyBytes = 32
	idBytes  = 16
	// overhead is what GCM with a random nonce adds: a nonce of 12 bytes before and a tag of 16 behind.
	overhead = 12 + 16
	// formatAESGCM is the first byte of everything sealed here: AES-256-GCM with a random nonce. Another algorithm gets
	// another number.
	formatAESGCM = 1
)

// ErrDamaged is in the chain of every error about a ciphertext that does not open with the key that it names: somebody
// changed it, or put it where it does not belong.
var ErrDamaged = errors.New("the ciphertext does not open in this place")

// errLocked is the answer of a locked keyring.
var errLocked = fault.New(fault.Unavailable, "the keyring is locked: unlock it with its seal").Because("KeyringLocked")

type rawKey [keyBytes]byte

// newRawKey draws a key. Whoever draws one zeroes it.
func newRawKey() *rawKey {
	var k rawKey
	rand.Read(k[:])
	return &k
}

// aead makes the cipher of a key. It does not zero the key.
func (k *rawKey) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(k[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// sealWith appends the format byte and the ciphertext to dst.
func sealWith(a cipher.AEAD, dst, plaintext, aad []byte) []byte {
	if need := 1 + len(plaintext) + overhead; cap(dst)-len(dst) < need {
		dst = append(make([]byte, 0, len(dst)+need), dst...)
	}
	return a.Seal(append(dst, formatAESGCM), nil, plaintext, aad)
}

// openWith appends the plaintext to dst. Its only error is ErrDamaged.
func openWith(a cipher.AEAD, dst, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < 1 || sealed[0] != formatAESGCM {
		return nil, ErrDamaged
	}
	out, err := a.Open(dst, nil, sealed[1:], aad)
	if err != nil {
		return nil, ErrDamaged
	}
	return out, nil
}

// openKey unwraps a key. The caller zeroes it.
func openKey(a cipher.AEAD, wrapped, aad []byte) (*rawKey, error) {
	var k rawKey
	// The length is checked first, so that the plaintext always lands in k and never in a copy that stays behind.
	if len(wrapped) != 1+keyBytes+overhead {
		return nil, ErrDamaged
	}
	if _, err := openWith(a, k[:0], wrapped, aad); err != nil {
		return nil, err
	}
	return &k, nil
}

// newKeyID returns a random id as the store keeps it.
func newKeyID() string {
	var id [idBytes]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// idFromBytes and appendID turn the id in a frame into a stored one and back.
func idFromBytes(b []byte) string { return hex.EncodeToString(b) }

func appendID(dst []byte, id string) ([]byte, error) {
	if len(id) != 2*idBytes {
		return nil, fault.New(fault.Internal, "the key id %q is not 32 hexadecimal digits", id)
	}
	return hex.AppendDecode(dst, []byte(id))
}
