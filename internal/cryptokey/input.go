package cryptokey

import (
	"crypto/aes"

	"github.com/keywright/keywright/internal/fault"
)

const (
	// gcmNonceBytes and gcmTagBytes are the only lengths that Key Vault uses with GCM (NIST SP 800-38D, sections 5.2.1.1 and 5.2.1.2).
	gcmNonceBytes = 12
	gcmTagBytes   = 16
	// maxWrapBytes bounds a wrapped key, far below the 2³² of RFC 5649: whatever is longer is not a key.
	maxWrapBytes = 1 << 20
)

// checkConceal checks everything about an encryption that can be told without a key. What an algorithm has no use for is refused, because
// a caller who sends it believes that it counts.
func (r *rule) checkConceal(in Input, s Spec) error {
	if err := r.checkParts(in, false); err != nil {
		return err
	}
	n := len(in.Value)
	switch r.scheme {
	case oaep, pkcs1Encrypt:
		if limit := r.rsaLimit(s.Bits / 8); n > limit {
			return fault.New(fault.Invalid, "%s with a key of %d bits takes at most %d bytes, and not %d: encrypt the data with a key of its own and wrap that", r.alg, s.Bits, limit, n)
		}
	case cbc:
		return r.checkBlocks(n)
	case keyWrap:
		if n < 16 || n%8 != 0 || n > maxWrapBytes {
			return fault.New(fault.Invalid, "%s wraps keys of 16 bytes or more in multiples of 8 (up to %d), and not of %d; CKM_AES_KEY_WRAP_PAD takes any length", r.alg, maxWrapBytes, n)
		}
	case keyWrapPad:
		if n == 0 || n > maxWrapBytes {
			return fault.New(fault.Invalid, "%s wraps keys of 1 to %d bytes, and not of %d", r.alg, maxWrapBytes, n)
		}
	}
	return nil
}

// checkReveal is checkConceal's other direction. It looks at lengths alone, which everybody can see: contents are judged once, by
// the backend, with ErrDecrypt.
func (r *rule) checkReveal(in Input, s Spec) error {
	if err := r.checkParts(in, true); err != nil {
		return err
	}
	n := len(in.Value)
	switch r.scheme {
	case oaep, pkcs1Encrypt:
		if n != s.Bits/8 {
			return fault.New(fault.Invalid, "what a key of %d bits encrypts has exactly %d bytes, and not %d: was it another key?", s.Bits, s.Bits/8, n)
		}
	case cbc, cbcPad:
		return r.checkBlocks(n)
	case keyWrap, keyWrapPad:
		least := 24
		if r.scheme == keyWrapPad {
			least = 16
		}
		if n < least || n%8 != 0 || n > maxWrapBytes+16 {
			return fault.New(fault.Invalid, "what %s wraps has %d bytes or more in multiples of 8, and not %d", r.alg, least, n)
		}
	case mlkemSeal:
		if least := s.Set.encapsulated() + gcmTagBytes; n < least {
			return fault.New(fault.Invalid, "what %s encrypts has %d bytes or more, and not %d", r.alg, least, n)
		}
	}
	return nil
}

// checkParts checks iv, tag and aad: present where the scheme needs them, absent elsewhere.
func (r *rule) checkParts(in Input, reveal bool) error {
	ivBytes, tagBytes := 0, 0
	switch r.scheme {
	case cbc, cbcPad:
		ivBytes = aes.BlockSize
	case gcm:
		if reveal {
			ivBytes, tagBytes = gcmNonceBytes, gcmTagBytes
		} else if len(in.IV) != 0 {
			return fault.New(fault.Invalid, "%s makes its own iv, because one that is used twice gives the key away; leave the iv out, and keep the one in the answer", r.alg)
		}
	}
	if len(in.IV) != ivBytes {
		return errLength(r, "iv", ivBytes, len(in.IV))
	}
	if len(in.Tag) != tagBytes {
		return errLength(r, "tag", tagBytes, len(in.Tag))
	}
	if len(in.AAD) != 0 && r.scheme != gcm && r.scheme != mlkemSeal {
		return fault.New(fault.Invalid, "%s does not authenticate additional data; leave aad out, or use a GCM algorithm", r.alg)
	}
	return nil
}

func errLength(r *rule, part string, want, got int) error {
	if want == 0 {
		return fault.New(fault.Invalid, "%s takes no %s here; leave it out", r.alg, part)
	}
	return fault.New(fault.Invalid, "%s needs the %s of exactly %d bytes here, and got %d", r.alg, part, want, got)
}

func (r *rule) checkBlocks(n int) error {
	if n == 0 || n%aes.BlockSize != 0 {
		return fault.New(fault.Invalid, "%s works on whole blocks of %d bytes, and got %d bytes", r.alg, aes.BlockSize, n)
	}
	return nil
}
