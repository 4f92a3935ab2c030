package cryptokey

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/subtle"
	"math/big"
	"slices"

	"github.com/keywright/keywright/internal/fault"
)

// PrivateKey makes the key of a JWK that comes from outside, and trusts nothing in it: every number is checked against every other.
// All that is wrong is fault.Invalid. The caller zeroes the JWK.
func (j *JWK) PrivateKey() (*Key, error) {
	t, _, err := ParseType(j.Kty)
	if err != nil {
		return nil, err
	}
	if !j.HasPrivate() {
		return nil, fault.New(fault.Invalid, "the JSON Web Key has no private members; a key that is imported needs them")
	}
	switch t {
	case RSA:
		return j.rsaPrivate()
	case EC:
		return j.ecPrivate()
	case Oct:
		return newOct(slices.Clone(j.K.Bytes))
	}
	return j.akpPrivate()
}

// PublicKey makes the public key of a JWK. Private members are ignored.
func (j *JWK) PublicKey() (*Public, error) {
	t, _, err := ParseType(j.Kty)
	if err != nil {
		return nil, err
	}
	switch t {
	case RSA:
		n, e, err := j.rsaNumbers()
		if err != nil {
			return nil, err
		}
		return newPublic(&rsa.PublicKey{N: n, E: e})
	case EC:
		return j.ecPublic()
	case AKP:
		return j.akpPublic()
	}
	return nil, fault.New(fault.Invalid, "an oct key has no public half")
}

// rsaNumbers reads n and e. Zeros in front are tolerated in all numbers of imports: RFC 7518 forbids them, and common libraries
// write them.
func (j *JWK) rsaNumbers() (n *big.Int, e int, err error) {
	n = new(big.Int).SetBytes(j.N)
	if err := checkModulus(n.BitLen(), n.Bit(0)); err != nil {
		return nil, 0, err
	}
	exponent := new(big.Int).SetBytes(j.E)
	if exponent.BitLen() > 31 {
		return nil, 0, checkExponent(0)
	}
	e = int(exponent.Int64())
	return n, e, checkExponent(e)
}

func (j *JWK) rsaPrivate() (*Key, error) {
	n, e, err := j.rsaNumbers()
	if err != nil {
		return nil, err
	}
	if len(j.Oth) != 0 {
		return nil, fault.New(fault.Invalid, "an RSA key with more than two primes (oth) cannot be imported")
	}
	for _, m := range []struct {
		name  string
		value Secret
	}{{"d", j.D}, {"p", j.P}, {"q", j.Q}, {"dp", j.DP}, {"dq", j.DQ}, {"qi", j.QI}} {
		if m.value.IsZero() {
			return nil, fault.New(fault.Invalid, "the RSA key lacks %s; an import needs n, e, d, p, q, dp, dq and qi", m.name)
		}
	}
	number := func(s Secret) *big.Int { return new(big.Int).SetBytes(s.Bytes) }
	key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: n, E: e}, D: number(j.D), Primes: []*big.Int{number(j.P), number(j.Q)}}
	key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv = number(j.DP), number(j.DQ), number(j.QI)
	return importRSA(key)
}

// importRSA checks an RSA key from outside: NIST SP 800-56B revision 2, section 6.4.1.2.1, and the sizes that are allowed here. It is slow, because it
// tests the primes.
func importRSA(key *rsa.PrivateKey) (*Key, error) {
	own, err := newRSA(key)
	if err != nil {
		return nil, err
	}
	for _, prime := range key.Primes {
		// Besides these rounds of Miller and Rabin with random bases (a composite passes each with a chance of 1/4 at most) this runs
		// Baillie and PSW's test, of which no counterexample is known.
		if !prime.ProbablyPrime(8) {
			return nil, fault.New(fault.Invalid, "p or q of the RSA key is not a prime number")
		}
	}
	return own, nil
}

// newRSA checks that the numbers of a key belong together, and precomputes. It does not test the primes.
func newRSA(key *rsa.PrivateKey) (*Key, error) {
	bits := key.N.BitLen()
	if err := checkModulus(bits, key.N.Bit(0)); err != nil {
		return nil, err
	}
	if err := checkExponent(key.E); err != nil {
		return nil, err
	}
	if len(key.Primes) != 2 {
		return nil, fault.New(fault.Invalid, "an RSA key here has two primes, and not %d", len(key.Primes))
	}
	p, q := key.Primes[0], key.Primes[1]
	if p.BitLen() != bits/2 || q.BitLen() != bits/2 || new(big.Int).Mul(p, q).Cmp(key.N) != 0 {
		return nil, fault.New(fault.Invalid, "p and q of the RSA key are not two numbers of %d bits whose product is n", bits/2)
	}
	if tooClose(p, q) {
		return nil, fault.New(fault.Invalid, "p and q of the RSA key are so close to each other that it can be factored")
	}
	// Together with the check of e·d below, d is also long enough: e has 31 bits at most, so d misses few of the bits of n, and cannot be
	// found by continued fractions (Wiener).
	if key.D.Cmp(key.N) >= 0 {
		return nil, fault.New(fault.Invalid, "d of the RSA key is not below n")
	}
	// The rest (e·d, dp, dq, qi) crypto/rsa checks in constant time while it precomputes.
	key.Precompute()
	if err := key.Validate(); err != nil {
		return nil, fault.New(fault.Invalid, "the numbers of the RSA key do not belong together: d, dp, dq or qi does not match n and e")
	}
	return own(&rsaKey{spec: Spec{Type: RSA, Bits: bits, Exponent: key.E}, key: key}), nil
}

