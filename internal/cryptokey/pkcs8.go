package cryptokey

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/mlkem"
	"crypto/rsa"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"

	"filippo.io/mldsa"
	mldsax509 "filippo.io/mldsa/x509"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/keywright/keywright/internal/fault"
)

// The object identifiers that crypto/x509 does not know.
var (
	oidECPublicKey = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1} // RFC 5480, section 2.1.1
	oidSecp256k1   = asn1.ObjectIdentifier{1, 3, 132, 0, 10}       // SEC 2, section A.2.1

	// RFC 9935, section 3.
	oidMLKEM768  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 4, 2}
	oidMLKEM1024 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 4, 3}
)

// privateKeyInfo is PKCS #8's, RFC 5958, section 2.
type privateKeyInfo struct {
	Version    int
	Algorithm  pkix.AlgorithmIdentifier
	PrivateKey []byte
	Attributes asn1.RawValue `asn1:"optional,tag:0"`
	PublicKey  asn1.RawValue `asn1:"optional,tag:1"`
}

// ecPrivateKey is RFC 5915's, section 3.
type ecPrivateKey struct {
	Version    int
	PrivateKey []byte
	Curve      asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
	PublicKey  asn1.BitString        `asn1:"optional,explicit,tag:1"`
}

// subjectPublicKeyInfo is RFC 5280's, section 4.1.
type subjectPublicKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	PublicKey asn1.BitString
}

// PKCS8 returns the private key as an unencrypted PrivateKeyInfo in DER; the caller zeroes it. ML-DSA and ML-KEM keys are written as seeds
// (RFC 9881 and RFC 9935). Oct keys, which have no such form, and keys in a token are errors.
func (k *Key) PKCS8() ([]byte, error) {
	e, err := k.exporter()
	if err != nil {
		return nil, err
	}
	if k.spec.Type == Oct {
		return nil, fault.New(fault.Invalid, "an oct key has no PKCS #8 form")
	}
	return e.pkcs8()
}

func (k *rsaKey) pkcs8() ([]byte, error)   { return mldsax509.MarshalPKCS8PrivateKey(k.key) }
func (k *ecKey) pkcs8() ([]byte, error)    { return mldsax509.MarshalPKCS8PrivateKey(k.key) }
func (k *mldsaKey) pkcs8() ([]byte, error) { return mldsax509.MarshalPKCS8PrivateKey(k.key) }

// pkcs8 gives what a key wrap carries of an oct key: its bytes.
func (k *octKey) pkcs8() ([]byte, error) { return slices.Clone(k.bytes), nil }

func (k *k1Key) pkcs8() ([]byte, error) {
	d := k.key.Key.Bytes()
	defer clear(d[:])
	inner, err := asn1.Marshal(ecPrivateKey{Version: 1, PrivateKey: d[:], PublicKey: bits(k.pub.SerializeUncompressed())})
	if err != nil {
		return nil, fmt.Errorf("encoding a key on %s: %w", P256K, err)
	}
	defer clear(inner)
	return asn1.Marshal(privateKeyInfo{Algorithm: k1Algorithm(), PrivateKey: inner})
}

// pkcs8 writes the seed: an OCTET STRING, implicitly tagged [0] (RFC 9935, section 6).
func (k *mlkemKey) pkcs8() ([]byte, error) {
	seed := k.seed()
	defer clear(seed)
	inner := append([]byte{0x80, byte(len(seed))}, seed...)
	defer clear(inner)
	return asn1.Marshal(privateKeyInfo{Algorithm: pkix.AlgorithmIdentifier{Algorithm: mlkemOID(k.spec.Set)}, PrivateKey: inner})
}

// ParsePKCS8 reads an unencrypted PrivateKeyInfo in DER, of any kind that keys here can have, and checks it like an import.
func ParsePKCS8(der []byte) (*Key, error) {
	var info privateKeyInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) != 0 {
		return nil, errPKCS8
	}
	defer clear(info.PrivateKey)
	switch {
	case isK1(info.Algorithm):
		return parseK1PKCS8(info.PrivateKey)
	case info.Algorithm.Algorithm.Equal(oidMLKEM768):
		return parseMLKEMPKCS8(SetMLKEM768, info)
	case info.Algorithm.Algorithm.Equal(oidMLKEM1024):
		return parseMLKEMPKCS8(SetMLKEM1024, info)
	}
	parsed, err := mldsax509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errPKCS8
	}
	switch key := parsed.(type) {
	case *rsa.PrivateKey:
		return importRSA(key)
	case *ecdsa.PrivateKey:
		pub, err := newPublic(&key.PublicKey)
		if err != nil {
			return nil, err
		}
		return own(&ecKey{spec: pub.spec, key: key}), nil
	case *mldsa.PrivateKey:
		return own(&mldsaKey{spec: Spec{Type: AKP, Set: ParameterSet(key.PublicKey().Parameters().String())}, key: key}), nil
	}
	return nil, fault.New(fault.Invalid, "the PKCS #8 key is of a type that keys here cannot have; use RSA, EC, ML-DSA or ML-KEM")
}

