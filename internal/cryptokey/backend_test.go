package cryptokey_test

import (
	"bytes"
	"crypto"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

// token stands for a key in a token: it computes, and nothing else comes out of it. It counts how often it is asked.
type token struct {
	key   *cryptokey.Key
	asked atomic.Int64
	spec  cryptokey.Spec
	pub   crypto.PublicKey
}

func newToken(k *cryptokey.Key) *token { return &token{key: k, spec: k.Spec(), pub: k.CryptoKey()} }

func (b *token) Spec() cryptokey.Spec     { return b.spec }
func (b *token) Public() crypto.PublicKey { return b.pub }

func (b *token) Sign(alg cryptokey.Algorithm, value []byte) ([]byte, error) {
	b.asked.Add(1)
	return b.key.Sign(alg, value)
}

func (b *token) Conceal(alg cryptokey.Algorithm, in cryptokey.Input) (cryptokey.Output, error) {
	b.asked.Add(1)
	if b.spec.Check(alg, cryptokey.Encrypt) == nil {
		return b.key.Encrypt(alg, in)
	}
	return b.key.WrapKey(alg, in)
}

func (b *token) Reveal(alg cryptokey.Algorithm, in cryptokey.Input) ([]byte, error) {
	b.asked.Add(1)
	if b.spec.Check(alg, cryptokey.Decrypt) == nil {
		return b.key.Decrypt(alg, in)
	}
	return b.key.UnwrapKey(alg, in)
}

func TestAKeyInATokenWorksLikeAnyOther(t *testing.T) {
	for _, spec := range specs {
		soft := key(t, spec)
		b := newToken(soft)
		k, err := cryptokey.FromBackend(b)
		if err != nil {
			t.Errorf("%s: %v", spec, err)
			continue
		}
		for _, alg := range spec.Algorithms(cryptokey.Sign) {
			value := signable(alg)
			signature, err := k.Sign(alg, value)
			if err != nil {
				t.Errorf("%s: %v", alg, err)
			}
			for _, verifier := range []*cryptokey.Key{k, soft} {
				if ok, err := verifier.Verify(alg, value, signature); !ok || err != nil {
					t.Errorf("%s: %v, %v", alg, ok, err)
				}
			}
		}
		for _, alg := range spec.Algorithms(cryptokey.WrapKey) {
			in := concealable(alg)
			out, err := k.WrapKey(alg, in)
			if err != nil {
				t.Errorf("%s: %v", alg, err)
			}
			plain, err := k.UnwrapKey(alg, cryptokey.Input{Value: out.Value, IV: out.IV, AAD: out.AAD, Tag: out.Tag})
			if err != nil || !bytes.Equal(plain, in.Value) {
				t.Errorf("%s: %v", alg, err)
			}
		}
		if b.asked.Load() == 0 {
			t.Errorf("%s: the token was never asked", spec)
		}
		// What is wrong never gets to the token.
		asked := b.asked.Load()
		for _, op := range []cryptokey.Op{cryptokey.Sign, cryptokey.Decrypt} {
			for _, alg := range []cryptokey.Algorithm{"", "none", "RSA-OAEP-384"} {
				refused(t, string(op), k.Spec().Check(alg, op))
			}
		}
		_, _ = k.Sign("none", nil)
		_, _ = k.Decrypt("none", cryptokey.Input{})
		if spec.Type != cryptokey.Oct {
			for _, alg := range spec.Algorithms(cryptokey.Encrypt) {
				if _, err := k.Encrypt(alg, concealable(alg)); err != nil {
					t.Error(err)
				}
			}
			for _, alg := range spec.Algorithms(cryptokey.Verify) {
				if _, err := k.Verify(alg, signable(alg), random(64)); err != nil {
					t.Error(err)
				}
			}
		}
		if b.asked.Load() != asked {
			t.Errorf("%s: the token was asked for what it need not do", spec)
		}
		if k.Exportable() || !soft.Exportable() {
			t.Errorf("%s: exportable %v and %v", spec, k.Exportable(), soft.Exportable())
		}
		for name, call := range map[string]func() error{
			"AppendPrivate": func() error { _, err := k.AppendPrivate(nil); return err },
			"PKCS8":         func() error { _, err := k.PKCS8(); return err },
			"Release": func() error {
				_, err := k.Release(&key(t, specs[0]).Public, cryptokey.RSAAESKeyWrap256)
				return err
			},
		} {
			if err := call(); !fault.Is(err, fault.Unsupported) {
				t.Errorf("%s: %s: %v", spec, name, err)
			}
		}
	}
}

func TestATokenThatMakesNoSense(t *testing.T) {
	wrongHalf := newToken(key(t, specs[2]))
	wrongHalf.pub = key(t, specs[3]).CryptoKey()
	noHalf := newToken(key(t, specs[2]))
	noHalf.pub = nil
	wrongSpec := newToken(key(t, specs[2]))
	wrongSpec.spec = cryptokey.Spec{Type: "EC", Curve: "P-224"}
	for name, b := range map[string]*token{"another public half": wrongHalf, "no public half": noHalf, "an unknown spec": wrongSpec} {
		_, err := cryptokey.FromBackend(b)
		refused(t, name, err)
	}
}

// Keys are kept parsed and used by all requests at once: under the race detector this finds whatever is not immutable.
func TestKeysAreUsedFromManyGoroutines(t *testing.T) {
	for _, spec := range specs {
		encoded := private(t, key(t, spec))
		k, err := cryptokey.ParsePrivate(encoded) // a fresh one, so that the first uses are concurrent
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for _, alg := range spec.Algorithms(cryptokey.Sign) {
					value := signable(alg)
					signature, err := k.Sign(alg, value)
					if err != nil {
						t.Errorf("%s: %v", alg, err)
						return
					}
					if ok, err := k.Verify(alg, value, signature); !ok || err != nil {
						t.Errorf("%s: %v, %v", alg, ok, err)
					}
				}
				for _, alg := range spec.Algorithms(cryptokey.Encrypt) {
					in := concealable(alg)
					out, err := k.Encrypt(alg, in)
					if err != nil {
						t.Errorf("%s: %v", alg, err)
						return
					}
					plain, err := k.Decrypt(alg, cryptokey.Input{Value: out.Value, IV: out.IV, AAD: out.AAD, Tag: out.Tag})
					if err != nil || !bytes.Equal(plain, in.Value) {
						t.Errorf("%s: %v", alg, err)
					}
				}
			})
		}
		all.Wait()
		if !strings.Contains(k.String(), spec.String()) {
			t.Errorf("the key prints as %s", k)
		}
	}
}
