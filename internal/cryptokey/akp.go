package cryptokey

import (
	"crypto"
	"crypto/hpke"
	"crypto/mlkem"
	"crypto/rand"
	"fmt"
	"slices"

	"filippo.io/mldsa"

	"github.com/keywright/keywright/internal/fault"
)

// generateAKP makes a post-quantum key: a random seed, from which FIPS 203 and FIPS 204 derive everything.
func generateAKP(spec Spec) (*Key, error) {
	seed := make([]byte, spec.Set.seedBytes())
	defer clear(seed)
	rand.Read(seed)
	return newAKP(spec.Set, seed)
}

func (s ParameterSet) seedBytes() int {
	if s.signs() {
		return mldsa.PrivateKeySize
	}
	return mlkem.SeedSize
}

// encapsulated is the length of an ML-KEM ciphertext, in bytes.
func (s ParameterSet) encapsulated() int {
	if s == SetMLKEM1024 {
		return mlkem.CiphertextSize1024
	}
	return mlkem.CiphertextSize768
}

func (s ParameterSet) mldsa() mldsa.Parameters {
	switch s {
	case SetMLDSA44:
		return mldsa.MLDSA44()
	case SetMLDSA65:
		return mldsa.MLDSA65()
	}
	return mldsa.MLDSA87()
}

// newAKP makes the key of a seed, which it copies.
func newAKP(set ParameterSet, seed []byte) (*Key, error) {
	if len(seed) != set.seedBytes() {
		return nil, fault.New(fault.Invalid, "the private half of a key of type %s is a seed of %d bytes, and not of %d", set, set.seedBytes(), len(seed))
	}
	if set.signs() {
		key, err := mldsa.NewPrivateKey(set.mldsa(), seed)
		if err != nil {
			return nil, fmt.Errorf("expanding an ML-DSA seed: %w", err)
		}
		return own(&mldsaKey{spec: Spec{Type: AKP, Set: set}, key: key}), nil
	}
	return newMLKEM(set, seed)
}

func parseAKPPublic(set ParameterSet, pub []byte) (*Public, error) {
	var key crypto.PublicKey
	var err error
	switch set {
	case SetMLKEM768:
		key, err = mlkem.NewEncapsulationKey768(pub)
	case SetMLKEM1024:
		key, err = mlkem.NewEncapsulationKey1024(pub)
	default:
		key, err = mldsa.NewPublicKey(set.mldsa(), pub)
	}
	if err != nil {
		return nil, fault.New(fault.Invalid, "pub is not the encoding of a public key of type %s", set)
	}
	return &Public{spec: Spec{Type: AKP, Set: set}, key: key}, nil
}

// mldsaKey is an ML-DSA key in memory.
type mldsaKey struct {
	spec Spec
	key  *mldsa.PrivateKey
}

func (k *mldsaKey) Spec() Spec               { return k.spec }
func (k *mldsaKey) Public() crypto.PublicKey { return k.key.PublicKey() }

// Sign signs the message itself (pure ML-DSA, FIPS 204, section 5.2) with an empty context and fresh randomness.
func (k *mldsaKey) Sign(_ Algorithm, message []byte) ([]byte, error) {
	signature, err := k.key.Sign(nil, message, crypto.Hash(0))
	if err != nil {
		return nil, fmt.Errorf("signing with %s: %w", k.spec.Set, err)
	}
	return signature, nil
}

func (k *mldsaKey) Conceal(Algorithm, Input) (Output, error) { return Output{}, errNoConceal(k.spec) }
func (k *mldsaKey) Reveal(Algorithm, Input) ([]byte, error)  { return nil, errNoConceal(k.spec) }

func (k *mldsaKey) appendPrivate(dst []byte) []byte {
	return appendSeed(dst, k.spec.Set, k.key.Bytes())
}

// appendSeed appends a seed and overwrites it.
func appendSeed(dst []byte, set ParameterSet, seed []byte) []byte {
	defer clear(seed)
	return append(append(dst, codeAKP, byte(slices.Index(setCodes, set))), seed...)
}

