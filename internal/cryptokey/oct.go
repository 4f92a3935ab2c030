package cryptokey

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/subtle"
	"fmt"
	"slices"

	"github.com/keywright/keywright/internal/fault"
)

// octKey is a symmetric key in memory. block and aead are made once; both are safe for concurrent use.
type octKey struct {
	spec  Spec
	bytes []byte
	block cipher.Block
	// aead makes its own nonce and puts it in front of the ciphertext: the form that a FIPS build allows.
	aead cipher.AEAD
}

// newOct keeps k.
func newOct(k []byte) (*Key, error) {
	if !slices.Contains(octBits, len(k)*8) {
		return nil, fault.New(fault.Invalid, "an oct key has 16, 24 or 32 bytes, and not %d", len(k))
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, fmt.Errorf("preparing an AES key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("preparing AES-GCM: %w", err)
	}
	return own(&octKey{spec: Spec{Type: Oct, Bits: len(k) * 8}, bytes: k, block: block, aead: aead}), nil
}

func (k *octKey) Spec() Spec               { return k.spec }
func (k *octKey) Public() crypto.PublicKey { return nil }

// Sign returns the HMAC, RFC 2104.
func (k *octKey) Sign(alg Algorithm, value []byte) ([]byte, error) {
	mac := hmac.New(ruleOf[alg].hash.New, k.bytes)
	mac.Write(value)
	return mac.Sum(nil), nil
}

func (k *octKey) Conceal(alg Algorithm, in Input) (Output, error) {
	switch ruleOf[alg].scheme {
	case gcm:
		sealed := k.aead.Seal(nil, nil, in.Value, in.AAD)
		tag := len(sealed) - gcmTagBytes
		return Output{IV: sealed[:gcmNonceBytes:gcmNonceBytes], Value: sealed[gcmNonceBytes:tag:tag], Tag: sealed[tag:], AAD: slices.Clone(in.AAD)}, nil
	case cbc, cbcPad:
		value := slices.Clone(in.Value)
		if ruleOf[alg].scheme == cbcPad {
			value = pad(in.Value)
		}
		cipher.NewCBCEncrypter(k.block, in.IV).CryptBlocks(value, value)
		return Output{Value: value, IV: slices.Clone(in.IV)}, nil
	case keyWrap:
		return Output{Value: wrap(k.block, in.Value)}, nil
	case keyWrapPad:
		return Output{Value: wrapPadded(k.block, in.Value)}, nil
	}
	return Output{}, errBackend(alg, k.spec)
}

func (k *octKey) Reveal(alg Algorithm, in Input) ([]byte, error) {
	switch ruleOf[alg].scheme {
	case gcm:
		plain, err := k.aead.Open(nil, nil, slices.Concat(in.IV, in.Value, in.Tag), in.AAD)
		if err != nil {
			return nil, ErrDecrypt
		}
		return plain, nil
	case cbc, cbcPad:
		plain := make([]byte, len(in.Value))
		cipher.NewCBCDecrypter(k.block, in.IV).CryptBlocks(plain, in.Value)
		if ruleOf[alg].scheme == cbcPad {
			return unpad(plain)
		}
		return plain, nil
	case keyWrap:
		return unwrap(k.block, in.Value)
	case keyWrapPad:
		return unwrapPadded(k.block, in.Value)
	}
	return nil, errBackend(alg, k.spec)
}

// errBackend is a fault of this program: the rules let an algorithm through that the backend does not know.
func errBackend(alg Algorithm, s Spec) error {
	return fmt.Errorf("a key of type %s was asked to compute %s", s, alg)
}

// pad appends 1 to 16 bytes, each saying how many they are (RFC 5652, section 6.3).
func pad(value []byte) []byte {
	n := aes.BlockSize - len(value)%aes.BlockSize
	padded := make([]byte, len(value)+n)
	copy(padded, value)
	for i := len(value); i < len(padded); i++ {
		padded[i] = byte(n)
	}
	return padded
}

// unpad removes what pad appended. It looks at the whole last block whatever it finds there, so that the time does not tell a
// wrong length from a wrong byte (Vaudenay, "Security flaws induced by CBC padding"). That unpadding failed at all, the answer
// has to tell; whoever exposes decryption with CBC to strangers must authenticate the ciphertext first, or use GCM.
func unpad(padded []byte) ([]byte, error) {
	last := padded[len(padded)-aes.BlockSize:]
	n := int(last[aes.BlockSize-1])
	good := subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, aes.BlockSize)
	for i, b := range last {
		inPadding := subtle.ConstantTimeLessOrEq(aes.BlockSize-i, n)
		good &= subtle.ConstantTimeSelect(inPadding, subtle.ConstantTimeByteEq(b, byte(n)), 1)
	}
	if good != 1 {
		clear(padded)
		return nil, ErrDecrypt
	}
	return padded[:len(padded)-n], nil
}
