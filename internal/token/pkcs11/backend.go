//go:build pkcs11

package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/subtle"
	"encoding/asn1"
	"slices"
	"sync/atomic"

	p11 "github.com/miekg/pkcs11"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
)

// backend is a key in a token.
type backend struct {
	token *Token
	id    []byte
	how   guarantees
	// handle is a p11.ObjectHandle. It changes when the token was away meanwhile.
	handle atomic.Uint64
	spec   cryptokey.Spec
	public crypto.PublicKey
}

// guarantees are what the token has to say of a private half, true or false, for the key to be used.
type guarantees map[uint]byte

var (
	// madeThere has never been anywhere else.
	madeThere = guarantees{p11.CKA_SENSITIVE: 1, p11.CKA_ALWAYS_SENSITIVE: 1, p11.CKA_NEVER_EXTRACTABLE: 1, p11.CKA_LOCAL: 1}
	// broughtThere has been elsewhere before, and stays from now on.
	broughtThere = guarantees{p11.CKA_SENSITIVE: 1, p11.CKA_EXTRACTABLE: 0}
)

// with lends a session, and the key's handle in it. A handle that the token does not know any more, because it was away, is looked up again.
func (b *backend) with(f func(s p11.SessionHandle, h p11.ObjectHandle) error) error {
	return b.token.with(func(s p11.SessionHandle) error {
		err := f(s, p11.ObjectHandle(b.handle.Load()))
		if !is(err, p11.CKR_KEY_HANDLE_INVALID) && !is(err, p11.CKR_OBJECT_HANDLE_INVALID) {
			return err
		}
		private, _, found := b.token.locate(s, b.id)
		if found != nil {
			return found
		}
		if err := b.guarded(s, private); err != nil {
			return err
		}
		b.handle.Store(uint64(private))
		return f(s, private)
	})
}

func (b *backend) Spec() cryptokey.Spec     { return b.spec }
func (b *backend) Public() crypto.PublicKey { return b.public }

// guarded checks that the token guarantees of the private half what it has to.
func (b *backend) guarded(s p11.SessionHandle, private p11.ObjectHandle) error {
	for attribute, want := range b.how {
		values, err := b.token.attributes(s, private, attribute)
		if err != nil {
			return err
		}
		if v := values[0]; len(v) != 1 || v[0] != want {
			return fault.New(fault.Invalid, "the key in the token was not made there, or could leave it: it is not used as one that a token protects")
		}
	}
	return nil
}

func (b *backend) readSecret(s p11.SessionHandle, secret p11.ObjectHandle) error {
	length, err := b.token.number(s, secret, p11.CKA_VALUE_LEN)
	if err != nil {
		return err
	}
	b.spec = cryptokey.Spec{Type: cryptokey.Oct, Bits: int(length) * 8}
	return b.guarded(s, secret)
}

// readPair reads the public half, and checks it as if it were imported.
func (b *backend) readPair(s p11.SessionHandle, private, public p11.ObjectHandle) error {
	kind, err := b.token.number(s, public, p11.CKA_KEY_TYPE)
	if err != nil {
		return err
	}
	var j cryptokey.JWK
	switch kind {
	case p11.CKK_RSA:
		values, err := b.token.attributes(s, public, p11.CKA_MODULUS, p11.CKA_PUBLIC_EXPONENT)
		if err != nil {
			return err
		}
		j = cryptokey.JWK{Kty: string(cryptokey.RSA), N: values[0], E: values[1]}
	case p11.CKK_EC:
		values, err := b.token.attributes(s, public, p11.CKA_EC_PARAMS, p11.CKA_EC_POINT)
		if err != nil {
			return err
		}
		if j, err = ecJWK(values[0], values[1]); err != nil {
			return err
		}
	default:
		return fault.New(fault.Unsupported, "the token has a key of a type with this id that keys here cannot have")
	}
	pub, err := j.PublicKey()
	if err != nil {
		return err
	}
	b.spec, b.public = pub.Spec(), pub.CryptoKey()
	return b.guarded(s, private)
}

