//go:build pkcs11

package pkcs11

import (
	"bytes"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/big"

	p11 "github.com/miekg/pkcs11"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

// label is CKA_LABEL of all keys here, so that whoever lists the token sees whose they are.
const label = "keywright"

// curveOIDs are CKA_EC_PARAMS, without their DER header: RFC 5480, section 2.1.1.1, and SEC 2, section A.2.1.
var curveOIDs = map[cryptokey.Curve]asn1.ObjectIdentifier{
	cryptokey.P256:  {1, 2, 840, 10045, 3, 1, 7},
	cryptokey.P384:  {1, 3, 132, 0, 34},
	cryptokey.P521:  {1, 3, 132, 0, 35},
	cryptokey.P256K: {1, 3, 132, 0, 10},
}

// Generate makes a key in the token, where it stays until Destroy. id is the owner's, 1 to 64 bytes; one that is taken is fault.Conflict.
func (t *Token) Generate(spec cryptokey.Spec, id []byte) (*cryptokey.Key, error) {
	spec, err := spec.Complete()
	if err != nil {
		return nil, err
	}
	return t.add(id, madeThere, "generating a key of type "+spec.String(), func(s p11.SessionHandle) error { return t.generate(s, spec, id) })
}

// add puts a key into the token, where nothing has its id, and finds it there.
func (t *Token) add(id []byte, how guarantees, doing string, put func(p11.SessionHandle) error) (*cryptokey.Key, error) {
	if len(id) == 0 || len(id) > 64 {
		return nil, fault.New(fault.Invalid, "the id of a key in a token has 1 to 64 bytes, and not %d", len(id))
	}
	t.making.Lock()
	defer t.making.Unlock()
	err := t.with(func(s p11.SessionHandle) error {
		if taken, err := t.objects(s, id); err != nil || len(taken) > 0 {
			if err != nil {
				return err
			}
			return fault.New(fault.Conflict, "the token has a key with this id already; use another id, or find the key")
		}
		return put(s)
	})
	if err != nil {
		return nil, answer(err, doing)
	}
	key, err := t.find(id, how)
	if err != nil {
		// What cannot be used must not stay.
		if undone := t.Destroy(id); undone != nil {
			return nil, fmt.Errorf("%w (and the key stays in the token: %w)", err, undone)
		}
		return nil, err
	}
	return key, nil
}

func (t *Token) generate(s p11.SessionHandle, spec cryptokey.Spec, id []byte) error {
	public, secret := templates(spec.Type, id)
	switch spec.Type {
	case cryptokey.RSA:
		public = append(public, p11.NewAttribute(p11.CKA_MODULUS_BITS, spec.Bits),
			p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(spec.Exponent)).Bytes()))
		_, _, err := t.module.GenerateKeyPair(s, mechanism(p11.CKM_RSA_PKCS_KEY_PAIR_GEN, nil), public, secret)
		return err
	case cryptokey.EC:
		curve, err := asn1.Marshal(curveOIDs[spec.Curve])
		if err != nil {
			return err
		}
		public = append(public, p11.NewAttribute(p11.CKA_EC_PARAMS, curve))
		_, _, err = t.module.GenerateKeyPair(s, mechanism(p11.CKM_EC_KEY_PAIR_GEN, nil), public, secret)
		return err
	case cryptokey.Oct:
		secret = append(secret, p11.NewAttribute(p11.CKA_VALUE_LEN, spec.Bits/8))
		_, err := t.module.GenerateKey(s, mechanism(p11.CKM_AES_KEY_GEN, nil), secret)
		return err
	}
	return errNoSuchKeys(spec)
}

func errNoSuchKeys(spec cryptokey.Spec) error {
	return fault.New(fault.Unsupported, "PKCS#11 tokens have no keys of type %s here; make the key without a token", spec)
}

// templates are what the public and the secret half of a key have to be, whether it is made in the token or brought there.
func templates(t cryptokey.Type, id []byte) (public, secret []*p11.Attribute) {
	common := []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_ID, id), p11.NewAttribute(p11.CKA_LABEL, label)}
	secret = append([]*p11.Attribute{p11.NewAttribute(p11.CKA_PRIVATE, true), p11.NewAttribute(p11.CKA_SENSITIVE, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, false)}, common...)
	public = append([]*p11.Attribute{p11.NewAttribute(p11.CKA_PRIVATE, false), p11.NewAttribute(p11.CKA_VERIFY, true)}, common...)
	switch t {
	case cryptokey.RSA:
		return append(public, p11.NewAttribute(p11.CKA_ENCRYPT, true)), append(secret, p11.NewAttribute(p11.CKA_SIGN, true), p11.NewAttribute(p11.CKA_DECRYPT, true))
	case cryptokey.EC:
		return public, append(secret, p11.NewAttribute(p11.CKA_SIGN, true))
	}
	return nil, append(secret, p11.NewAttribute(p11.CKA_ENCRYPT, true), p11.NewAttribute(p11.CKA_DECRYPT, true), p11.NewAttribute(p11.CKA_WRAP, true),
		p11.NewAttribute(p11.CKA_UNWRAP, true))
}

