package cryptokey

import (
	"bytes"

	"github.com/keywright/keywright/internal/fault"
)

// PrivateJWK returns the key with its private members, for handing it to a token. The caller zeroes it. A key whose private half is in a token
// already is fault.Unsupported, and so is one of a type that no token takes.
func (k *Key) PrivateJWK() (JWK, error) {
	if _, err := k.exporter(); err != nil {
		return JWK{}, err
	}
	j := k.PublicJWK()
	switch b := k.backend.(type) {
	case *rsaKey:
		half, pre := b.spec.Bits/16, &b.key.Precomputed
		j.D.Bytes, j.P.Bytes, j.Q.Bytes = appendFixed(nil, b.key.D, b.spec.Bits/8), appendFixed(nil, b.key.Primes[0], half), appendFixed(nil, b.key.Primes[1], half)
		j.DP.Bytes, j.DQ.Bytes, j.QI.Bytes = appendFixed(nil, pre.Dp, half), appendFixed(nil, pre.Dq, half), appendFixed(nil, pre.Qinv, half)
	case *ecKey:
		d, err := b.key.Bytes()
		if err != nil {
			return JWK{}, err
		}
		j.D.Bytes = d
	case *k1Key:
		d := b.key.Key.Bytes()
		j.D.Bytes = d[:]
	case *octKey:
		j.K.Bytes = bytes.Clone(b.bytes)
	default:
		return JWK{}, fault.New(fault.Unsupported, "a token takes no key of type %s", k.spec)
	}
	return j, nil
}
