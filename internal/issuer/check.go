package issuer

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
)

// The bounds of RSA keys, in bits. Below 2048 is forgeable soon (NIST SP 800-131A); above 8192 clients refuse to verify.
const minRSABits, maxRSABits = 2048, 8192

// oidSAN is the extension of alternative names.
var oidSAN = asn1.ObjectIdentifier{2, 5, 29, 17}

// Check refuses requests that no issuer should see: without an id, without names, without proof of the key, or for a weak key.
func Check(r Request) error {
	if r.ID == "" || len(r.ID) > 128 || strings.ContainsFunc(r.ID, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return fault.New(fault.Invalid, "the request's id must have 1 to 128 printable characters")
	}
	if r.CSR == nil {
		return fault.New(fault.Invalid, "request %s carries no certificate request", r.ID)
	}
	if err := r.CSR.CheckSignature(); err != nil {
		return fault.Wrap(err, fault.Invalid, "the certificate request of %s is not signed by its own key: make it again with the private key", r.ID)
	}
	if err := CheckKey(r.CSR.PublicKey); err != nil {
		return err
	}
	if len(r.CSR.Subject.Names) == 0 && !slices.ContainsFunc(r.CSR.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(oidSAN) }) {
		return fault.New(fault.Invalid, "the certificate request of %s names nothing: it needs a subject or alternative names", r.ID)
	}
	return nil
}

// CheckKey refuses keys that are too weak, or of kinds that certificates are not made for here.
func CheckKey(key crypto.PublicKey) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits || bits > maxRSABits {
			return fault.New(fault.Invalid, "an RSA key of %d bits is not certified: use %d to %d", bits, minRSABits, maxRSABits)
		}
		if k.E < 65537 || k.E%2 == 0 {
			return fault.New(fault.Invalid, "an RSA key with the exponent %d is not certified: use 65537", k.E)
		}
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() && k.Curve != elliptic.P521() {
			return fault.New(fault.Invalid, "an ECDSA key on %s is not certified: use P-256, P-384 or P-521", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	default:
		return fault.New(fault.Invalid, "a key of type %T is not certified: use RSA, ECDSA or Ed25519", key)
	}
	return nil
}

// CheckChain refuses a chain that is none, or is for another key than the request's: whatever an authority answers, nothing else is ever stored.
func CheckChain(r Request, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return fault.New(fault.Unavailable, "the issuer's answer to %s holds no certificate: ask again", r.ID)
	}
	public, ok := r.CSR.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(chain[0].PublicKey) {
		return fault.New(fault.Invalid, "the certificate for %s has another public key than its request: bring the certificate that was issued for this request", r.ID).
			Because(ReasonMismatch)
	}
	for i, c := range chain[1:] {
		if !bytes.Equal(c.RawSubject, chain[i].RawIssuer) {
			return fault.New(fault.Invalid, "certificate %d of the chain for %s is not the issuer of the one before it", i+2, r.ID)
		}
		if err := chain[i].CheckSignatureFrom(c); err != nil {
			return fault.Wrap(err, fault.Invalid, "certificate %d of the chain for %s has not signed the one before it", i+2, r.ID)
		}
	}
	return nil
}

// ReasonMismatch: the chain is for another key.
const ReasonMismatch fault.Reason = "KeyMismatch"
