//go:build !race

package cryptokey_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
)

// What this package adds to a signature: nothing for RSA, and turning it from DER into r‖s for EC.
func TestAllocationsOfSigning(t *testing.T) {
	digest := make([]byte, 32)
	r, e := key(t, specs[0]), key(t, specs[2])
	bareRSA, bareEC := bare(t, r).(*rsa.PrivateKey), bare(t, e).(*ecdsa.PrivateKey)
	ours := testing.AllocsPerRun(20, func() { _, _ = r.Sign(cryptokey.RS256, digest) })
	theirs := testing.AllocsPerRun(20, func() { _, _ = rsa.SignPKCS1v15(nil, bareRSA, crypto.SHA256, digest) })
	if ours > theirs {
		t.Errorf("RSA: %v allocations instead of %v", ours, theirs)
	}
	ours = testing.AllocsPerRun(100, func() { _, _ = e.Sign(cryptokey.ES256, digest) })
	theirs = testing.AllocsPerRun(100, func() { _, _ = ecdsa.SignASN1(rand.Reader, bareEC, digest) })
	if ours > theirs+1 {
		t.Errorf("EC: %v allocations instead of %v and one", ours, theirs)
	}
}
