package pkcs11

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	token "github.com/keywright/keywright/internal/token/pkcs11"
)

// DefaultKey is what the key is called when nobody names one.
const DefaultKey = "keywright-seal"

const (
	magic    = "KWH1"
	inToken  = 1
	keyWraps = 2

	maxNameBytes  = 64
	keyBytes      = 32
	wrappedBytes  = keyBytes + 8
	nonceBytes    = 12
	tagBytes      = 16
	nameLengthAt  = len(magic) + 1
	nameStartsAt  = nameLengthAt + 1
	smallestGCM   = nonceBytes + tagBytes
	smallestWraps = wrappedBytes + smallestGCM
)

// Token is what the seal needs of a token.
type Token interface {
	// Find returns the key with the id; a fault.NotFound when there is none.
	Find(id []byte) (*cryptokey.Key, error)
	// Generate makes a key that cannot leave; a fault.Conflict when the id is taken.
	Generate(spec cryptokey.Spec, id []byte) (*cryptokey.Key, error)
}

// Config says which key of which token it is.
type Config struct {
	// Token is used when Open is nil.
	Token token.Config
	// Key is the name of the key in the token, its CKA_ID: up to 64 bytes. Empty means DefaultKey.
	Key string
	// Make makes the key when the token has none of that name: for the first start, and for moving to this seal.
	Make bool
	// Open is a token that is open already, whose owner closes it.
	Open Token
}

// Seal wraps with a key in a token.
type Seal struct {
	name  string
	key   *cryptokey.Key
	close func() error
}

var _ seal.Seal = (*Seal)(nil)

// New finds the key. A token that is away is a fault.Unavailable, a key that is not there a fault.NotFound, and a build without PKCS#11 answers
// fault.Unsupported. The caller must call Close.
func New(c Config) (*Seal, error) {
	s := &Seal{name: c.Key, close: func() error { return nil }}
	if s.name == "" {
		s.name = DefaultKey
	}
	if len(s.name) > maxNameBytes {
		return nil, fault.New(fault.Invalid, "the name of the seal's key in the token has at most %d bytes, and not %d: choose a shorter one", maxNameBytes, len(s.name))
	}
	keys := c.Open
	if keys == nil {
		opened, err := token.Open(c.Token)
		if err != nil {
			return nil, err
		}
		keys, s.close = opened, opened.Close
	}
	var err error
	if s.key, err = find(keys, s.name, c.Make); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func find(keys Token, name string, make bool) (*cryptokey.Key, error) {
	spec := cryptokey.Spec{Type: cryptokey.Oct, Bits: 8 * keyBytes}
	k, err := keys.Find([]byte(name))
	if fault.Is(err, fault.NotFound) && make {
		k, err = keys.Generate(spec, []byte(name))
	}
	if fault.Is(err, fault.NotFound) {
		return nil, fault.Wrap(err, fault.NotFound, "the token has no key %q for the seal: name the token that has it", name)
	}
	if err != nil {
		return nil, err
	}
	if k.Spec() != spec {
		return nil, fault.New(fault.Invalid, "the key %q in the token is of type %s: the seal's is an AES key of %d bits", name, k.Spec(), 8*keyBytes)
	}
	return k, nil
}

// Close ends the use of the token, if the seal opened it.
func (s *Seal) Close() error { return s.close() }

// Name returns "pkcs11".
func (*Seal) Name() string { return "pkcs11" }

func (s *Seal) head(method byte) []byte {
	return append(append([]byte(magic), method, byte(len(s.name))), s.name...)
}

// Wrap encrypts in the token, or under a key that the token wraps.
func (s *Seal) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	head := s.head(inToken)
	out, err := s.key.Encrypt(cryptokey.A256GCM, cryptokey.Input{Value: plaintext, AAD: bind(head, aad)})
	if fault.Is(err, fault.Unsupported) {
		return s.wrapKey(plaintext, aad)
	}
	if err != nil {
		return nil, errAway(err)
	}
	return bytes.Join([][]byte{head, out.IV, out.Value, out.Tag}, nil), nil
}