var errPKCS8 = fault.New(fault.Invalid, "the bytes are not an unencrypted private key in PKCS #8 DER of a type that keys here can have")

func isK1(a pkix.AlgorithmIdentifier) bool {
	return a.Algorithm.Equal(oidECPublicKey) && bytes.Equal(a.Parameters.FullBytes, k1Algorithm().Parameters.FullBytes)
}

func parseK1PKCS8(der []byte) (*Key, error) {
	var inner ecPrivateKey
	rest, err := asn1.Unmarshal(der, &inner)
	if err != nil || len(rest) != 0 || inner.Version != 1 || len(inner.Curve) != 0 && !inner.Curve.Equal(oidSecp256k1) {
		return nil, errPKCS8
	}
	defer clear(inner.PrivateKey)
	d, err := scalar(P256K, "the private key", inner.PrivateKey)
	if err != nil {
		return nil, err
	}
	defer clear(d)
	key, err := newK1(d)
	if err != nil {
		return nil, err
	}
	if given := inner.PublicKey.RightAlign(); len(given) != 0 {
		pub, err := secp256k1.ParsePubKey(given)
		if err != nil || !pub.IsEqual(key.key.(*secp256k1.PublicKey)) {
			return nil, fault.New(fault.Invalid, "the public key in the PKCS #8 key does not match the private one")
		}
	}
	return key, nil
}

func parseMLKEMPKCS8(set ParameterSet, info privateKeyInfo) (*Key, error) {
	inner := info.PrivateKey
	if len(info.Algorithm.Parameters.FullBytes) != 0 || len(inner) != 2+mlkem.SeedSize || inner[0] != 0x80 || inner[1] != mlkem.SeedSize {
		return nil, fault.New(fault.Invalid, "an %s key in PKCS #8 must be its seed alone (RFC 9935, section 6)", set)
	}
	return newAKP(set, inner[2:])
}

// SPKI returns the public key as a SubjectPublicKeyInfo in DER. An oct key has none.
func (p *Public) SPKI() ([]byte, error) {
	switch key := p.key.(type) {
	case nil:
		return nil, fault.New(fault.Invalid, "an oct key has no public half")
	case *secp256k1.PublicKey:
		return asn1.Marshal(subjectPublicKeyInfo{Algorithm: k1Algorithm(), PublicKey: bits(key.SerializeUncompressed())})
	case crypto.Encapsulator:
		return asn1.Marshal(subjectPublicKeyInfo{Algorithm: pkix.AlgorithmIdentifier{Algorithm: mlkemOID(p.spec.Set)}, PublicKey: bits(key.Bytes())})
	}
	return mldsax509.MarshalPKIXPublicKey(p.key)
}

// ParseSPKI reads a SubjectPublicKeyInfo in DER and checks the key.
func ParseSPKI(der []byte) (*Public, error) {
	var info subjectPublicKeyInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) != 0 {
		return nil, errSPKI
	}
	switch {
	case isK1(info.Algorithm):
		pub, err := secp256k1.ParsePubKey(info.PublicKey.RightAlign())
		if err != nil {
			return nil, errOffCurve(P256K)
		}
		return newK1Public(pub)
	case info.Algorithm.Algorithm.Equal(oidMLKEM768):
		return parseAKPPublic(SetMLKEM768, info.PublicKey.RightAlign())
	case info.Algorithm.Algorithm.Equal(oidMLKEM1024):
		return parseAKPPublic(SetMLKEM1024, info.PublicKey.RightAlign())
	}
	key, err := mldsax509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errSPKI
	}
	return newPublic(key)
}

var errSPKI = fault.New(fault.Invalid, "the bytes are not a public key in DER (SubjectPublicKeyInfo) of a type that keys here can have")

func mlkemOID(set ParameterSet) asn1.ObjectIdentifier {
	if set == SetMLKEM768 {
		return oidMLKEM768
	}
	return oidMLKEM1024
}

func k1Algorithm() pkix.AlgorithmIdentifier {
	curve, err := asn1.Marshal(oidSecp256k1)
	if err != nil {
		panic("cryptokey: a constant object identifier has no encoding: " + err.Error())
	}
	return pkix.AlgorithmIdentifier{Algorithm: oidECPublicKey, Parameters: asn1.RawValue{FullBytes: curve}}
}

func bits(b []byte) asn1.BitString { return asn1.BitString{Bytes: b, BitLength: 8 * len(b)} }
