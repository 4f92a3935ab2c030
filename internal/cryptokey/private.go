package cryptokey

import (
	"crypto/rsa"
	"encoding/binary"
	"math/big"
	"slices"

	"github.com/keywright/keywright/internal/fault"
)

// The private encoding, which is what is encrypted when a key is at rest. All numbers are big-endian and of fixed width, so that a key has
// exactly one encoding.
//
//	version 1 | type | …
//
//	type 1, RSA:  e (4) | bits of n (2) | p (bits/16) | q (bits/16) | d (bits/8)
//	type 2, EC:   curve (1) | d (width of the curve)
//	type 3, oct:  k (16, 24 or 32)
//	type 4, AKP:  parameter set (1) | seed (32 for ML-DSA, 64 for ML-KEM)
//
// n, dp, dq and qi of RSA keys follow from the others; d is kept because computing it anew would not take constant time.
const privateVersion = 1

const (
	codeRSA = 1 + iota
	codeEC
	codeOct
	codeAKP
)

// The codes are stored: a new one goes to the end.
var (
	curveCodes = []Curve{1: P256, 2: P384, 3: P521, 4: P256K}
	setCodes   = []ParameterSet{1: SetMLDSA44, 2: SetMLDSA65, 3: SetMLDSA87, 4: SetMLKEM768, 5: SetMLKEM1024}
)

// MaxPrivateBytes bounds what AppendPrivate writes: an RSA key of 4096 bits.
const MaxPrivateBytes = 2 + 4 + 2 + 256 + 256 + 512

// AppendPrivate appends the whole key in its canonical form, for encryption at rest; the caller zeroes it. A dst with MaxPrivateBytes to spare
// leaves no copy behind. A key whose private half is in a token is fault.Unsupported.
func (k *Key) AppendPrivate(dst []byte) ([]byte, error) {
	e, err := k.exporter()
	if err != nil {
		return nil, err
	}
	return e.appendPrivate(append(dst, privateVersion)), nil
}

// ParsePrivate reads what AppendPrivate wrote. data is not kept and may be zeroed. What it reads has been authenticated by whoever
// decrypted it, so primes are not tested again; everything else is.
func ParsePrivate(data []byte) (*Key, error) {
	if len(data) < 3 || data[0] != privateVersion {
		return nil, errPrivate
	}
	rest := data[2:]
	switch data[1] {
	case codeRSA:
		return parseRSA(rest)
	case codeEC:
		i := int(rest[0])
		if i == 0 || i >= len(curveCodes) || len(rest)-1 != curveCodes[i].size() {
			return nil, errPrivate
		}
		return newEC(curveCodes[i], rest[1:])
	case codeOct:
		return newOct(slices.Clone(rest))
	case codeAKP:
		i := int(rest[0])
		if i == 0 || i >= len(setCodes) {
			return nil, errPrivate
		}
		return newAKP(setCodes[i], rest[1:])
	}
	return nil, errPrivate
}

var errPrivate = fault.New(fault.Invalid, "the bytes are not a private key in the encoding of this or an earlier version")

func (k *rsaKey) appendPrivate(dst []byte) []byte {
	dst = append(dst, codeRSA)
	dst = binary.BigEndian.AppendUint32(dst, uint32(k.spec.Exponent))
	dst = binary.BigEndian.AppendUint16(dst, uint16(k.spec.Bits))
	dst = appendFixed(dst, k.key.Primes[0], k.spec.Bits/16)
	dst = appendFixed(dst, k.key.Primes[1], k.spec.Bits/16)
	return appendFixed(dst, k.key.D, k.spec.Bits/8)
}

func parseRSA(b []byte) (*Key, error) {
	if len(b) < 6 {
		return nil, errPrivate
	}
	e, bits := int(binary.BigEndian.Uint32(b)), int(binary.BigEndian.Uint16(b[4:]))
	b = b[6:]
	if !slices.Contains(rsaBits, bits) || len(b) != bits/16*2+bits/8 {
		return nil, errPrivate
	}
	half := bits / 16
	p, q, d := new(big.Int).SetBytes(b[:half]), new(big.Int).SetBytes(b[half:2*half]), new(big.Int).SetBytes(b[2*half:])
	return newRSA(&rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: e}, D: d, Primes: []*big.Int{p, q}})
}

// appendFixed appends n in size bytes, which must suffice.
func appendFixed(dst []byte, n *big.Int, size int) []byte {
	dst = slices.Grow(dst, size)
	end := len(dst) + size
	n.FillBytes(dst[len(dst):end])
	return dst[:end]
}

func (k *ecKey) appendPrivate(dst []byte) []byte {
	dst = append(dst, codeEC, byte(slices.Index(curveCodes, k.spec.Curve)))
	d, err := k.key.Bytes()
	if err != nil {
		panic("cryptokey: an EC key that was checked has no encoding: " + err.Error())
	}
	defer clear(d)
	return append(dst, d...)
}

func (k *octKey) appendPrivate(dst []byte) []byte {
	return append(append(dst, codeOct), k.bytes...)
}
