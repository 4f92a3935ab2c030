package cryptokey

import (
	"crypto"
	"crypto/hmac"

	"github.com/keywright/keywright/internal/fault"
)

// ErrDecrypt is the one answer to a ciphertext, wrapped key, tag or padding that is not right, whatever is wrong with it. It must not
// be refined: each further distinction is an oracle.
var ErrDecrypt = fault.New(fault.Invalid, "the value cannot be decrypted with this key and algorithm; check the key version, the algorithm, and that iv, tag and aad are those of the encryption")

// Input is what encrypt, decrypt, wrapKey and unwrapKey take. Nothing in it is changed or kept.
type Input struct {
	// Value is the plaintext, the ciphertext, the key to wrap, or the wrapped key.
	Value []byte
	// IV belongs to the CBC family, both ways, and to decrypting with GCM. Encrypting with GCM refuses one: the iv is made here.
	IV []byte
	// AAD is additional authenticated data, for GCM and ML-KEM alone.
	AAD []byte
	// Tag belongs to decrypting with GCM.
	Tag []byte
}

// Output is what encrypt and wrapKey give.
type Output struct {
	// Value is the ciphertext, without the tag.
	Value []byte
	// IV is set by GCM (12 bytes, made here) and the CBC family (16 bytes, the caller's).
	IV []byte
	// Tag is set by GCM: 16 bytes.
	Tag []byte
	// AAD is the caller's, where the algorithm covers it.
	AAD []byte
}

// Backend holds the private half of a key and computes with it. The keys of this package have one in memory; a token may be another.
//
// The engine asks only after it has checked that the algorithm fits the key and that lengths are right, and it does by itself what the
// public half suffices for. A backend must not keep or change what it is given, and is used from many goroutines at once.
// One that cannot reach its token answers fault.Unavailable. Decryption that fails because of its input is answered with ErrDecrypt.
type Backend interface {
	// Spec says what the key is. It never changes.
	Spec() Spec
	// Public is the public half: *rsa.PublicKey, *ecdsa.PublicKey, *secp256k1.PublicKey, *mldsa.PublicKey, or a crypto.Encapsulator of
	// crypto/mlkem. It is nil for oct keys.
	Public() crypto.PublicKey
	// Sign returns the signature of value in its wire form: r‖s for EC, the full tag for HMAC. value is a digest of the right length, or for
	// RSNULL, HMAC and ML-DSA the message itself.
	Sign(alg Algorithm, value []byte) ([]byte, error)
	// Conceal encrypts or wraps, for oct keys alone.
	Conceal(alg Algorithm, in Input) (Output, error)
	// Reveal decrypts or unwraps.
	Reveal(alg Algorithm, in Input) ([]byte, error)
}

// exporter is a Backend whose private half can leave it.
type exporter interface {
	// appendPrivate appends the fields of the private encoding, see AppendPrivate.
	appendPrivate(dst []byte) []byte
	// pkcs8 is the key as a PrivateKeyInfo; the bare bytes for oct.
	pkcs8() ([]byte, error)
}

// Key is a key with its private half, whatever holds that. It is immutable and safe for concurrent use.
type Key struct {
	Public
	backend Backend
}

// FromBackend makes a Key of something that holds the private half. It refuses a backend whose spec or public half makes no sense.
func FromBackend(b Backend) (*Key, error) {
	spec, err := b.Spec().Complete()
	if err != nil {
		return nil, err
	}
	if spec.Type == Oct {
		return &Key{Public: Public{spec: spec}, backend: b}, nil
	}
	pub, err := newPublic(b.Public())
	if err != nil {
		return nil, err
	}
	if pub.spec != spec {
		return nil, fault.New(fault.Invalid, "the key says that it is %s, but its public half is %s", spec, pub.spec)
	}
	return &Key{Public: *pub, backend: b}, nil
}

// own makes a Key of a backend of this package, which has been checked already.
func own(b Backend) *Key {
	return &Key{Public: Public{spec: b.Spec(), key: b.Public()}, backend: b}
}

// Sign signs a digest (for RSNULL, HMAC and ML-DSA: a message). The length must be exactly that of the algorithm's hash.
func (k *Key) Sign(alg Algorithm, value []byte) ([]byte, error) {
	r, err := k.spec.rule(alg, Sign)
	if err != nil {
		return nil, err
	}
	if err := k.checkSignable(r, value); err != nil {
		return nil, err
	}
	return k.backend.Sign(alg, value)
}

// Verify reports whether signature is one of value under this key. An error means that the question makes no sense (the algorithm
// does not fit, the digest has the wrong length); a signature of any wrong form is merely not valid.
func (k *Key) Verify(alg Algorithm, value, signature []byte) (bool, error) {
	if k.spec.Type != Oct {
		return k.Public.Verify(alg, value, signature)
	}
	want, err := k.tag(alg, value)
	if err != nil {
		return false, err
	}
	return hmac.Equal(want, signature), nil
}

// tag is Sign under the permission to verify.
func (k *Key) tag(alg Algorithm, value []byte) ([]byte, error) {
	if _, err := k.spec.rule(alg, Verify); err != nil {
		return nil, err
	}
	return k.backend.Sign(alg, value)
}

// Encrypt encrypts with the public half, or with an oct key. See Input and Output for what goes along with which algorithm.
func (k *Key) Encrypt(alg Algorithm, in Input) (Output, error) { return k.conceal(alg, Encrypt, in) }

// WrapKey encrypts a key. The algorithms that wrap are not quite those that encrypt, see Spec.Algorithms.
func (k *Key) WrapKey(alg Algorithm, in Input) (Output, error) { return k.conceal(alg, WrapKey, in) }

// Decrypt returns the plaintext, or ErrDecrypt.
func (k *Key) Decrypt(alg Algorithm, in Input) ([]byte, error) { return k.reveal(alg, Decrypt, in) }

// UnwrapKey returns the key that was wrapped, or ErrDecrypt.
func (k *Key) UnwrapKey(alg Algorithm, in Input) ([]byte, error) {
	return k.reveal(alg, UnwrapKey, in)
}

func (k *Key) conceal(alg Algorithm, op Op, in Input) (Output, error) {
	if k.spec.Type != Oct {
		return k.Public.conceal(alg, op, in)
	}
	r, err := k.spec.rule(alg, op)
	if err != nil {
		return Output{}, err
	}
	if err := r.checkConceal(in, k.spec); err != nil {
		return Output{}, err
	}
	return k.backend.Conceal(alg, in)
}

func (k *Key) reveal(alg Algorithm, op Op, in Input) ([]byte, error) {
	r, err := k.spec.rule(alg, op)
	if err != nil {
		return nil, err
	}
	if err := r.checkReveal(in, k.spec); err != nil {
		return nil, err
	}
	return k.backend.Reveal(alg, in)
}

// Exportable reports whether the private half can leave its backend: true for the software keys of this package, false for
// those of a token. Whether it may is for the owner to decide.
func (k *Key) Exportable() bool {
	_, ok := k.backend.(exporter)
	return ok
}

func (k *Key) exporter() (exporter, error) {
	e, ok := k.backend.(exporter)
	if !ok {
		return nil, fault.New(fault.Unsupported, "the private half of this key is held by a token and cannot leave it")
	}
	return e, nil
}

// String keeps keys out of logs and messages.
func (k *Key) String() string { return "private key of type " + k.spec.String() }

// GoString is String, so that %#v is safe too.
func (k *Key) GoString() string { return k.String() }
