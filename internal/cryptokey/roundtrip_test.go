package cryptokey_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"sync"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
)

// specs has one spec of every kind of key; RSA has one size, which every size shares its code with.
var specs = []cryptokey.Spec{
	{Type: cryptokey.RSA, Bits: 2048, Exponent: cryptokey.DefaultExponent},
	{Type: cryptokey.RSA, Bits: 2048, Exponent: 3},
	{Type: cryptokey.EC, Curve: cryptokey.P256}, {Type: cryptokey.EC, Curve: cryptokey.P384},
	{Type: cryptokey.EC, Curve: cryptokey.P521}, {Type: cryptokey.EC, Curve: cryptokey.P256K},
	{Type: cryptokey.Oct, Bits: 128}, {Type: cryptokey.Oct, Bits: 192}, {Type: cryptokey.Oct, Bits: 256},
	{Type: cryptokey.AKP, Set: cryptokey.SetMLDSA44}, {Type: cryptokey.AKP, Set: cryptokey.SetMLDSA65}, {Type: cryptokey.AKP, Set: cryptokey.SetMLDSA87},
	{Type: cryptokey.AKP, Set: cryptokey.SetMLKEM768}, {Type: cryptokey.AKP, Set: cryptokey.SetMLKEM1024},
}

var made sync.Map

// key returns a generated key of the spec: the same one throughout a run, because RSA keys take their time.
func key(t testing.TB, spec cryptokey.Spec) *cryptokey.Key {
	t.Helper()
	once, _ := made.LoadOrStore(spec, sync.OnceValues(func() (*cryptokey.Key, error) { return cryptokey.Generate(spec) }))
	k, err := once.(func() (*cryptokey.Key, error))()
	if err != nil {
		t.Fatalf("generating a key of type %s: %v", spec, err)
	}
	return k
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// signable returns a value that the algorithm takes.
func signable(alg cryptokey.Algorithm) []byte {
	switch alg {
	case cryptokey.RS384, cryptokey.PS384, cryptokey.ES384:
		return random(48)
	case cryptokey.RS512, cryptokey.PS512, cryptokey.ES512:
		return random(64)
	}
	return random(32)
}

// concealable returns an input that the algorithm takes.
func concealable(alg cryptokey.Algorithm) cryptokey.Input {
	switch alg {
	case cryptokey.A128GCM, cryptokey.A192GCM, cryptokey.A256GCM, cryptokey.MLKEM768, cryptokey.MLKEM1024:
		return cryptokey.Input{Value: random(32), AAD: random(7)}
	case cryptokey.A128CBC, cryptokey.A192CBC, cryptokey.A256CBC, cryptokey.A128CBCPAD, cryptokey.A192CBCPAD, cryptokey.A256CBCPAD:
		return cryptokey.Input{Value: random(32), IV: random(16)}
	}
	return cryptokey.Input{Value: random(32)}
}

func TestEveryAlgorithmOfEveryKeyGoesThereAndBack(t *testing.T) {
	for _, spec := range specs {
		t.Run(spec.String(), func(t *testing.T) {
			k := key(t, spec)
			if k.Spec() != spec {
				t.Fatalf("the key is of type %s", k.Spec())
			}
			algorithms := 0
			for _, alg := range spec.Algorithms(cryptokey.Sign) {
				algorithms++
				value := signable(alg)
				signature, err := k.Sign(alg, value)
				if err != nil {
					t.Errorf("%s: %v", alg, err)
					continue
				}
				if ok, err := k.Verify(alg, value, signature); !ok || err != nil {
					t.Errorf("%s: its own signature is not valid: %v", alg, err)
				}
				for i := range signature[:min(len(signature), 70)] {
					signature[i] ^= 1
					if ok, err := k.Verify(alg, value, signature); ok || err != nil {
						t.Errorf("%s: a signature with byte %d changed: %v, %v", alg, i, ok, err)
					}
					signature[i] ^= 1
				}
				for _, wrong := range [][]byte{nil, {}, signature[:len(signature)-1], append(bytes.Clone(signature), 0), append([]byte{0}, signature...)} {
					if ok, err := k.Verify(alg, value, wrong); ok || err != nil {
						t.Errorf("%s: a signature of %d bytes: %v, %v", alg, len(wrong), ok, err)
					}
				}
				value[0] ^= 1
				if ok, err := k.Verify(alg, value, signature); ok || err != nil {
					t.Errorf("%s: the signature of another value: %v, %v", alg, ok, err)
				}
			}
			type conceal func(cryptokey.Algorithm, cryptokey.Input) (cryptokey.Output, error)
			type reveal func(cryptokey.Algorithm, cryptokey.Input) ([]byte, error)
			for _, way := range []struct {
				op      cryptokey.Op
				conceal conceal
				reveal  reveal
			}{{cryptokey.Encrypt, k.Encrypt, k.Decrypt}, {cryptokey.WrapKey, k.WrapKey, k.UnwrapKey}} {
				for _, alg := range spec.Algorithms(way.op) {
					algorithms++
					in := concealable(alg)
					out, err := way.conceal(alg, in)
					if err != nil {
						t.Errorf("%s: %v", alg, err)
						continue
					}
					plain, err := way.reveal(alg, cryptokey.Input{Value: out.Value, IV: out.IV, AAD: out.AAD, Tag: out.Tag})
					if err != nil || !bytes.Equal(plain, in.Value) {
						t.Errorf("%s: came back as %d bytes, %v", alg, len(plain), err)
					}
				}
			}
			if algorithms == 0 {
				t.Error("there is no algorithm for this key")
			}
		})
	}
}

func TestPrivateEncodingGoesThereAndBack(t *testing.T) {
	for _, spec := range specs {
		t.Run(spec.String(), func(t *testing.T) {
			k := key(t, spec)
			buf := make([]byte, 0, cryptokey.MaxPrivateBytes)
			encoded, err := k.AppendPrivate(buf)
			if err != nil {
				t.Fatal(err)
			}
			if &encoded[0] != &buf[:1][0] {
				t.Error("the buffer was too short: a copy of the key was left behind")
			}
			again, err := cryptokey.ParsePrivate(encoded)
			if err != nil {
				t.Fatal(err)
			}
			if again.Spec() != spec || spec.Type != cryptokey.Oct && !again.Public.Equal(&k.Public) {
				t.Errorf("another key came back: %s", again)
			}
			second, err := again.AppendPrivate(nil)
			if err != nil || !bytes.Equal(second, encoded) {
				t.Errorf("the encoding is not canonical: %v", err)
			}
			if text := fmt.Sprintf("%v %+v %#v", k, k, k); len(text) > 200 {
				t.Errorf("the key prints as %s", text)
			}
		})
	}
}
