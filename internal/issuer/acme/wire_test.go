package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"math/big"
	"testing"
)

func ed25519Key(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Keys that are kept elsewhere sign as JOSE wants it, also when a number is short.
func TestSideBySide(t *testing.T) {
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		size := (curve.Params().BitSize + 7) / 8
		digest := sha512.Sum512([]byte("x"))
		for range 40 {
			signature, err := joseSigner(elsewhere{key}).Sign(rand.Reader, digest[:], crypto.SHA512)
			if err != nil || len(signature) != 2*size {
				t.Fatalf("%d bytes, %v", len(signature), err)
			}
			if !ecdsa.Verify(&key.PublicKey, digest[:], new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])) {
				t.Fatal("the signature does not verify")
			}
		}
		if joseSigner(key) != crypto.Signer(key) {
			t.Error("a key in memory was wrapped")
		}
	}
}

// An authority's answer is taken whole or not at all.
func FuzzChain(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		chain, err := parseChain(in)
		if (err == nil) != (len(chain) > 0) || len(chain) > maxChain {
			t.Errorf("%d certificates, %v", len(chain), err)
		}
	})
}
