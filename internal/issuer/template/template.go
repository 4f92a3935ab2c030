package template

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
)

// Rules are what a certificate may say.
type Rules struct {
	// KeyUsage and ExtKeyUsage are the most that is granted, and what a request without wishes of its own gets. A nil ExtKeyUsage allows every purpose.
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []asn1.ObjectIdentifier
	// Names are the kinds of alternative names that are certified; nil allows all.
	Names []Kind
	// CA makes a certificate of an authority, below which MaxPathLen others may stand; MaxPathLen is -1 for no bound.
	CA         bool
	MaxPathLen int
	// NotBefore and NotAfter are the widest validity; a request may end earlier.
	NotBefore, NotAfter time.Time
}

// From makes the template of the certificate for a request that issuer.Check has passed. The caller adds what its own authority says: addresses of
// revocation lists and of OCSP, policies, constraints.
func From(r issuer.Request, rules Rules) (*x509.Certificate, error) {
	names, raw, err := Names(r.CSR)
	if err != nil {
		return nil, err
	}
	if rules.Names != nil {
		if err := allow(names, rules.Names); err != nil {
			return nil, err
		}
	}
	usage, purposes, err := usages(r, rules)
	if err != nil {
		return nil, err
	}
	end := rules.NotAfter
	if !r.NotAfter.IsZero() && r.NotAfter.Before(end) {
		end = r.NotAfter
	}
	if !end.After(rules.NotBefore) {
		return nil, fault.New(fault.Invalid, "the certificate would end at %s, before it begins: ask for a later end", end.UTC().Format(time.RFC3339))
	}
	ski, err := KeyID(r.CSR.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, err
	}
	c := &x509.Certificate{
		SerialNumber: Serial(), RawSubject: r.CSR.RawSubject, Subject: r.CSR.Subject, PublicKey: r.CSR.PublicKey,
		NotBefore: rules.NotBefore.UTC().Truncate(time.Second), NotAfter: end.UTC().Truncate(time.Second),
		KeyUsage: usage, BasicConstraintsValid: true, IsCA: rules.CA, SubjectKeyId: ski,
	}
	setPurposes(c, purposes)
	if rules.CA {
		c.MaxPathLen, c.MaxPathLenZero = rules.MaxPathLen, rules.MaxPathLen == 0
	}
	if raw != nil {
		// Without a subject the names are all there is: RFC 5280, section 4.2.1.6, makes them critical.
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oidSAN, Critical: len(r.CSR.Subject.Names) == 0, Value: raw})
	} else if len(r.CSR.Subject.Names) == 0 {
		return nil, fault.New(fault.Invalid, "request %s has neither a subject nor alternative names", r.ID)
	}
	return c, nil
}

// usages narrows what the rules allow to what the request asks for.
func usages(r issuer.Request, rules Rules) (x509.KeyUsage, []asn1.ObjectIdentifier, error) {
	usage, purposes := rules.KeyUsage, rules.ExtKeyUsage
	if r.KeyUsage != 0 && !rules.CA { // an authority signs certificates, whatever its policy says of its key
		if extra := r.KeyUsage &^ rules.KeyUsage; extra != 0 {
			return 0, nil, fault.New(fault.Invalid, "the profile does not allow the key usage %s: leave it out, or use another profile", usageNames(extra))
		}
		usage = r.KeyUsage
	}
	if len(r.ExtKeyUsage) > 0 {
		for _, id := range r.ExtKeyUsage {
			if rules.ExtKeyUsage != nil && !slices.ContainsFunc(rules.ExtKeyUsage, id.Equal) {
				return 0, nil, fault.New(fault.Invalid, "the profile does not allow the extended key usage %s: leave it out, or use another profile", id)
			}
		}
		purposes = r.ExtKeyUsage
	}
	// RFC 8813, section 3: only RSA keys encipher. Policies name keyEncipherment by default, whatever the key.
	if _, ok := r.CSR.PublicKey.(*rsa.PublicKey); !ok {
		usage &^= x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment
	}
	if usage == 0 {
		return 0, nil, fault.New(fault.Invalid, "the key usage that request %s asks for is none of its kind of key: ask for digitalSignature", r.ID)
	}
	return usage, purposes, nil
}

// setPurposes writes extended key usages by object identifier, so that ones that Go has no name for are not lost.
func setPurposes(c *x509.Certificate, purposes []asn1.ObjectIdentifier) {
	c.UnknownExtKeyUsage = slices.Clone(purposes)
}

// Serial returns a serial number of 158 random bits in 20 octets, the most that RFC 5280, section 4.1.2.2, allows; the first bit set keeps its length constant.
func Serial() *big.Int {
	b := make([]byte, 20)
	if _, err := rand.Read(b); err != nil {
		panic(err) // crypto/rand never returns one
	}
	b[0] = b[0]&0x7f | 0x40
	return new(big.Int).SetBytes(b)
}

// KeyID is the key identifier of RFC 7093, section 2, method 1: the first 160 bits of SHA-256 over the bits of the public key.
func KeyID(spki []byte) ([]byte, error) {
	bits, err := keyBits(spki)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(bits)
	return sum[:20], nil
}

// keyBits returns the subjectPublicKey of a SubjectPublicKeyInfo.
func keyBits(spki []byte) ([]byte, error) {
	in := cryptobyte.String(spki)
	var info cryptobyte.String
	var bits []byte
	if !in.ReadASN1(&info, cbasn1.SEQUENCE) || !info.SkipASN1(cbasn1.SEQUENCE) || !info.ReadASN1BitStringAsBytes(&bits) {
		return nil, fault.New(fault.Invalid, "the public key of the request cannot be read")
	}
	return bits, nil
}

// usageBits names key usages as RFC 5280, section 4.2.1.3, does.
var usageBits = []struct {
	bit  x509.KeyUsage
	name string
}{
	{x509.KeyUsageDigitalSignature, "digitalSignature"}, {x509.KeyUsageContentCommitment, "nonRepudiation"}, {x509.KeyUsageKeyEncipherment, "keyEncipherment"},
	{x509.KeyUsageDataEncipherment, "dataEncipherment"}, {x509.KeyUsageKeyAgreement, "keyAgreement"}, {x509.KeyUsageCertSign, "keyCertSign"},
	{x509.KeyUsageCRLSign, "cRLSign"}, {x509.KeyUsageEncipherOnly, "encipherOnly"}, {x509.KeyUsageDecipherOnly, "decipherOnly"},
}

func usageNames(u x509.KeyUsage) (names []string) {
	for _, b := range usageBits {
		if u&b.bit != 0 {
			names = append(names, b.name)
		}
	}
	return names
}
