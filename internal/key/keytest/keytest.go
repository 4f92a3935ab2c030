// Package keytest has a token for tests of what keeps keys in one.
package keytest

import (
	"crypto"
	"sync"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

// Token is a key.Token in memory. A real one is tested beside its package, and through the API by the server.
type Token struct {
	hardware bool
	mu       sync.Mutex
	away     bool
	keys     map[string]tokenKey
}

type tokenKey struct {
	*cryptokey.Key
	imported bool
}

// jailed is a key whose private half does not come out: it is not an exporter, as those of tokens are not.
type jailed struct {
	k     *cryptokey.Key
	token *Token
}

func (j jailed) Spec() cryptokey.Spec     { return j.k.Spec() }
func (j jailed) Public() crypto.PublicKey { return j.k.CryptoKey() }
func (j jailed) Sign(alg cryptokey.Algorithm, value []byte) ([]byte, error) {
	if err := j.token.there(); err != nil {
		return nil, err
	}
	return j.k.Sign(alg, value)
}

func (j jailed) Conceal(alg cryptokey.Algorithm, in cryptokey.Input) (cryptokey.Output, error) {
	if j.k.Spec().Check(alg, cryptokey.Encrypt) != nil {
		return j.k.WrapKey(alg, in)
	}
	return j.k.Encrypt(alg, in)
}

func (j jailed) Reveal(alg cryptokey.Algorithm, in cryptokey.Input) ([]byte, error) {
	if err := j.token.there(); err != nil {
		return nil, err
	}
	if alg == cryptokey.RSAOAEP256 {
		return nil, fault.New(fault.Unsupported, "this token pads with SHA-1 alone")
	}
	if j.k.Spec().Check(alg, cryptokey.Decrypt) != nil {
		return j.k.UnwrapKey(alg, in)
	}
	return j.k.Decrypt(alg, in)
}

// NewToken makes an empty one, which says of itself whether it is hardware.
func NewToken(hardware bool) *Token {
	return &Token{hardware: hardware, keys: map[string]tokenKey{}}
}

func (m *Token) there() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return fault.New(fault.Unavailable, "the token is away")
	}
	return nil
}

// Name implements key.Token, and so do the others.
func (m *Token) Name() string   { return "hsm-1" }
func (m *Token) Hardware() bool { return m.hardware }

func (m *Token) put(k *cryptokey.Key, id []byte, imported bool) (*cryptokey.Key, error) {
	if err := m.there(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	inside, err := cryptokey.FromBackend(jailed{k, m})
	m.keys[string(id)] = tokenKey{inside, imported}
	return inside, err
}

func (m *Token) Generate(spec cryptokey.Spec, id []byte) (*cryptokey.Key, error) {
	k, err := cryptokey.Generate(spec)
	if err != nil {
		return nil, err
	}
	return m.put(k, id, false)
}

func (m *Token) Import(k *cryptokey.Key, id []byte) (*cryptokey.Key, error) {
	return m.put(k, id, true)
}

func (m *Token) find(id []byte, imported bool) (*cryptokey.Key, error) {
	if err := m.there(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if k, ok := m.keys[string(id)]; ok && k.imported == imported {
		return k.Key, nil
	}
	return nil, fault.New(fault.NotFound, "the token has no key with this id")
}

func (m *Token) Find(id []byte) (*cryptokey.Key, error)         { return m.find(id, false) }
func (m *Token) FindImported(id []byte) (*cryptokey.Key, error) { return m.find(id, true) }

func (m *Token) Destroy(id []byte) error {
	if err := m.there(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.keys[string(id)]; !ok {
		return fault.New(fault.NotFound, "the token has no key with this id")
	}
	delete(m.keys, string(id))
	return nil
}

// Count is how many keys are in it.
func (m *Token) Count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.keys)
}

// Away takes the token away, or brings it back.
func (m *Token) Away(away bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = away
}

// Clear removes what is in it, as a careless operator would.
func (m *Token) Clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.keys)
}
