package cryptokey

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/mlkem"
	"crypto/rsa"
	"slices"

	"filippo.io/mldsa"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/keywright/keywright/internal/fault"
)

// Public is the public half of a key. An oct key has none: its Public knows the spec alone and can compute nothing.
type Public struct {
	spec Spec
	key  crypto.PublicKey
}

// Spec says what the key is.
func (p *Public) Spec() Spec { return p.spec }

// CryptoKey is the public key in the form of Go's libraries: *rsa.PublicKey, *ecdsa.PublicKey, *secp256k1.PublicKey,
// *mldsa.PublicKey, *mlkem.EncapsulationKey768 or 1024; nil for oct.
func (p *Public) CryptoKey() crypto.PublicKey { return p.key }

// Verify reports whether signature is one of value. See Key.Verify; HMAC needs the key itself.
func (p *Public) Verify(alg Algorithm, value, signature []byte) (bool, error) {
	r, err := p.spec.rule(alg, Verify)
	if err != nil {
		return false, err
	}
	if err := p.checkSignable(r, value); err != nil {
		return false, err
	}
	switch key := p.key.(type) {
	case *rsa.PublicKey:
		return verifyRSA(key, r, value, signature), nil
	case *ecdsa.PublicKey:
		return verifyEC(key, value, signature), nil
	case *secp256k1.PublicKey:
		return verifyK1(key, value, signature), nil
	case *mldsa.PublicKey:
		return verifyMLDSA(key, value, signature), nil
	}
	return false, p.secretOnly(Verify)
}

// Encrypt encrypts for the holder of the private half.
func (p *Public) Encrypt(alg Algorithm, in Input) (Output, error) { return p.conceal(alg, Encrypt, in) }

// WrapKey encrypts a key for the holder of the private half.
func (p *Public) WrapKey(alg Algorithm, in Input) (Output, error) { return p.conceal(alg, WrapKey, in) }

func (p *Public) conceal(alg Algorithm, op Op, in Input) (Output, error) {
	r, err := p.spec.rule(alg, op)
	if err != nil {
		return Output{}, err
	}
	if err := r.checkConceal(in, p.spec); err != nil {
		return Output{}, err
	}
	switch key := p.key.(type) {
	case *rsa.PublicKey:
		return encryptRSA(key, r, in)
	case crypto.Encapsulator:
		return sealMLKEM(key, p.spec.Set, in)
	}
	return Output{}, p.secretOnly(op)
}

// secretOnly answers a call on the public half of a key that has none.
func (p *Public) secretOnly(op Op) error {
	return fault.New(fault.Invalid, "a key of type %s has no public half: %s needs the key itself", p.spec, op)
}

// Equal reports whether both are the same public key. Keys without a public half equal nothing.
func (p *Public) Equal(other *Public) bool {
	if other == nil || p.spec != other.spec {
		return false
	}
	switch key := p.key.(type) {
	case *secp256k1.PublicKey:
		o, ok := other.key.(*secp256k1.PublicKey)
		return ok && key.IsEqual(o)
	case crypto.Encapsulator:
		o, ok := other.key.(crypto.Encapsulator)
		return ok && bytes.Equal(key.Bytes(), o.Bytes())
	case interface{ Equal(crypto.PublicKey) bool }:
		return key.Equal(other.key)
	}
	return false
}

// checkSignable checks the length of what is to be signed or verified.
func (p *Public) checkSignable(r *rule, value []byte) error {
	if r.digest != 0 && len(value) != r.digest {
		return fault.New(fault.Invalid, "%s takes a digest of exactly %d bytes, and not one of %d: hash the message first", r.alg, r.digest, len(value))
	}
	if limit := p.spec.Bits/8 - pkcs1Overhead; r.alg == RSNULL && len(value) > limit {
		return fault.New(fault.Invalid, "RSNULL takes at most %d bytes with a key of %d bits, and not %d", limit, p.spec.Bits, len(value))
	}
	return nil
}

// NewPublic checks a public key of Go's libraries and wraps it. Sizes and curves that Key Vault does not have are fault.Invalid.
func NewPublic(key crypto.PublicKey) (*Public, error) { return newPublic(key) }

func newPublic(key crypto.PublicKey) (*Public, error) {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if err := checkModulus(k.N.BitLen(), k.N.Bit(0)); err != nil {
			return nil, err
		}
		if err := checkExponent(k.E); err != nil {
			return nil, err
		}
		return &Public{spec: Spec{Type: RSA, Bits: k.N.BitLen(), Exponent: k.E}, key: k}, nil
	case *ecdsa.PublicKey:
		i := slices.IndexFunc(nistCurves, func(c nistCurve) bool { return c.curve == k.Curve })
		if i < 0 {
			return nil, fault.New(fault.Invalid, "the curve of this public key is not one of %s", join(curves))
		}
		if _, err := k.ECDH(); err != nil { // checks that the point is on the curve
			return nil, errOffCurve(nistCurves[i].name)
		}
		return &Public{spec: Spec{Type: EC, Curve: nistCurves[i].name}, key: k}, nil
	case *secp256k1.PublicKey:
		return newK1Public(k)
	case *mldsa.PublicKey:
		return &Public{spec: Spec{Type: AKP, Set: ParameterSet(k.Parameters().String())}, key: k}, nil
	case *mlkem.EncapsulationKey768:
		return &Public{spec: Spec{Type: AKP, Set: SetMLKEM768}, key: k}, nil
	case *mlkem.EncapsulationKey1024:
		return &Public{spec: Spec{Type: AKP, Set: SetMLKEM1024}, key: k}, nil
	}
	return nil, fault.New(fault.Invalid, "a public key of type %T is not one that keys here can have", key)
}

type nistCurve struct {
	name  Curve
	curve elliptic.Curve
}

var nistCurves = []nistCurve{{P256, elliptic.P256()}, {P384, elliptic.P384()}, {P521, elliptic.P521()}}

func (c Curve) nist() (elliptic.Curve, bool) {
	for _, n := range nistCurves {
		if n.name == c {
			return n.curve, true
		}
	}
	return nil, false
}

func errOffCurve(c Curve) error {
	return fault.New(fault.Invalid, "the point (x, y) is not on curve %s", c)
}
