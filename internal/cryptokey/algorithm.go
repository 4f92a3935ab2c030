package cryptokey

import (
	"crypto"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
)

// Algorithm is the alg of a request, in Key Vault's words. They are case-sensitive, as in RFC 7518.
type Algorithm string

// The algorithms. Sources: RFC 7518 for most; RFC 8812 for ES256K; PKCS#11 v3.1 for the names that begin with CKM; Key Vault's
// own documentation for RSNULL, ECDSA256 and the CBC family; FIPS 203 and 204 for our extensions.
const (
	RSA15      Algorithm = "RSA1_5"
	RSAOAEP    Algorithm = "RSA-OAEP"     // SHA-1, MGF1 with SHA-1
	RSAOAEP256 Algorithm = "RSA-OAEP-256" // SHA-256, MGF1 with SHA-256

	RS256  Algorithm = "RS256"
	RS384  Algorithm = "RS384"
	RS512  Algorithm = "RS512"
	PS256  Algorithm = "PS256"
	PS384  Algorithm = "PS384"
	PS512  Algorithm = "PS512"
	RSNULL Algorithm = "RSNULL" // PKCS#1 v1.5 padding of type 1 around the bare value, as TLS 1.0 needs it

	ES256    Algorithm = "ES256"
	ES384    Algorithm = "ES384"
	ES512    Algorithm = "ES512"
	ES256K   Algorithm = "ES256K"
	ECDSA256 Algorithm = "ECDSA256" // the name of ES256K before RFC 8812

	A128GCM    Algorithm = "A128GCM"
	A192GCM    Algorithm = "A192GCM"
	A256GCM    Algorithm = "A256GCM"
	A128CBC    Algorithm = "A128CBC"
	A192CBC    Algorithm = "A192CBC"
	A256CBC    Algorithm = "A256CBC"
	A128CBCPAD Algorithm = "A128CBCPAD"
	A192CBCPAD Algorithm = "A192CBCPAD"
	A256CBCPAD Algorithm = "A256CBCPAD"

	A128KW           Algorithm = "A128KW"
	A192KW           Algorithm = "A192KW"
	A256KW           Algorithm = "A256KW"
	CKMAESKeyWrap    Algorithm = "CKM_AES_KEY_WRAP"
	CKMAESKeyWrapPad Algorithm = "CKM_AES_KEY_WRAP_PAD"

	HS256 Algorithm = "HS256"
	HS384 Algorithm = "HS384"
	HS512 Algorithm = "HS512"

	MLDSA44   Algorithm = "ML-DSA-44"
	MLDSA65   Algorithm = "ML-DSA-65"
	MLDSA87   Algorithm = "ML-DSA-87"
	MLKEM768  Algorithm = "ML-KEM-768"
	MLKEM1024 Algorithm = "ML-KEM-1024"
)

// scheme is how an algorithm works, apart from sizes and hashes.
type scheme uint8

const (
	pkcs1Encrypt scheme = iota + 1
	oaep
	pkcs1Sign
	pss
	ecdsaFixed
	gcm
	cbc
	cbcPad
	keyWrap
	keyWrapPad
	hmacTag
	mldsaSign
	mlkemSeal
)

// rule is what the table says about an algorithm.
type rule struct {
	alg    Algorithm
	scheme scheme
	// Which keys it fits: those of the type, and of the size, curve or set if one is named.
	typ   Type
	bits  int
	curve Curve
	set   ParameterSet
	ops   []Op
	hash  crypto.Hash
	// digest is the exact length, in bytes, of a value to sign; zero where any length goes.
	digest int
}

func (r *rule) fits(s Spec) bool {
	return r.typ == s.Type && (r.bits == 0 || r.bits == s.Bits) && (r.curve == "" || r.curve == s.Curve) && (r.set == "" || r.set == s.Set)
}

var (
	signs    = []Op{Sign, Verify}
	encrypts = []Op{Encrypt, Decrypt}
	wraps    = []Op{WrapKey, UnwrapKey}
	conceals = []Op{Encrypt, Decrypt, WrapKey, UnwrapKey}
)