// ecJWK reads CKA_EC_PARAMS, an object identifier, and CKA_EC_POINT, an uncompressed point in an OCTET STRING.
func ecJWK(params, encoded []byte) (cryptokey.JWK, error) {
	var oid asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(params, &oid); err != nil || len(rest) != 0 {
		return cryptokey.JWK{}, fault.New(fault.Invalid, "the token's EC key has no named curve")
	}
	point := encoded
	if rest, err := asn1.Unmarshal(encoded, &point); err != nil || len(rest) != 0 || len(point) < 3 || len(point)%2 != 1 || point[0] != 4 {
		return cryptokey.JWK{}, fault.New(fault.Invalid, "the token's EC key has a point that is not in the uncompressed form")
	}
	half := len(point) / 2
	for curve, known := range curveOIDs {
		if known.Equal(oid) {
			return cryptokey.JWK{Kty: string(cryptokey.EC), Crv: string(curve), X: point[1 : 1+half], Y: point[1+half:]}, nil
		}
	}
	return cryptokey.JWK{}, fault.New(fault.Invalid, "the token's EC key is on a curve that keys here cannot have")
}

// Sign signs in the token.
func (b *backend) Sign(alg cryptokey.Algorithm, value []byte) ([]byte, error) {
	var m []*p11.Mechanism
	switch alg {
	case cryptokey.RS256, cryptokey.RS384, cryptokey.RS512:
		m, value = mechanism(p11.CKM_RSA_PKCS, nil), slices.Concat(digestInfo[alg], value)
	case cryptokey.RSNULL:
		m = mechanism(p11.CKM_RSA_PKCS, nil)
	case cryptokey.PS256:
		m = mechanism(p11.CKM_RSA_PKCS_PSS, p11.NewPSSParams(p11.CKM_SHA256, p11.CKG_MGF1_SHA256, 32))
	case cryptokey.PS384:
		m = mechanism(p11.CKM_RSA_PKCS_PSS, p11.NewPSSParams(p11.CKM_SHA384, p11.CKG_MGF1_SHA384, 48))
	case cryptokey.PS512:
		m = mechanism(p11.CKM_RSA_PKCS_PSS, p11.NewPSSParams(p11.CKM_SHA512, p11.CKG_MGF1_SHA512, 64))
	case cryptokey.ES256, cryptokey.ES384, cryptokey.ES512, cryptokey.ES256K, cryptokey.ECDSA256:
		m = mechanism(p11.CKM_ECDSA, nil)
	case cryptokey.HS256:
		m = mechanism(p11.CKM_SHA256_HMAC, nil)
	case cryptokey.HS384:
		m = mechanism(p11.CKM_SHA384_HMAC, nil)
	case cryptokey.HS512:
		m = mechanism(p11.CKM_SHA512_HMAC, nil)
	default:
		return nil, errLacks(alg)
	}
	var signature []byte
	err := b.with(func(s p11.SessionHandle, h p11.ObjectHandle) error {
		err := b.token.module.SignInit(s, m, h)
		if err != nil {
			return err
		}
		signature, err = b.token.module.Sign(s, value)
		return err
	})
	return signature, answer(err, "signing with "+string(alg))
}

