package cryptokey

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
)

// Type is the kty of a JWK.
type Type string

// The types of keys.
const (
	RSA Type = "RSA"
	EC  Type = "EC"
	Oct Type = "oct"
	// AKP ("algorithm key pair", draft-ietf-cose-dilithium) holds keys that belong to one algorithm alone: ML-DSA and ML-KEM. Key Vault has none.
	AKP Type = "AKP"
)

// hsmSuffix marks, in Key Vault's kty, a key that is asked to be kept by a hardware module.
const hsmSuffix = "-HSM"

// ParseType reads a kty of Key Vault: the type, and whether it carries the -HSM suffix. An unknown word is fault.Invalid.
func ParseType(kty string) (t Type, hsm bool, err error) {
	word, hsm := strings.CutSuffix(kty, hsmSuffix)
	switch t = Type(word); t {
	case RSA, EC, Oct:
		return t, hsm, nil
	case AKP:
		if !hsm {
			return t, false, nil
		}
	}
	return "", false, fault.New(fault.Invalid, "kty %q is not a type of key here; use RSA, EC, oct, their -HSM forms, or AKP", fault.Clip(kty))
}

// Kty is the type as Key Vault writes it, with the -HSM suffix if hsm.
func (t Type) Kty(hsm bool) string {
	if hsm {
		return string(t) + hsmSuffix
	}
	return string(t)
}

// Curve is the crv of an EC key, in Key Vault's words.
type Curve string

// The curves.
const (
	P256 Curve = "P-256"
	P384 Curve = "P-384"
	P521 Curve = "P-521"
	// P256K is secp256k1 (SEC 2, section 2.4.1). RFC 8812 calls it secp256k1; imports may too.
	P256K Curve = "P-256K"
)

// size is the width of a coordinate and of a scalar, in bytes.
func (c Curve) size() int {
	switch c {
	case P256, P256K:
		return 32
	case P384:
		return 48
	case P521:
		return 66
	}
	return 0
}

// ParameterSet names the one algorithm of an AKP key.
type ParameterSet string

// The parameter sets of FIPS 204 and FIPS 203.
const (
	SetMLDSA44   ParameterSet = "ML-DSA-44"
	SetMLDSA65   ParameterSet = "ML-DSA-65"
	SetMLDSA87   ParameterSet = "ML-DSA-87"
	SetMLKEM768  ParameterSet = "ML-KEM-768"
	SetMLKEM1024 ParameterSet = "ML-KEM-1024"
)

// signs reports whether the set is one of signatures rather than of key encapsulation.
func (s ParameterSet) signs() bool { return s == SetMLDSA44 || s == SetMLDSA65 || s == SetMLDSA87 }

const (
	// DefaultExponent is the public exponent of RSA keys unless another is asked for.
	DefaultExponent = 65537
	// maxExponent is the largest public exponent that crypto/rsa computes with.
	maxExponent = 1<<31 - 1
)

// Spec says which key to make, or which a key is. Two keys with equal specs take the same algorithms.
type Spec struct {
	Type Type
	// Bits is the size of an RSA modulus or of an oct key. It is zero for other types.
	Bits int
	// Exponent is the public exponent of an RSA key, else zero.
	Exponent int
	// Curve is set for EC alone.
	Curve Curve
	// Set is set for AKP alone.
	Set ParameterSet
}

// Complete checks the spec of a key that is to be made, and fills in what Key Vault's defaults leave out: RSA 2048 with exponent
// 65537, P-256, 256 bits of oct. For EC, Bits may repeat the size of the curve. Everything else is fault.Invalid.
func (s Spec) Complete() (Spec, error) {
	switch s.Type {
	case RSA:
		return s.completeRSA()
	case EC:
		return s.completeEC()
	case Oct:
		if s.Bits == 0 {
			s.Bits = 256
		}
		if !slices.Contains(octBits, s.Bits) {
			return Spec{}, fault.New(fault.Invalid, "an oct key has 128, 192 or 256 bits, and not %d", s.Bits)
		}
		return s.only(Spec{Type: Oct, Bits: s.Bits})
	case AKP:
		if !slices.Contains(parameterSets, s.Set) {
			return Spec{}, fault.New(fault.Invalid, "%q is not the algorithm of an AKP key; use one of %s", fault.Clip(string(s.Set)), join(parameterSets))
		}
		return s.only(Spec{Type: AKP, Set: s.Set})
	}
	return Spec{}, fault.New(fault.Invalid, "%q is not a type of key; use RSA, EC, oct or AKP", fault.Clip(string(s.Type)))
}

var (
	rsaBits       = []int{2048, 3072, 4096}
	octBits       = []int{128, 192, 256}
	curves        = []Curve{P256, P384, P521, P256K}
	parameterSets = []ParameterSet{SetMLDSA44, SetMLDSA65, SetMLDSA87, SetMLKEM768, SetMLKEM1024}
)

func (s Spec) completeRSA() (Spec, error) {
	if s.Bits == 0 {
		s.Bits = 2048
	}
	if s.Exponent == 0 {
		s.Exponent = DefaultExponent
	}
	if !slices.Contains(rsaBits, s.Bits) {
		return Spec{}, fault.New(fault.Invalid, "an RSA key has 2048, 3072 or 4096 bits, and not %d", s.Bits)
	}
	if err := checkExponent(s.Exponent); err != nil {
		return Spec{}, err
	}
	return s.only(Spec{Type: RSA, Bits: s.Bits, Exponent: s.Exponent})
}

func (s Spec) completeEC() (Spec, error) {
	if s.Curve == "" {
		s.Curve = P256
	}
	if !slices.Contains(curves, s.Curve) {
		return Spec{}, fault.New(fault.Invalid, "%q is not a curve here; use one of %s", fault.Clip(string(s.Curve)), join(curves))
	}
	if s.Bits != 0 && (s.Bits+7)/8 != s.Curve.size() {
		return Spec{}, fault.New(fault.Invalid, "a key on %s does not have %d bits; leave the size out", s.Curve, s.Bits)
	}
	s.Bits = 0
	return s.only(Spec{Type: EC, Curve: s.Curve})
}

// only refuses a spec that says more than belongs to its type: what is not obeyed must not be accepted.
func (s Spec) only(want Spec) (Spec, error) {
	if s != want {
		return Spec{}, fault.New(fault.Invalid, "the size, curve, exponent or algorithm that was asked for does not belong to %s keys; leave it out", s.Type)
	}
	return want, nil
}

// checkExponent allows odd exponents from 3 to 2³¹-1. Exponent 1 encrypts nothing, and even ones have no inverse. That 3 is allowed is
// Key Vault's contract; the paddings here are those that are safe with it.
func checkExponent(e int) error {
	if e < 3 || e > maxExponent || e%2 == 0 {
		return fault.New(fault.Invalid, "a public exponent is an odd number from 3 to %d", maxExponent)
	}
	return nil
}

// String names the spec for messages: "RSA 2048", "EC P-256", "oct 128", "AKP ML-DSA-65".
func (s Spec) String() string {
	switch s.Type {
	case RSA, Oct:
		return fmt.Sprintf("%s %d", s.Type, s.Bits)
	case EC:
		return "EC " + string(s.Curve)
	}
	return string(s.Type) + " " + string(s.Set)
}

// join lists words for a message.
func join[T ~string](words []T) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	return strings.Join(list, ", ")
}
