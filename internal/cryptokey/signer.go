package cryptokey

import (
	"crypto"
	"crypto/rsa"
	"io"

	"github.com/keywright/keywright/internal/fault"
)

// Signer returns the key as a crypto.Signer, for certificates and TLS: RSA, EC but for P-256K (which X.509 libraries do not know), and
// ML-DSA. It gives no access to the private half. Other keys are fault.Invalid.
//
// It takes what crypto/x509 and crypto/tls ask for: any of SHA-256, SHA-384 and SHA-512 with any key, PSS with a salt as long as the
// hash, ML-DSA of the whole message; and it returns ECDSA signatures in DER.
func (k *Key) Signer() (crypto.Signer, error) {
	if k.spec.Curve == P256K || len(k.spec.Algorithms(Sign)) == 0 || k.spec.Type == Oct {
		return nil, fault.New(fault.Invalid, "a key of type %s cannot sign certificates; use RSA, or EC on P-256, P-384 or P-521", k.spec)
	}
	return signer{k}, nil
}

type signer struct{ key *Key }

func (s signer) Public() crypto.PublicKey { return s.key.key }

// Sign signs a digest. Randomness comes from crypto/rand, whatever reader is given.
func (s signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	hash := opts.HashFunc()
	if hash != 0 && len(digest) != hash.Size() {
		return nil, fault.New(fault.Invalid, "the digest has %d bytes, and not the %d of %s", len(digest), hash.Size(), hash)
	}
	spec := s.key.spec
	switch spec.Type {
	case RSA:
		alg, err := rsaSignature(hash, opts)
		if err != nil {
			return nil, err
		}
		return s.key.Sign(alg, digest)
	case EC:
		r := ruleOf[spec.Algorithms(Sign)[0]]
		fixed, err := s.key.Sign(r.alg, fitDigest(digest, r.digest))
		if err != nil {
			return nil, err
		}
		der, ok := derSignature(spec.Curve.size(), fixed)
		if !ok {
			return nil, fault.New(fault.Internal, "the key of type %s made a signature of %d bytes, which is none of its curve", spec, len(fixed))
		}
		return der, nil
	}
	if hash != 0 {
		return nil, fault.New(fault.Invalid, "%s signs messages, and not their digests", spec.Set)
	}
	return s.key.Sign(Algorithm(spec.Set), digest)
}

// rsaSignature finds the algorithm that the options describe.
func rsaSignature(hash crypto.Hash, opts crypto.SignerOpts) (Algorithm, error) {
	scheme := pkcs1Sign
	if o, ok := opts.(*rsa.PSSOptions); ok {
		scheme = pss
		if o.SaltLength != rsa.PSSSaltLengthEqualsHash && o.SaltLength != rsa.PSSSaltLengthAuto && o.SaltLength != hash.Size() {
			return "", fault.New(fault.Invalid, "PSS signatures here have a salt as long as the hash, and not of %d bytes", o.SaltLength)
		}
	}
	for i := range rules {
		if r := &rules[i]; r.typ == RSA && r.scheme == scheme && r.hash == hash && r.hash != 0 {
			return r.alg, nil
		}
	}
	return "", fault.New(fault.Invalid, "RSA signatures here use SHA-256, SHA-384 or SHA-512")
}

// fitDigest makes a digest as long as the algorithm wants it without changing what ECDSA makes of it, which is a number: of a longer one
// it takes the first bits, as many as the order has (FIPS 186-5, section 6.4.1), and zeros in front change nothing.
func fitDigest(digest []byte, size int) []byte {
	if len(digest) >= size {
		return digest[:size]
	}
	fitted := make([]byte, size)
	copy(fitted[size-len(digest):], digest)
	return fitted
}