func (s *Seal) wrapKey(plaintext, aad []byte) ([]byte, error) {
	var raw [keyBytes]byte
	defer clear(raw[:])
	rand.Read(raw[:])
	wrapped, err := s.key.WrapKey(cryptokey.A256KW, cryptokey.Input{Value: raw[:]})
	if err != nil {
		return nil, errAway(err)
	}
	a, err := newAEAD(raw[:])
	if err != nil {
		return nil, err
	}
	head := s.head(keyWraps)
	return a.Seal(append(bytes.Clone(head), wrapped.Value...), nil, plaintext, bind(head, aad)), nil
}

var errOpen = fault.New(fault.Invalid, "the wrapped root key does not open with the key in the token: it was changed, or another token's key of the same name wrapped it")

// Unwrap decrypts with the key of the name that the wrap has, which is this seal's.
func (s *Seal) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	method, head, body, err := parse(wrapped)
	if err != nil {
		return nil, err
	}
	if name := string(head[nameStartsAt:]); name != s.name {
		return nil, fault.New(fault.Invalid, "the root key was wrapped by the key %q of a token, and the seal's is %q: configure the former", name, s.name)
	}
	if method == keyWraps {
		return s.unwrapKey(body, bind(head, aad))
	}
	plain, err := s.key.Decrypt(cryptokey.A256GCM, cryptokey.Input{IV: body[:nonceBytes], Value: body[nonceBytes : len(body)-tagBytes],
		Tag: body[len(body)-tagBytes:], AAD: bind(head, aad)})
	if err != nil {
		return nil, errWrong(err)
	}
	return plain, nil
}

func (s *Seal) unwrapKey(body, aad []byte) ([]byte, error) {
	raw, err := s.key.UnwrapKey(cryptokey.A256KW, cryptokey.Input{Value: body[:wrappedBytes]})
	defer clear(raw)
	if err != nil {
		return nil, errWrong(err)
	}
	a, err := newAEAD(raw)
	if err != nil {
		return nil, errOpen
	}
	plain, err := a.Open(nil, nil, body[wrappedBytes:], aad)
	if err != nil {
		return nil, errOpen
	}
	return plain, nil
}

// parse splits a wrap into what comes before the body and the body, which is long enough for its method.
func parse(wrapped []byte) (method byte, head, body []byte, err error) {
	foreign := fault.New(fault.Invalid, "the root key was not wrapped by a key in a token: configure the seal that wrapped it")
	if len(wrapped) > seal.MaxWrapBytes || len(wrapped) < nameStartsAt || string(wrapped[:len(magic)]) != magic {
		return 0, nil, nil, foreign
	}
	end := nameStartsAt + int(wrapped[nameLengthAt])
	if len(wrapped) < end {
		return 0, nil, nil, foreign
	}
	method, head, body = wrapped[len(magic)], wrapped[:end:end], wrapped[end:]
	if method == inToken && len(body) >= smallestGCM || method == keyWraps && len(body) >= smallestWraps {
		return method, head, body, nil
	}
	return 0, nil, nil, foreign
}

// errAway is for work that was not done: whatever the reason is, somebody can mend it.
func errAway(err error) error {
	return fault.Wrap(err, fault.Unavailable, "the token did not wrap the root key: check that it is there, and its PIN")
}

// errWrong tells a token that is away from a wrap that is not this key's.
func errWrong(err error) error {
	if fault.Is(err, fault.Unavailable) || fault.Is(err, fault.Forbidden) || fault.Is(err, fault.Unsupported) {
		return fault.Wrap(err, fault.Unavailable, "the token did not unwrap the root key: check that it is there, and its PIN")
	}
	return errOpen
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func bind(head, aad []byte) []byte {
	return append(append(make([]byte, 0, len(head)+len(aad)), head...), aad...)
}