// digestInfo is what PKCS#1 v1.5 puts in front of a digest (RFC 8017, section 9.2, note 1); CKM_RSA_PKCS leaves it to the caller.
var digestInfo = map[cryptokey.Algorithm][]byte{
	cryptokey.RS256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
	cryptokey.RS384: {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30},
	cryptokey.RS512: {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
}

func errLacks(alg cryptokey.Algorithm) error {
	return fault.New(fault.Unsupported, "%s cannot be done in a PKCS#11 token; use another algorithm, or a key that is not in a token", alg)
}

// kindOf groups the algorithms of oct keys.
func kindOf(alg cryptokey.Algorithm) string {
	switch alg {
	case cryptokey.A128GCM, cryptokey.A192GCM, cryptokey.A256GCM:
		return "gcm"
	case cryptokey.A128CBC, cryptokey.A192CBC, cryptokey.A256CBC:
		return "cbc"
	case cryptokey.A128CBCPAD, cryptokey.A192CBCPAD, cryptokey.A256CBCPAD:
		return "cbcpad"
	case cryptokey.A128KW, cryptokey.A192KW, cryptokey.A256KW, cryptokey.CKMAESKeyWrap:
		return "kw"
	case cryptokey.CKMAESKeyWrapPad:
		return "kwp"
	}
	return ""
}

const (
	gcmNonceBytes = 12
	gcmTagBytes   = 16
)

// Conceal encrypts or wraps with an oct key in the token.
func (b *backend) Conceal(alg cryptokey.Algorithm, in cryptokey.Input) (cryptokey.Output, error) {
	switch kindOf(alg) {
	case "gcm":
		iv := make([]byte, gcmNonceBytes)
		rand.Read(iv)
		parameters := p11.NewGCMParams(iv, in.AAD, gcmTagBytes*8)
		defer parameters.Free()
		sealed, err := b.encrypt(mechanism(p11.CKM_AES_GCM, parameters), in.Value)
		if err != nil {
			return cryptokey.Output{}, answer(err, "encrypting with "+string(alg))
		}
		if used := parameters.IV(); len(used) == gcmNonceBytes {
			iv = used // some tokens make their own
		}
		tag := len(sealed) - gcmTagBytes
		if tag != len(in.Value) {
			return cryptokey.Output{}, errLacks(alg)
		}
		return cryptokey.Output{Value: sealed[:tag:tag], Tag: sealed[tag:], IV: iv, AAD: slices.Clone(in.AAD)}, nil
	case "cbc":
		value, err := b.encrypt(mechanism(p11.CKM_AES_CBC, in.IV), in.Value)
		return cryptokey.Output{Value: value, IV: slices.Clone(in.IV)}, answer(err, "encrypting with "+string(alg))
	case "cbcpad":
		value, err := b.encrypt(mechanism(p11.CKM_AES_CBC_PAD, in.IV), in.Value)
		return cryptokey.Output{Value: value, IV: slices.Clone(in.IV)}, answer(err, "encrypting with "+string(alg))
	case "kw", "kwp":
		value, err := b.wrap(alg, in.Value)
		if err == nil && len(in.Value)%8 != 0 {
			err = b.rightlyPadded(alg, in.Value, value)
		}
		if err != nil {
			return cryptokey.Output{}, answer(err, "wrapping with "+string(alg))
		}
		return cryptokey.Output{Value: value}, nil
	}
	return cryptokey.Output{}, errLacks(alg)
}

func (b *backend) encrypt(m []*p11.Mechanism, value []byte) (out []byte, err error) {
	err = b.with(func(s p11.SessionHandle, h p11.ObjectHandle) error {
		if err := b.token.module.EncryptInit(s, m, h); err != nil {
			return err
		}
		out, err = b.token.module.Encrypt(s, value)
		return err
	})
	return out, err
}

// Reveal decrypts or unwraps in the token.
func (b *backend) Reveal(alg cryptokey.Algorithm, in cryptokey.Input) ([]byte, error) {
	switch alg {
	case cryptokey.RSA15:
		return b.decrypt(alg, mechanism(p11.CKM_RSA_PKCS, nil), in.Value)
	case cryptokey.RSAOAEP:
		return b.decrypt(alg, mechanism(p11.CKM_RSA_PKCS_OAEP, p11.NewOAEPParams(p11.CKM_SHA_1, p11.CKG_MGF1_SHA1, p11.CKZ_DATA_SPECIFIED, nil)), in.Value)
	case cryptokey.RSAOAEP256:
		return b.decrypt(alg, mechanism(p11.CKM_RSA_PKCS_OAEP, p11.NewOAEPParams(p11.CKM_SHA256, p11.CKG_MGF1_SHA256, p11.CKZ_DATA_SPECIFIED, nil)), in.Value)
	}
	switch kindOf(alg) {
	case "gcm":
		parameters := p11.NewGCMParams(in.IV, in.AAD, gcmTagBytes*8)
		defer parameters.Free()
		return b.decrypt(alg, mechanism(p11.CKM_AES_GCM, parameters), slices.Concat(in.Value, in.Tag))
	case "cbc":
		return b.decrypt(alg, mechanism(p11.CKM_AES_CBC, in.IV), in.Value)
	case "cbcpad":
		return b.decrypt(alg, mechanism(p11.CKM_AES_CBC_PAD, in.IV), in.Value)
	case "kw", "kwp":
		return b.unwrap(alg, in.Value)
	}
	return nil, errLacks(alg)
}

// decrypt tells apart what the token cannot do, which shows when it begins, from a value that is wrong, which shows when it ends and is
// always cryptokey.ErrDecrypt.
func (b *backend) decrypt(alg cryptokey.Algorithm, m []*p11.Mechanism, value []byte) (plain []byte, err error) {
	err = b.with(func(s p11.SessionHandle, h p11.ObjectHandle) error {
		if err := b.token.module.DecryptInit(s, m, h); err != nil {
			return err
		}
		plain, err = b.token.module.Decrypt(s, value)
		if err != nil && !away(err) {
			return cryptokey.ErrDecrypt
		}
		return err
	})
	if err != nil {
		clear(plain)
		return nil, answer(err, "decrypting with "+string(alg))
	}
	return plain, nil
}

// away reports whether an error is about the token and not about the value.
func away(err error) bool {
	for _, code := range []uint{p11.CKR_DEVICE_ERROR, p11.CKR_DEVICE_MEMORY, p11.CKR_DEVICE_REMOVED, p11.CKR_HOST_MEMORY, p11.CKR_SESSION_CLOSED,
		p11.CKR_SESSION_HANDLE_INVALID, p11.CKR_TOKEN_NOT_PRESENT, p11.CKR_USER_NOT_LOGGED_IN, p11.CKR_CRYPTOKI_NOT_INITIALIZED} {
		if is(err, code) {
			return true
		}
	}
	return false
}

// wrapMechanism is the token's own, of which the value must be a key object: it is made for the session, and goes with it.
func wrapMechanism(alg cryptokey.Algorithm) []*p11.Mechanism {
	if kindOf(alg) == "kwp" {
		return mechanism(p11.CKM_AES_KEY_WRAP_PAD, nil)
	}
	return mechanism(p11.CKM_AES_KEY_WRAP, nil)
}

// passing describes a key that only passes through the token: its bytes come from the caller, and go to it.
func passing(more ...*p11.Attribute) []*p11.Attribute {
	return append([]*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY), p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_GENERIC_SECRET),
		p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_SENSITIVE, false), p11.NewAttribute(p11.CKA_EXTRACTABLE, true)}, more...)
}