// ecCurve reads crv, in which RFC 8812's name of P-256K is welcome too.
func (j *JWK) ecCurve() (Curve, error) {
	c := Curve(j.Crv)
	if c == "secp256k1" || c == "SECP256K1" {
		c = P256K
	}
	if !slices.Contains(curves, c) {
		return "", fault.New(fault.Invalid, "crv %q is not a curve here; use one of %s", fault.Clip(j.Crv), join(curves))
	}
	return c, nil
}

// scalar brings a number to the width of the curve.
func scalar(c Curve, name string, n []byte) ([]byte, error) {
	if len(n) == 0 {
		return nil, fault.New(fault.Invalid, "the EC key lacks %s; an import needs crv, x, y and d", name)
	}
	short := shortest(n)
	if len(short) > c.size() {
		return nil, fault.New(fault.Invalid, "%s of the EC key is longer than the %d bytes of %s", name, c.size(), c)
	}
	fixed := make([]byte, c.size())
	copy(fixed[c.size()-len(short):], short)
	return fixed, nil
}

// point reads x and y as an uncompressed point (SEC 1, section 2.3.3).
func (j *JWK) point(c Curve) ([]byte, error) {
	x, err := scalar(c, "x", j.X)
	if err != nil {
		return nil, err
	}
	y, err := scalar(c, "y", j.Y)
	if err != nil {
		return nil, err
	}
	return slices.Concat([]byte{4}, x, y), nil
}

func (j *JWK) ecPublic() (*Public, error) {
	c, err := j.ecCurve()
	if err != nil {
		return nil, err
	}
	point, err := j.point(c)
	if err != nil {
		return nil, err
	}
	curve, nist := c.nist()
	if !nist {
		return parseK1Public(point)
	}
	pub, err := ecdsa.ParseUncompressedPublicKey(curve, point)
	if err != nil {
		return nil, errOffCurve(c)
	}
	return newPublic(pub)
}

func (j *JWK) ecPrivate() (*Key, error) {
	pub, err := j.ecPublic()
	if err != nil {
		return nil, err
	}
	d, err := scalar(pub.spec.Curve, "d", j.D.Bytes)
	if err != nil {
		return nil, err
	}
	defer clear(d)
	key, err := newEC(pub.spec.Curve, d)
	if err != nil {
		return nil, err
	}
	if !key.Public.Equal(pub) {
		return nil, fault.New(fault.Invalid, "d of the EC key does not match the point (x, y)")
	}
	return key, nil
}

// newEC makes the key whose private scalar is d, of the width of the curve. d must be between 1 and the order.
func newEC(c Curve, d []byte) (*Key, error) {
	curve, nist := c.nist()
	if !nist {
		return newK1(d)
	}
	key, err := ecdsa.ParseRawPrivateKey(curve, d)
	if err != nil {
		return nil, errScalar(c)
	}
	return own(&ecKey{spec: Spec{Type: EC, Curve: c}, key: key}), nil
}

func errScalar(c Curve) error {
	return fault.New(fault.Invalid, "d of the EC key is not between 1 and the order of %s", c)
}

func (j *JWK) akpSet() (ParameterSet, error) {
	set := ParameterSet(j.Alg)
	if !slices.Contains(parameterSets, set) {
		return "", fault.New(fault.Invalid, "alg %q is not the algorithm of an AKP key; use one of %s", fault.Clip(j.Alg), join(parameterSets))
	}
	return set, nil
}

func (j *JWK) akpPublic() (*Public, error) {
	set, err := j.akpSet()
	if err != nil {
		return nil, err
	}
	return parseAKPPublic(set, j.Pub)
}

func (j *JWK) akpPrivate() (*Key, error) {
	set, err := j.akpSet()
	if err != nil {
		return nil, err
	}
	key, err := newAKP(set, j.Priv.Bytes)
	if err != nil {
		return nil, err
	}
	if len(j.Pub) != 0 && subtle.ConstantTimeCompare(j.Pub, key.PublicJWK().Pub) != 1 {
		return nil, fault.New(fault.Invalid, "priv of the %s key does not match pub", set)
	}
	return key, nil
}