// rules has every algorithm once, in the order in which messages name them.
var rules = []rule{
	{alg: RSAOAEP256, scheme: oaep, typ: RSA, ops: conceals, hash: crypto.SHA256},
	{alg: RSAOAEP, scheme: oaep, typ: RSA, ops: conceals, hash: crypto.SHA1},
	{alg: RSA15, scheme: pkcs1Encrypt, typ: RSA, ops: conceals},
	{alg: rsaOAEP384, scheme: oaep, typ: RSA, hash: crypto.SHA384},

	{alg: PS256, scheme: pss, typ: RSA, ops: signs, hash: crypto.SHA256, digest: 32},
	{alg: PS384, scheme: pss, typ: RSA, ops: signs, hash: crypto.SHA384, digest: 48},
	{alg: PS512, scheme: pss, typ: RSA, ops: signs, hash: crypto.SHA512, digest: 64},
	{alg: RS256, scheme: pkcs1Sign, typ: RSA, ops: signs, hash: crypto.SHA256, digest: 32},
	{alg: RS384, scheme: pkcs1Sign, typ: RSA, ops: signs, hash: crypto.SHA384, digest: 48},
	{alg: RS512, scheme: pkcs1Sign, typ: RSA, ops: signs, hash: crypto.SHA512, digest: 64},
	{alg: RSNULL, scheme: pkcs1Sign, typ: RSA, ops: signs},

	{alg: ES256, scheme: ecdsaFixed, typ: EC, curve: P256, ops: signs, hash: crypto.SHA256, digest: 32},
	{alg: ES384, scheme: ecdsaFixed, typ: EC, curve: P384, ops: signs, hash: crypto.SHA384, digest: 48},
	{alg: ES512, scheme: ecdsaFixed, typ: EC, curve: P521, ops: signs, hash: crypto.SHA512, digest: 64},
	{alg: ES256K, scheme: ecdsaFixed, typ: EC, curve: P256K, ops: signs, hash: crypto.SHA256, digest: 32},
	{alg: ECDSA256, scheme: ecdsaFixed, typ: EC, curve: P256K, ops: signs, hash: crypto.SHA256, digest: 32},

	{alg: A128GCM, scheme: gcm, typ: Oct, bits: 128, ops: encrypts},
	{alg: A192GCM, scheme: gcm, typ: Oct, bits: 192, ops: encrypts},
	{alg: A256GCM, scheme: gcm, typ: Oct, bits: 256, ops: encrypts},
	{alg: A128CBCPAD, scheme: cbcPad, typ: Oct, bits: 128, ops: encrypts},
	{alg: A192CBCPAD, scheme: cbcPad, typ: Oct, bits: 192, ops: encrypts},
	{alg: A256CBCPAD, scheme: cbcPad, typ: Oct, bits: 256, ops: encrypts},
	{alg: A128CBC, scheme: cbc, typ: Oct, bits: 128, ops: encrypts},
	{alg: A192CBC, scheme: cbc, typ: Oct, bits: 192, ops: encrypts},
	{alg: A256CBC, scheme: cbc, typ: Oct, bits: 256, ops: encrypts},

	{alg: A128KW, scheme: keyWrap, typ: Oct, bits: 128, ops: wraps},
	{alg: A192KW, scheme: keyWrap, typ: Oct, bits: 192, ops: wraps},
	{alg: A256KW, scheme: keyWrap, typ: Oct, bits: 256, ops: wraps},
	{alg: CKMAESKeyWrap, scheme: keyWrap, typ: Oct, ops: wraps},
	{alg: CKMAESKeyWrapPad, scheme: keyWrapPad, typ: Oct, ops: wraps},

	{alg: HS256, scheme: hmacTag, typ: Oct, ops: signs, hash: crypto.SHA256},
	{alg: HS384, scheme: hmacTag, typ: Oct, ops: signs, hash: crypto.SHA384},
	{alg: HS512, scheme: hmacTag, typ: Oct, ops: signs, hash: crypto.SHA512},

	{alg: MLDSA44, scheme: mldsaSign, typ: AKP, set: SetMLDSA44, ops: signs},
	{alg: MLDSA65, scheme: mldsaSign, typ: AKP, set: SetMLDSA65, ops: signs},
	{alg: MLDSA87, scheme: mldsaSign, typ: AKP, set: SetMLDSA87, ops: signs},
	{alg: MLKEM768, scheme: mlkemSeal, typ: AKP, set: SetMLKEM768, ops: conceals},
	{alg: MLKEM1024, scheme: mlkemSeal, typ: AKP, set: SetMLKEM1024, ops: conceals},
}

var ruleOf = func() map[Algorithm]*rule {
	m := make(map[Algorithm]*rule, len(rules))
	for i := range rules {
		m[rules[i].alg] = &rules[i]
	}
	return m
}()

// Algorithms are those with which a key of this spec can do op, the one to prefer first.
func (s Spec) Algorithms(op Op) []Algorithm {
	var fit []Algorithm
	for i := range rules {
		if rules[i].fits(s) && slices.Contains(rules[i].ops, op) {
			fit = append(fit, rules[i].alg)
		}
	}
	return fit
}

// Check says whether a key of this spec can do op with alg. The answer to one that cannot is fault.Invalid, and names those
// that can.
func (s Spec) Check(alg Algorithm, op Op) error {
	_, err := s.rule(alg, op)
	return err
}

func (s Spec) rule(alg Algorithm, op Op) (*rule, error) {
	r, known := ruleOf[alg]
	if known && r.fits(s) && slices.Contains(r.ops, op) {
		return r, nil
	}
	var b strings.Builder
	if known {
		b.WriteString("algorithm " + string(alg) + " is not for " + string(op) + " with a key of type " + s.String())
	} else {
		b.WriteString("algorithm " + quote(alg) + " is not known here")
	}
	if fit := s.Algorithms(op); len(fit) > 0 {
		b.WriteString("; use one of " + join(fit))
	} else {
		b.WriteString("; a key of type " + s.String() + " cannot " + string(op))
	}
	return nil, fault.New(fault.Invalid, "%s", b.String())
}

// quote shows a caller's word in a message.
func quote(alg Algorithm) string {
	return `"` + fault.Clip(strings.ToValidUTF8(string(alg), "?")) + `"`
}