func (b *backend) wrap(alg cryptokey.Algorithm, value []byte) (wrapped []byte, err error) {
	err = b.with(func(s p11.SessionHandle, h p11.ObjectHandle) error {
		object, err := b.token.module.CreateObject(s, passing(p11.NewAttribute(p11.CKA_VALUE, value)))
		if err != nil {
			return err
		}
		defer func() { _ = b.token.module.DestroyObject(s, object) }()
		wrapped, err = b.token.module.WrapKey(s, wrapMechanism(alg), h, object)
		return err
	})
	return wrapped, err
}

// rightlyPadded unwraps what was wrapped. Some tokens (SoftHSM 2.6) pad a key to whole semiblocks before they wrap it with
// CKM_AES_KEY_WRAP_PAD, so that nobody gets it back at its length; their answer looks like a right one.
func (b *backend) rightlyPadded(alg cryptokey.Algorithm, value, wrapped []byte) error {
	back, err := b.unwrap(alg, wrapped)
	defer clear(back)
	if err != nil || subtle.ConstantTimeCompare(back, value) != 1 {
		return fault.New(fault.Unsupported, "the PKCS#11 token pads keys in a way that loses their length; wrap a key whose length is a multiple of 8")
	}
	return nil
}

func (b *backend) unwrap(alg cryptokey.Algorithm, wrapped []byte) (value []byte, err error) {
	err = b.with(func(s p11.SessionHandle, h p11.ObjectHandle) error {
		object, err := b.token.module.UnwrapKey(s, wrapMechanism(alg), h, wrapped, passing())
		if err != nil {
			if away(err) || is(err, p11.CKR_MECHANISM_INVALID) || is(err, p11.CKR_FUNCTION_NOT_SUPPORTED) {
				return err
			}
			return cryptokey.ErrDecrypt
		}
		defer func() { _ = b.token.module.DestroyObject(s, object) }()
		values, err := b.token.attributes(s, object, p11.CKA_VALUE)
		if err != nil {
			return err
		}
		value = bytes.Clone(values[0])
		clear(values[0])
		return nil
	})
	if err != nil {
		return nil, answer(err, "unwrapping with "+string(alg))
	}
	return value, nil
}
