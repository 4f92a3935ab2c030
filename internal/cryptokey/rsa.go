package cryptokey

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"slices"

	"github.com/keywright/keywright/internal/fault"
)

// pkcs1Overhead is what PKCS#1 v1.5 padding takes of the modulus, in bytes (RFC 8017, section 7.2.1).
const pkcs1Overhead = 11

// rsaKey is an RSA key in memory. key is precomputed.
type rsaKey struct {
	spec Spec
	key  *rsa.PrivateKey
}

func (k *rsaKey) Spec() Spec               { return k.spec }
func (k *rsaKey) Public() crypto.PublicKey { return &k.key.PublicKey }

func (k *rsaKey) Sign(alg Algorithm, value []byte) ([]byte, error) {
	r := ruleOf[alg]
	if r.scheme == pss {
		return rsa.SignPSS(rand.Reader, k.key, r.hash, value, pssOptions)
	}
	return rsa.SignPKCS1v15(nil, k.key, r.hash, value)
}

// pssOptions makes the salt as long as the hash, as RFC 7518, section 3.5, wants it, and accepts no other length.
var pssOptions = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}

func (k *rsaKey) Conceal(alg Algorithm, in Input) (Output, error) {
	return encryptRSA(&k.key.PublicKey, ruleOf[alg], in)
}

// Reveal decrypts. All failures are one error, and crypto/rsa finds out about a padding in constant time.
//
// With RSA1_5 the mere fact that decryption failed is Bleichenbacher's oracle (RFC 8017, section 7.2; the attack needs about a million
// guesses). Here only a caller with permission to decrypt can ask, and for it the answer is no news; but it must not hand the
// difference on to others. Nobody can hide the difference for it, since the protocol promises an error. RSA-OAEP has no such
// oracle, which is why messages name it first.
func (k *rsaKey) Reveal(alg Algorithm, in Input) ([]byte, error) {
	r := ruleOf[alg]
	var plain []byte
	var err error
	if r.scheme == oaep {
		plain, err = k.key.Decrypt(nil, in.Value, &rsa.OAEPOptions{Hash: r.hash})
	} else {
		//lint:ignore SA1019 RSA1_5 is part of the protocol; see above for what it costs
		plain, err = rsa.DecryptPKCS1v15(nil, k.key, in.Value)
	}
	if err != nil {
		return nil, ErrDecrypt
	}
	return plain, nil
}

func encryptRSA(key *rsa.PublicKey, r *rule, in Input) (Output, error) {
	var value []byte
	var err error
	if r.scheme == oaep {
		value, err = rsa.EncryptOAEP(r.hash.New(), rand.Reader, key, in.Value, nil)
	} else {
		//lint:ignore SA1019 RSA1_5 is part of the protocol, and encrypting with it tells nothing
		value, err = rsa.EncryptPKCS1v15(rand.Reader, key, in.Value)
	}
	if err != nil {
		return Output{}, err
	}
	return Output{Value: value}, nil
}

// verifyRSA takes only signatures that are exactly as long as the modulus, and lower than it; crypto/rsa sees to both.
func verifyRSA(key *rsa.PublicKey, r *rule, value, signature []byte) bool {
	if r.scheme == pss {
		return rsa.VerifyPSS(key, r.hash, value, signature, pssOptions) == nil
	}
	return rsa.VerifyPKCS1v15(key, r.hash, value, signature) == nil
}

// rsaLimit is the longest plaintext in bytes, RFC 8017, sections 7.1.1 and 7.2.1.
func (r *rule) rsaLimit(modulusBytes int) int {
	if r.scheme == oaep {
		return modulusBytes - 2*r.hash.Size() - 2
	}
	return modulusBytes - pkcs1Overhead
}

func checkModulus(bits int, lowest uint) error {
	if !slices.Contains(rsaBits, bits) {
		return fault.New(fault.Invalid, "an RSA key has 2048, 3072 or 4096 bits, and not %d", bits)
	}
	if lowest == 0 {
		return fault.New(fault.Invalid, "the modulus n is even: this is not an RSA key")
	}
	return nil
}
