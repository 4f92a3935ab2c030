package cryptokey_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

// quick are the specs whose keys are made in no time: a fuzz target is set up again in every worker.
var quick = specs[2:]

// rsaSeed is an RSA key that need not be generated.
func rsaSeed(f *testing.F) *cryptokey.Key {
	f.Helper()
	for _, g := range readVectors(f) {
		if g.Alg == cryptokey.RS256 && g.Use == "sign" {
			return g.private(f)
		}
	}
	f.Fatal("there is no RSA key among the vectors")
	return nil
}

// What is read as a key is written as the same key; on an error there is no key and the kind is Invalid.
func FuzzParseJWK(f *testing.F) {
	for _, spec := range quick {
		encoded, err := key(f, spec).AppendPrivate(nil)
		if err != nil {
			f.Fatal(err)
		}
		j := key(f, spec).PublicJWK()
		members := map[string]any{"kty": j.Kty, "crv": j.Crv, "alg": j.Alg, "x": j.X, "y": j.Y, "pub": j.Pub}
		member, skip := map[cryptokey.Type]string{cryptokey.EC: "d", cryptokey.Oct: "k", cryptokey.AKP: "priv"}[spec.Type], 3
		if spec.Type == cryptokey.Oct {
			skip = 2
		}
		members[member] = cryptokey.Bytes(encoded[skip:])
		text, err := json.Marshal(members)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"kty":"RSA","n":"AQAB","e":"AQAB","d":"AQ","p":"Aw","q":"BQ","dp":"AQ","dq":"AQ","qi":"AQ","key_ops":["sign"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		j, err := cryptokey.ParseJWK(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%v", err)
			}
			return
		}
		if pub, err := j.PublicKey(); err == nil {
			written := pub.PublicJWK()
			if again, err := written.PublicKey(); err != nil || !again.Equal(pub) {
				t.Errorf("the public half changes: %v", err)
			}
		} else if pub != nil || !fault.Is(err, fault.Invalid) {
			t.Errorf("%v, %v", pub, err)
		}
		k, err := j.PrivateKey()
		if err != nil {
			if k != nil || !fault.Is(err, fault.Invalid) {
				t.Errorf("%v, %v", k, err)
			}
			return
		}
		encoded, err := k.AppendPrivate(nil)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := cryptokey.ParsePrivate(encoded); err != nil || again.Spec() != k.Spec() {
			t.Errorf("the key does not come back: %v", err)
		}
	})
}

// What is read is written byte for byte the same: a key has one encoding.
func FuzzParsePrivate(f *testing.F) {
	keys := []*cryptokey.Key{rsaSeed(f)}
	for _, spec := range quick {
		keys = append(keys, key(f, spec))
	}
	for _, k := range keys {
		encoded, err := k.AppendPrivate(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded)
	}
	f.Add([]byte{1, 2, 0})
	f.Add([]byte{2, 3, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		given := bytes.Clone(data)
		k, err := cryptokey.ParsePrivate(data)
		if err != nil {
			if k != nil || !fault.Is(err, fault.Invalid) {
				t.Errorf("%v, %v", k, err)
			}
			return
		}
		clear(data) // the key must not need it any longer
		again, err := k.AppendPrivate(nil)
		if err != nil || !bytes.Equal(again, given) {
			t.Errorf("%x became %x, %v", given, again, err)
		}
	})
}

func FuzzParsePKCS8(f *testing.F) {
	for _, spec := range quick {
		if der, err := key(f, spec).PKCS8(); err == nil {
			f.Add(der)
		}
	}
	if der, err := rsaSeed(f).PKCS8(); err == nil {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		k, err := cryptokey.ParsePKCS8(der)
		if err != nil {
			if k != nil || !fault.Is(err, fault.Invalid) {
				t.Errorf("%v, %v", k, err)
			}
			return
		}
		again, err := k.PKCS8()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := cryptokey.ParsePKCS8(again); err != nil || !back.Public.Equal(&k.Public) {
			t.Errorf("the key does not come back: %v", err)
		}
	})
}

func FuzzParseSPKI(f *testing.F) {
	for _, spec := range quick {
		if der, err := key(f, spec).SPKI(); err == nil {
			f.Add(der)
		}
	}
	if der, err := rsaSeed(f).SPKI(); err == nil {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		pub, err := cryptokey.ParseSPKI(der)
		if err != nil {
			if pub != nil || !fault.Is(err, fault.Invalid) {
				t.Errorf("%v, %v", pub, err)
			}
			return
		}
		again, err := pub.SPKI()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := cryptokey.ParseSPKI(again); err != nil || !back.Equal(pub) {
			t.Errorf("the key does not come back: %v", err)
		}
	})
}

