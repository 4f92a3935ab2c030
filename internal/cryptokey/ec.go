package cryptokey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keywright/keywright/internal/fault"
)

// ecKey is a key on a NIST curve, in memory.
type ecKey struct {
	spec Spec
	key  *ecdsa.PrivateKey
}

func (k *ecKey) Spec() Spec               { return k.spec }
func (k *ecKey) Public() crypto.PublicKey { return &k.key.PublicKey }

// Sign returns r‖s, each as wide as the curve's order (RFC 7518, section 3.4).
func (k *ecKey) Sign(_ Algorithm, digest []byte) ([]byte, error) {
	der, err := ecdsa.SignASN1(rand.Reader, k.key, digest)
	if err != nil {
		return nil, fmt.Errorf("signing with ECDSA: %w", err)
	}
	return FixedSignature(k.spec.Curve, der)
}

func (k *ecKey) Conceal(Algorithm, Input) (Output, error) { return Output{}, errNoConceal(k.spec) }
func (k *ecKey) Reveal(Algorithm, Input) ([]byte, error)  { return nil, errNoConceal(k.spec) }

// errNoConceal answers a Backend that is asked for what its rules never allow.
func errNoConceal(s Spec) error {
	return fault.New(fault.Invalid, "a key of type %s cannot encrypt or decrypt", s)
}

func verifyEC(key *ecdsa.PublicKey, digest, signature []byte) bool {
	der, ok := derSignature((key.Curve.Params().BitSize+7)/8, signature)
	return ok && ecdsa.VerifyASN1(key, digest, der)
}

// FixedSignature turns an ECDSA signature from DER (RFC 3279, section 2.2.3) into r‖s of fixed width.
func FixedSignature(c Curve, der []byte) ([]byte, error) {
	size := c.size()
	out := make([]byte, 2*size)
	input, inner := cryptobyte.String(der), cryptobyte.String(nil)
	var r, s []byte
	if !input.ReadASN1(&inner, asn1.SEQUENCE) || !input.Empty() ||
		!inner.ReadASN1Integer(&r) || !inner.ReadASN1Integer(&s) || !inner.Empty() || len(r) > size || len(s) > size {
		return nil, fault.New(fault.Invalid, "the value is not an ECDSA signature on %s in DER", c)
	}
	copy(out[size-len(r):], r)
	copy(out[2*size-len(s):], s)
	return out, nil
}

// derSignature turns r‖s into DER. Whether the numbers are in range is for the verification to say.
func derSignature(size int, signature []byte) ([]byte, bool) {
	if len(signature) != 2*size {
		return nil, false
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, 2*size+10))
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		addInteger(b, signature[:size])
		addInteger(b, signature[size:])
	})
	der, err := b.Bytes()
	return der, err == nil
}

// addInteger writes an unsigned big-endian number as a DER INTEGER: no superfluous zeros in front, but one where the highest bit would
// make it negative.
func addInteger(b *cryptobyte.Builder, n []byte) {
	b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) {
		for len(n) > 1 && n[0] == 0 {
			n = n[1:]
		}
		if n[0]&0x80 != 0 {
			b.AddUint8(0)
		}
		b.AddBytes(n)
	})
}
