package internalca

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/template"
)

// Root is a root to be made.
type Root struct {
	// Subject must have a common name: it is what people see.
	Subject pkix.Name
	// NotBefore and NotAfter are its validity. Required.
	NotBefore, NotAfter time.Time
	// MaxPathLen is how many authorities may stand between the root and a leaf.
	MaxPathLen int
	// Constraints bind everything below; nil leaves names free.
	Constraints *Constraints
}

// SelfSign makes a root's certificate.
func SelfSign(root Root, key crypto.Signer) (*x509.Certificate, error) {
	if root.Subject.CommonName == "" || root.MaxPathLen < 0 || !root.NotAfter.After(root.NotBefore) {
		return nil, fault.New(fault.Invalid, "a root needs a common name, an end after its beginning, and a path length that is not negative")
	}
	if err := issuer.CheckKey(key.Public()); err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the root's public key cannot be encoded")
	}
	ski, err := template.KeyID(spki)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{SerialNumber: template.Serial(), Subject: root.Subject, NotBefore: root.NotBefore.UTC().Truncate(time.Second),
		NotAfter: root.NotAfter.UTC().Truncate(time.Second), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: root.MaxPathLen, MaxPathLenZero: root.MaxPathLen == 0, SubjectKeyId: ski, AuthorityKeyId: ski}
	root.Constraints.apply(t)
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "signing the root %q", root.Subject.CommonName)
	}
	return x509.ParseCertificate(der)
}