func FuzzParseTransferBlob(f *testing.F) {
	text, err := json.Marshal(cryptokey.NewTransferBlob("kid", cryptokey.RSAAESKeyWrap256, []byte{1}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		blob, err := cryptokey.ParseTransferBlob(text)
		if err != nil {
			if !fault.Is(err, fault.Invalid) {
				t.Errorf("%v", err)
			}
			return
		}
		written, err := json.Marshal(blob)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := cryptokey.ParseTransferBlob(written); err != nil || again.Header != blob.Header || !bytes.Equal(again.Ciphertext, blob.Ciphertext) {
			t.Errorf("%s became %s, %v", text, written, err)
		}
	})
}

// Any value that an algorithm takes comes back, under any oct key, and no other key opens it.
func TestSymmetricRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.SampledFrom([]int{128, 192, 256}).Draw(t, "bits")
		generate := func() *cryptokey.Key {
			k, err := cryptokey.Generate(cryptokey.Spec{Type: cryptokey.Oct, Bits: bits})
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		k, other := generate(), generate()
		op := rapid.SampledFrom([]cryptokey.Op{cryptokey.Encrypt, cryptokey.WrapKey}).Draw(t, "op")
		alg := rapid.SampledFrom(k.Spec().Algorithms(op)).Draw(t, "alg")
		in := cryptokey.Input{Value: rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "value")}
		name := string(alg)
		switch {
		case name[len(name)-3:] == "GCM":
			in.AAD = rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "aad")
		case name[len(name)-3:] == "CBC":
			in.IV = rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "iv")
			in.Value = append(in.Value, make([]byte, 16-len(in.Value)%16)...)
		case name[len(name)-3:] == "PAD" && op == cryptokey.Encrypt:
			in.IV = rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "iv")
		case alg == cryptokey.CKMAESKeyWrapPad:
			in.Value = append(in.Value, 1)
		default:
			in.Value = append(in.Value, make([]byte, 24-len(in.Value)%8)...)
		}
		conceal, reveal, reveal2 := k.Encrypt, k.Decrypt, other.Decrypt
		if op == cryptokey.WrapKey {
			conceal, reveal, reveal2 = k.WrapKey, k.UnwrapKey, other.UnwrapKey
		}
		out, err := conceal(alg, in)
		if err != nil {
			t.Fatal(err)
		}
		sealed := cryptokey.Input{Value: out.Value, IV: out.IV, AAD: out.AAD, Tag: out.Tag}
		if got, err := reveal(alg, sealed); err != nil || !bytes.Equal(got, in.Value) {
			t.Fatalf("%x came back as %x, %v", in.Value, got, err)
		}
		if got, err := reveal2(alg, sealed); err == nil && bytes.Equal(got, in.Value) && len(in.Value) > 1 {
			t.Fatal("another key opens it")
		}
	})
}

// A fresh EC key of any curve signs any digest, the signature is of one width, and it verifies as what an import of the public half.
func TestECRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		spec := cryptokey.Spec{Type: cryptokey.EC, Curve: rapid.SampledFrom([]cryptokey.Curve{"P-256", "P-384", "P-521", "P-256K"}).Draw(t, "curve")}
		k, err := cryptokey.Generate(spec)
		if err != nil {
			t.Fatal(err)
		}
		alg := rapid.SampledFrom(spec.Algorithms(cryptokey.Sign)).Draw(t, "alg")
		digest := rapid.SliceOfN(rapid.Byte(), len(signable(alg)), len(signable(alg))).Draw(t, "digest")
		signature, err := k.Sign(alg, digest)
		if err != nil {
			t.Fatal(err)
		}
		width := map[cryptokey.Curve]int{"P-256": 64, "P-384": 96, "P-521": 132, "P-256K": 64}[spec.Curve]
		j := k.PublicJWK()
		pub, err := j.PublicKey()
		if err != nil || len(signature) != width || len(j.X) != width/2 || len(j.Y) != width/2 {
			t.Fatalf("widths %d, %d, %d: %v", len(signature), len(j.X), len(j.Y), err)
		}
		if ok, err := pub.Verify(alg, digest, signature); !ok || err != nil {
			t.Fatalf("%v, %v", ok, err)
		}
		digest[0] ^= 1
		if ok, err := pub.Verify(alg, digest, signature); ok || err != nil {
			t.Fatalf("another digest: %v, %v", ok, err)
		}
	})
}