func verifyMLDSA(key *mldsa.PublicKey, message, signature []byte) bool {
	return mldsa.Verify(key, message, signature, nil) == nil
}

// mlkemKey is an ML-KEM key in memory.
//
// A key-encapsulation mechanism agrees on a secret and encrypts nothing. What makes encryption of it is HPKE (RFC 9180), base mode, single
// shot, with an empty info, HKDF-SHA256 for ML-KEM-768 and HKDF-SHA384 for ML-KEM-1024, and AES-256-GCM; KEM identifiers are those of
// draft-ietf-hpke-pq. The value is enc followed by the ciphertext; anybody with an HPKE library can make or open it.
type mlkemKey struct {
	spec Spec
	key  crypto.Decapsulator
	seed func() []byte
	hpke hpke.PrivateKey
}

func newMLKEM(set ParameterSet, seed []byte) (*Key, error) {
	k := &mlkemKey{spec: Spec{Type: AKP, Set: set}}
	if set == SetMLKEM768 {
		key, err := mlkem.NewDecapsulationKey768(seed)
		if err != nil {
			return nil, fmt.Errorf("expanding an ML-KEM seed: %w", err)
		}
		k.key, k.seed = key, key.Bytes
	} else {
		key, err := mlkem.NewDecapsulationKey1024(seed)
		if err != nil {
			return nil, fmt.Errorf("expanding an ML-KEM seed: %w", err)
		}
		k.key, k.seed = key, key.Bytes
	}
	private, err := hpke.NewMLKEMPrivateKey(k.key)
	if err != nil {
		return nil, fmt.Errorf("preparing HPKE: %w", err)
	}
	k.hpke = private
	return own(k), nil
}

func (k *mlkemKey) Spec() Spec               { return k.spec }
func (k *mlkemKey) Public() crypto.PublicKey { return k.key.Encapsulator() }

func (k *mlkemKey) Sign(Algorithm, []byte) ([]byte, error) {
	return nil, fault.New(fault.Invalid, "a key of type %s cannot sign", k.spec)
}

func (k *mlkemKey) Conceal(_ Algorithm, in Input) (Output, error) {
	return sealMLKEM(k.key.Encapsulator(), k.spec.Set, in)
}

func (k *mlkemKey) Reveal(_ Algorithm, in Input) ([]byte, error) {
	enc := k.spec.Set.encapsulated()
	recipient, err := hpke.NewRecipient(in.Value[:enc], k.hpke, k.spec.Set.kdf(), hpke.AES256GCM(), nil)
	if err != nil {
		return nil, ErrDecrypt
	}
	plain, err := recipient.Open(in.AAD, in.Value[enc:])
	if err != nil {
		return nil, ErrDecrypt
	}
	return plain, nil
}

func (k *mlkemKey) appendPrivate(dst []byte) []byte { return appendSeed(dst, k.spec.Set, k.seed()) }

func (s ParameterSet) kdf() hpke.KDF {
	if s == SetMLKEM1024 {
		return hpke.HKDFSHA384()
	}
	return hpke.HKDFSHA256()
}

func sealMLKEM(key crypto.Encapsulator, set ParameterSet, in Input) (Output, error) {
	pub, err := hpke.NewMLKEMPublicKey(key)
	if err != nil {
		return Output{}, fmt.Errorf("preparing HPKE: %w", err)
	}
	enc, sender, err := hpke.NewSender(pub, set.kdf(), hpke.AES256GCM(), nil)
	if err != nil {
		return Output{}, fmt.Errorf("encapsulating with %s: %w", set, err)
	}
	sealed, err := sender.Seal(in.AAD, in.Value)
	if err != nil {
		return Output{}, fmt.Errorf("encrypting with %s: %w", set, err)
	}
	return Output{Value: append(enc, sealed...), AAD: slices.Clone(in.AAD)}, nil
}
