//go:build pkcs11

package pkcs11

import (
	"encoding/asn1"

	p11 "github.com/miekg/pkcs11"

	"github.com/keywright/keywright/internal/cryptokey"
)

// Import puts a key into the token, where it stays until Destroy, and which lets it out no more. id is as in Generate.
func (t *Token) Import(k *cryptokey.Key, id []byte) (*cryptokey.Key, error) {
	j, err := k.PrivateJWK()
	defer j.Zero()
	if err != nil {
		return nil, err
	}
	return t.add(id, broughtThere, "importing a key of type "+k.Spec().String(), func(s p11.SessionHandle) error {
		public, secret, err := objectsOf(k.Spec(), &j, id)
		if err != nil {
			return err
		}
		if public != nil {
			if _, err := t.module.CreateObject(s, public); err != nil {
				return err
			}
		}
		_, err = t.module.CreateObject(s, secret)
		return err
	})
}

// objectsOf describes the objects of a key; public is nil for one that has no public half.
func objectsOf(spec cryptokey.Spec, j *cryptokey.JWK, id []byte) (public, secret []*p11.Attribute, err error) {
	public, secret = templates(spec.Type, id)
	class := func(object []*p11.Attribute, class, kind uint, more ...*p11.Attribute) []*p11.Attribute {
		return append(append(object, p11.NewAttribute(p11.CKA_CLASS, class), p11.NewAttribute(p11.CKA_KEY_TYPE, kind)), more...)
	}
	number := func(a uint, value []byte) *p11.Attribute { return p11.NewAttribute(a, value) }
	switch spec.Type {
	case cryptokey.RSA:
		n, e := number(p11.CKA_MODULUS, j.N), number(p11.CKA_PUBLIC_EXPONENT, j.E)
		return class(public, p11.CKO_PUBLIC_KEY, p11.CKK_RSA, n, e),
			class(secret, p11.CKO_PRIVATE_KEY, p11.CKK_RSA, n, e, number(p11.CKA_PRIVATE_EXPONENT, j.D.Bytes), number(p11.CKA_PRIME_1, j.P.Bytes),
				number(p11.CKA_PRIME_2, j.Q.Bytes), number(p11.CKA_EXPONENT_1, j.DP.Bytes), number(p11.CKA_EXPONENT_2, j.DQ.Bytes),
				number(p11.CKA_COEFFICIENT, j.QI.Bytes)), nil
	case cryptokey.EC:
		curve, err := asn1.Marshal(curveOIDs[spec.Curve])
		if err != nil {
			return nil, nil, err
		}
		point, err := asn1.Marshal(append(append([]byte{4}, j.X...), j.Y...))
		if err != nil {
			return nil, nil, err
		}
		params := number(p11.CKA_EC_PARAMS, curve)
		return class(public, p11.CKO_PUBLIC_KEY, p11.CKK_EC, params, number(p11.CKA_EC_POINT, point)),
			class(secret, p11.CKO_PRIVATE_KEY, p11.CKK_EC, params, number(p11.CKA_VALUE, j.D.Bytes)), nil
	case cryptokey.Oct:
		return nil, class(secret, p11.CKO_SECRET_KEY, p11.CKK_AES, number(p11.CKA_VALUE, j.K.Bytes)), nil
	}
	return nil, nil, errNoSuchKeys(spec)
}
