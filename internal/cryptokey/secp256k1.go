package cryptokey

import (
	"crypto"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"

	"github.com/keywright/keywright/internal/fault"
)

// k1Key is a key on secp256k1, in memory. crypto/ecdsa would take the curve only through the generic code of crypto/elliptic, which is slow, not
// constant-time and deprecated.
type k1Key struct {
	key *secp256k1.PrivateKey
	pub *secp256k1.PublicKey
}

var k1Spec = Spec{Type: EC, Curve: P256K}

func generateK1() (*Key, error) {
	key, err := secp256k1.GeneratePrivateKeyFromRand(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating a key on secp256k1: %w", err)
	}
	return ownK1(key), nil
}

// newK1 takes the 32 bytes of a private scalar.
func newK1(d []byte) (*Key, error) {
	var s secp256k1.ModNScalar
	defer s.Zero()
	if len(d) != 32 || s.SetByteSlice(d) || s.IsZero() {
		return nil, errScalar(P256K)
	}
	return ownK1(secp256k1.NewPrivateKey(&s)), nil
}

func ownK1(key *secp256k1.PrivateKey) *Key { return own(&k1Key{key: key, pub: key.PubKey()}) }

// parseK1Public reads an uncompressed point.
func parseK1Public(point []byte) (*Public, error) {
	pub, err := secp256k1.ParsePubKey(point)
	if err != nil {
		return nil, errOffCurve(P256K)
	}
	return &Public{spec: k1Spec, key: pub}, nil
}

func (k *k1Key) Spec() Spec               { return k1Spec }
func (k *k1Key) Public() crypto.PublicKey { return k.pub }

func (k *k1Key) Conceal(Algorithm, Input) (Output, error) { return Output{}, errNoConceal(k1Spec) }
func (k *k1Key) Reveal(Algorithm, Input) ([]byte, error)  { return nil, errNoConceal(k1Spec) }

func (k *k1Key) appendPrivate(dst []byte) []byte {
	d := k.key.Key.Bytes()
	defer clear(d[:])
	return append(append(dst, codeEC, byte(slices.Index(curveCodes, P256K))), d[:]...)
}

// Sign returns r‖s.
//
// The library's field and scalar arithmetic takes constant time; its multiplication of the base point and its inversion do not, and a few
// bits of many nonces are enough to compute the key (Howgrave-Graham and Smart). So neither ever sees the nonce: k·G is computed as
// (k-b)·G + b·G, and k⁻¹ as b·(k·b)⁻¹, for a random b each time. The nonce itself is that of RFC 6979, hence the
// signature does not depend on the quality of b.
func (k *k1Key) Sign(_ Algorithm, digest []byte) ([]byte, error) {
	d := k.key.Key.Bytes()
	defer clear(d[:])
	for i := uint32(0); ; i++ {
		nonce := secp256k1.NonceRFC6979(d[:], digest, nil, nil, i)
		r, s, ok := k.signWith(nonce, digest)
		nonce.Zero()
		if ok { // else r or s is zero, which happens about once in 2²⁵⁶ times
			return slices.Concat(r[:], s[:]), nil
		}
	}
}

func (k *k1Key) signWith(nonce *secp256k1.ModNScalar, digest []byte) (rBytes, sBytes [32]byte, ok bool) {
	b := randomScalar()
	defer b.Zero()

	var rest secp256k1.ModNScalar
	rest.NegateVal(b).Add(nonce)
	var left, right, point secp256k1.JacobianPoint
	secp256k1.ScalarBaseMultNonConst(&rest, &left)
	secp256k1.ScalarBaseMultNonConst(b, &right)
	secp256k1.AddNonConst(&left, &right, &point)
	rest.Zero()
	point.ToAffine()

	var r, e, s, inverse secp256k1.ModNScalar
	r.SetBytes(point.X.Normalize().Bytes()) // reduces modulo n, as SEC 1, section 4.1.3, step 3 wants
	e.SetByteSlice(digest)

	inverse.Mul2(nonce, b).InverseNonConst().Mul(b)
	s.Mul2(&r, &k.key.Key).Add(&e).Mul(&inverse)
	inverse.Zero()
	// Of s and n-s, both of which verify, the lower is the customary one on this curve; some verifiers take no other.
	if s.IsOverHalfOrder() {
		s.Negate()
	}
	return r.Bytes(), s.Bytes(), !r.IsZero() && !s.IsZero()
}

// randomScalar is uniform between 1 and the order.
func randomScalar() *secp256k1.ModNScalar {
	var buf [32]byte
	defer clear(buf[:])
	for {
		rand.Read(buf[:])
		s := new(secp256k1.ModNScalar)
		if s.SetBytes(&buf) == 0 && !s.IsZero() {
			return s
		}
	}
}

// verifyK1 takes either of the two possible s: Key Vault does, and RFC 8812 does not ask for the lower one.
func verifyK1(key *secp256k1.PublicKey, digest, signature []byte) bool {
	if len(signature) != 64 {
		return false
	}
	var r, s secp256k1.ModNScalar
	if r.SetByteSlice(signature[:32]) || s.SetByteSlice(signature[32:]) || r.IsZero() || s.IsZero() {
		return false
	}
	return ecdsa.NewSignature(&r, &s).Verify(digest, key)
}

// newK1Public checks a public key of the library's.
func newK1Public(key *secp256k1.PublicKey) (*Public, error) {
	if !key.IsOnCurve() {
		return nil, fault.New(fault.Invalid, "the public key is not a point of curve %s", P256K)
	}
	return &Public{spec: k1Spec, key: key}, nil
}
