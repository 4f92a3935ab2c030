package certfile

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"slices"

	"github.com/keywright/keywright/internal/fault"
)

// The bounds of what is read. Key Vault's own are not documented; these leave room for every file that an export makes.
const (
	// MaxFileBytes is the size of the largest file that is read.
	MaxFileBytes = 256 << 10
	// MaxCertificates is how many certificates a file may hold.
	MaxCertificates = 64
	// MaxIterations is how many iterations of key derivation one file may cost, over all its parts. Tools write 2 000 to 600 000.
	MaxIterations = 4_000_000
)

// Reasons of refusals, for callers that tell them apart.
const (
	// ReasonPassword: the password does not open the file, or the file is damaged.
	ReasonPassword fault.Reason = "WrongPassword"
	// ReasonMismatch: the private key is that of none of the certificates.
	ReasonMismatch fault.Reason = "KeyMismatch"
)

// Bundle is what such a file carries. Its zero value carries nothing.
type Bundle struct {
	// Key is the private key: RSA, ECDSA on the NIST curves, or Ed25519. It is nil in a file of certificates alone.
	Key crypto.Signer
	// Leaf is the certificate of Key, or without a key the one that issued none of the others.
	Leaf *x509.Certificate
	// Certificates holds the leaf and what came with it, each once.
	Certificates []*x509.Certificate
}

// New puts a bundle together. A key must be that of one of the certificates. Unless preserveOrder is set, the leaf goes first, then its issuer, and
// so on up, then whatever is not on that path, in the order given.
func New(key crypto.Signer, certificates []*x509.Certificate, preserveOrder bool) (*Bundle, error) {
	b := &Bundle{Key: key}
	for _, c := range certificates {
		if !slices.ContainsFunc(b.Certificates, c.Equal) {
			b.Certificates = append(b.Certificates, c)
		}
	}
	switch {
	case len(b.Certificates) == 0:
		return nil, fault.New(fault.Invalid, "there is no certificate in the file: export the certificate together with its key")
	case len(b.Certificates) > MaxCertificates:
		return nil, fault.New(fault.TooLarge, "the file holds %d certificates and %d are the most: export the chain alone", len(b.Certificates), MaxCertificates)
	}
	if b.Leaf = leaf(key, b.Certificates); b.Leaf == nil {
		return nil, fault.New(fault.Invalid, "the private key belongs to none of the file's %d certificates: export the certificate with the key that was made for it",
			len(b.Certificates)).Because(ReasonMismatch)
	}
	if !preserveOrder {
		b.Certificates = order(b.Leaf, b.Certificates)
	}
	return b, nil
}

// Matches reports whether a certificate is for a public key. A key of an unknown kind matches nothing.
func Matches(c *x509.Certificate, key crypto.PublicKey) bool {
	public, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(key)
}

// Order puts the leaf first, then its issuer, and so on up; certificates that are not on that path follow in the order given. It compares names and key
// ids, not signatures: an order is a convenience for those who verify, and proves nothing.
func Order(leaf *x509.Certificate, certificates []*x509.Certificate) []*x509.Certificate {
	return order(leaf, certificates)
}

func leaf(key crypto.Signer, certificates []*x509.Certificate) *x509.Certificate {
	if key != nil {
		public := key.Public()
		i := slices.IndexFunc(certificates, func(c *x509.Certificate) bool { return Matches(c, public) })
		if i < 0 {
			return nil
		}
		return certificates[i]
	}
	for _, c := range certificates {
		if !slices.ContainsFunc(certificates, func(other *x509.Certificate) bool { return other != c && issued(c, other) }) {
			return c
		}
	}
	return certificates[0]
}

func order(leaf *x509.Certificate, certificates []*x509.Certificate) []*x509.Certificate {
	ordered := []*x509.Certificate{leaf}
	rest := slices.DeleteFunc(slices.Clone(certificates), leaf.Equal)
	for last := leaf; !issued(last, last); last = ordered[len(ordered)-1] {
		i := slices.IndexFunc(rest, func(c *x509.Certificate) bool { return issued(c, last) })
		if i < 0 {
			break
		}
		ordered = append(ordered, rest[i])
		rest = slices.Delete(rest, i, i+1)
	}
	return append(ordered, rest...)
}

// issued reports whether a parent's name and key id are those that a child names as its issuer's.
func issued(parent, child *x509.Certificate) bool {
	if !bytes.Equal(parent.RawSubject, child.RawIssuer) {
		return false
	}
	return len(child.AuthorityKeyId) == 0 || len(parent.SubjectKeyId) == 0 || bytes.Equal(parent.SubjectKeyId, child.AuthorityKeyId)
}

// size refuses what is too large to look at.
func size(what string, data []byte) error {
	if len(data) > MaxFileBytes {
		return fault.New(fault.TooLarge, "the %s is %d bytes long and %d are the most", what, len(data), MaxFileBytes)
	}
	return nil
}

// signer refuses kinds of keys that cannot sign.
func signer(key any) (crypto.Signer, error) {
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fault.New(fault.Unsupported, "the private key is a %T, which cannot sign: use RSA, ECDSA or Ed25519", key)
	}
	return s, nil
}
