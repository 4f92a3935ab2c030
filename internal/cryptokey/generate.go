package cryptokey

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
)

// Generate makes a key. The spec is completed first, see Spec.Complete.
func Generate(spec Spec) (*Key, error) {
	spec, err := spec.Complete()
	if err != nil {
		return nil, err
	}
	switch spec.Type {
	case RSA:
		key, err := generateRSA(spec.Bits, spec.Exponent)
		if err != nil {
			return nil, fmt.Errorf("generating an RSA key: %w", err)
		}
		return own(&rsaKey{spec: spec, key: key}), nil
	case EC:
		return generateEC(spec)
	case Oct:
		k := make([]byte, spec.Bits/8)
		rand.Read(k)
		return newOct(k)
	}
	return generateAKP(spec)
}

// generateRSA leaves keys with the usual exponent to crypto/rsa, which makes no others.
func generateRSA(bits, exponent int) (*rsa.PrivateKey, error) {
	if exponent == DefaultExponent {
		return rsa.GenerateKey(nil, bits)
	}
	e, one := big.NewInt(int64(exponent)), big.NewInt(1)
	for {
		// rand.Prime sets the two highest bits, so the product of two primes of half the size has exactly the size asked for.
		p, err := rand.Prime(rand.Reader, bits/2)
		if err != nil {
			return nil, err
		}
		q, err := rand.Prime(rand.Reader, bits/2)
		if err != nil {
			return nil, err
		}
		if tooClose(p, q) {
			continue
		}
		// FIPS 186-5, section A.1.1: d is the inverse of e modulo lcm(p-1, q-1). It does not exist if e divides p-1 or q-1, which a
		// small e does often: the next pair is tried.
		p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
		lambda := new(big.Int).Mul(p1, q1)
		lambda.Quo(lambda, new(big.Int).GCD(nil, nil, p1, q1))
		d := new(big.Int).ModInverse(e, lambda)
		if d == nil || d.BitLen() <= bits/2 {
			continue
		}
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: exponent}, D: d, Primes: []*big.Int{p, q}}
		key.Precompute()
		return key, key.Validate()
	}
}

// tooClose reports whether Fermat's method would factor the product: FIPS 186-5, section A.1.3, asks for |p-q| > 2^(bits/2-100).
func tooClose(p, q *big.Int) bool {
	distance := new(big.Int).Sub(p, q)
	return distance.Abs(distance).BitLen() <= p.BitLen()-100
}

func generateEC(spec Spec) (*Key, error) {
	curve, ok := spec.Curve.nist()
	if !ok {
		return generateK1()
	}
	key, err := ecdsa.GenerateKey(curve, nil)
	if err != nil {
		return nil, fmt.Errorf("generating an EC key: %w", err)
	}
	return own(&ecKey{spec: spec, key: key}), nil
}
