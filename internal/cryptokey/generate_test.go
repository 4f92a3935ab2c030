package cryptokey_test

import (
	"bytes"
	"crypto"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
)

func TestNoTwoKeysAreTheSame(t *testing.T) {
	for _, spec := range specs[2:] {
		seen := [][]byte{make([]byte, 2)}
		for range 3 {
			k, err := cryptokey.Generate(spec)
			if err != nil {
				t.Fatal(err)
			}
			secret := private(t, k)[2:]
			for _, s := range seen {
				if bytes.Equal(s, secret) || bytes.Count(secret, []byte{0}) > len(secret)/2 {
					t.Errorf("%s: a key comes twice, or is zeros", spec)
				}
			}
			seen = append(seen, secret)
		}
	}
}

func TestPKCS8WithThePublicHalfOfAnotherKey(t *testing.T) {
	der, err := key(t, specs[5]).PKCS8()
	if err != nil {
		t.Fatal(err)
	}
	another, err := cryptokey.Generate(specs[5])
	if err != nil {
		t.Fatal(err)
	}
	spki, err := another.SPKI()
	if err != nil {
		t.Fatal(err)
	}
	_, err = cryptokey.ParsePKCS8(append(bytes.Clone(der[:len(der)-65]), spki[len(spki)-65:]...))
	refused(t, "another public half", err)
}

func TestSignerLooksAtLengths(t *testing.T) {
	signer, err := key(t, specs[2]).Signer()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 31, 33} {
		_, err := signer.Sign(nil, make([]byte, n), crypto.SHA256)
		refused(t, "a digest of another length", err)
	}
}
