package cryptokey_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
)

// bare is the key as the standard library has it.
func bare(t testing.TB, k *cryptokey.Key) any {
	t.Helper()
	der, err := k.PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// The pairs below are the same work with and without this package.
func BenchmarkSignRSA2048(b *testing.B) {
	k, digest := key(b, specs[0]), make([]byte, 32)
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := k.Sign(cryptokey.RS256, digest); err != nil {
				b.Fatal(err)
			}
		}
	})
	private := bare(b, k).(*rsa.PrivateKey)
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := rsa.SignPKCS1v15(nil, private, crypto.SHA256, digest); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSignP256(b *testing.B) {
	k, digest := key(b, specs[2]), make([]byte, 32)
	b.Run("here", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := k.Sign(cryptokey.ES256, digest); err != nil {
				b.Fatal(err)
			}
		}
	})
	private := bare(b, k).(*ecdsa.PrivateKey)
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ecdsa.SignASN1(rand.Reader, private, digest); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSignP256K(b *testing.B) {
	k, digest := key(b, specs[5]), make([]byte, 32)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Sign(cryptokey.ES256K, digest); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyP256(b *testing.B) {
	k, digest := key(b, specs[2]), make([]byte, 32)
	signature, err := k.Sign(cryptokey.ES256, digest)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := k.Verify(cryptokey.ES256, digest, signature); !ok || err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParsePrivateRSA2048(b *testing.B) {
	encoded, err := key(b, specs[0]).AppendPrivate(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cryptokey.ParsePrivate(encoded); err != nil {
			b.Fatal(err)
		}
	}
}