func mechanism(code uint, parameter any) []*p11.Mechanism {
	return []*p11.Mechanism{p11.NewMechanism(code, parameter)}
}

// objects are the handles of what has the id, by CKA_CLASS.
func (t *Token) objects(s p11.SessionHandle, id []byte) (map[uint]p11.ObjectHandle, error) {
	if err := t.module.FindObjectsInit(s, []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_ID, id)}); err != nil {
		return nil, err
	}
	handles, _, err := t.module.FindObjects(s, 8)
	if finalErr := t.module.FindObjectsFinal(s); err == nil {
		err = finalErr
	}
	if err != nil {
		return nil, err
	}
	byClass := map[uint]p11.ObjectHandle{}
	for _, h := range handles {
		class, err := t.number(s, h, p11.CKA_CLASS)
		if err != nil {
			return nil, err
		}
		if _, twice := byClass[class]; twice {
			return nil, fault.New(fault.Conflict, "the token has several keys with this id; remove those that do not belong there")
		}
		byClass[class] = h
	}
	return byClass, nil
}

// Find returns the key with the id, or fault.NotFound. A key that could leave the token, or was not made there, is fault.Invalid: it is not what its
// owner believes.
func (t *Token) Find(id []byte) (*cryptokey.Key, error) { return t.find(id, madeThere) }

// FindImported is Find for a key that Import put into the token.
func (t *Token) FindImported(id []byte) (*cryptokey.Key, error) { return t.find(id, broughtThere) }

func (t *Token) find(id []byte, how guarantees) (*cryptokey.Key, error) {
	b := &backend{token: t, id: bytes.Clone(id), how: how}
	err := t.with(func(s p11.SessionHandle) error {
		private, public, err := t.locate(s, id)
		if err != nil {
			return err
		}
		b.handle.Store(uint64(private))
		if public == 0 {
			return b.readSecret(s, private)
		}
		return b.readPair(s, private, public)
	})
	if err != nil {
		return nil, answer(err, "finding a key")
	}
	return cryptokey.FromBackend(b)
}

// locate returns the handle of what is private of a key, and that of its public half; 0 for a key that has none.
func (t *Token) locate(s p11.SessionHandle, id []byte) (private, public p11.ObjectHandle, err error) {
	handles, err := t.objects(s, id)
	if err != nil {
		return 0, 0, err
	}
	if h, ok := handles[p11.CKO_SECRET_KEY]; ok {
		return h, 0, nil
	}
	private, ok := handles[p11.CKO_PRIVATE_KEY]
	public, both := handles[p11.CKO_PUBLIC_KEY]
	if !ok || !both {
		return 0, 0, fault.New(fault.NotFound, "the token has no key with this id")
	}
	return private, public, nil
}

// Destroy removes the key with the id for good. A key that is not there is fault.NotFound.
func (t *Token) Destroy(id []byte) error {
	return answer(t.with(func(s p11.SessionHandle) error {
		handles, err := t.objects(s, id)
		if err != nil {
			return err
		}
		if len(handles) == 0 {
			return fault.New(fault.NotFound, "the token has no key with this id")
		}
		for _, h := range handles {
			if err := t.module.DestroyObject(s, h); err != nil {
				return err
			}
		}
		return nil
	}), "destroying a key")
}

// attributes reads attributes of an object.
func (t *Token) attributes(s p11.SessionHandle, h p11.ObjectHandle, types ...uint) ([][]byte, error) {
	template := make([]*p11.Attribute, len(types))
	for i, a := range types {
		template[i] = p11.NewAttribute(a, nil)
	}
	got, err := t.module.GetAttributeValue(s, h, template)
	if err != nil {
		return nil, err
	}
	values := make([][]byte, len(types))
	for i := range got {
		values[i] = got[i].Value
	}
	return values, nil
}

// number reads a CK_ULONG, which has the machine's byte order and width.
func (t *Token) number(s p11.SessionHandle, h p11.ObjectHandle, attribute uint) (uint, error) {
	values, err := t.attributes(s, h, attribute)
	if err != nil {
		return 0, err
	}
	switch len(values[0]) {
	case 8:
		return uint(binary.NativeEndian.Uint64(values[0])), nil
	case 4:
		return uint(binary.NativeEndian.Uint32(values[0])), nil
	}
	return 0, fmt.Errorf("attribute %#x has %d bytes", attribute, len(values[0]))
}
