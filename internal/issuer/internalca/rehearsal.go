package internalca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"
	_ "github.com/zmap/zlint/v3/lints/rfc" // registers the rules of the RFCs; those of browsers and forums do not bind a private authority

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
)

// rehearsal is a chain like an authority's own, with keys that nobody trusts. What it signs is never given away.
type rehearsal struct {
	issuer *x509.Certificate
	key    crypto.Signer
	// roots has the last of the chain, whether it signed itself or not; between has the rest.
	roots, between *x509.CertPool
}

// newRehearsal copies a chain, leaf's issuer first.
func newRehearsal(chain []*x509.Certificate) (*rehearsal, error) {
	r := &rehearsal{roots: x509.NewCertPool(), between: x509.NewCertPool()}
	for i, original := range slices.Backward(chain) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("making a key for the rehearsal: %w", err)
		}
		t := &x509.Certificate{
			SerialNumber: original.SerialNumber, RawSubject: original.RawSubject, Subject: original.Subject, NotBefore: original.NotBefore, NotAfter: original.NotAfter,
			KeyUsage: original.KeyUsage, ExtKeyUsage: original.ExtKeyUsage, UnknownExtKeyUsage: original.UnknownExtKeyUsage,
			BasicConstraintsValid: true, IsCA: original.IsCA, MaxPathLen: original.MaxPathLen, MaxPathLenZero: original.MaxPathLenZero, SubjectKeyId: original.SubjectKeyId,
			PermittedDNSDomainsCritical: original.PermittedDNSDomainsCritical,
			PermittedDNSDomains:         original.PermittedDNSDomains, ExcludedDNSDomains: original.ExcludedDNSDomains,
			PermittedIPRanges: original.PermittedIPRanges, ExcludedIPRanges: original.ExcludedIPRanges,
			PermittedEmailAddresses: original.PermittedEmailAddresses, ExcludedEmailAddresses: original.ExcludedEmailAddresses,
			PermittedURIDomains: original.PermittedURIDomains, ExcludedURIDomains: original.ExcludedURIDomains,
		}
		parent, signer := t, crypto.Signer(key)
		if r.issuer != nil {
			parent, signer = r.issuer, r.key
		}
		der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), signer)
		if err != nil {
			return nil, fmt.Errorf("copying %q for the rehearsal: %w", original.Subject, err)
		}
		if r.issuer, err = x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("copying %q for the rehearsal: %w", original.Subject, err)
		}
		r.key = key
		if i == len(chain)-1 {
			r.roots.AddCert(r.issuer)
		} else {
			r.between.AddCert(r.issuer)
		}
	}
	return r, nil
}

// try signs a template with the copy of the authority and refuses what nobody would accept.
func (r *rehearsal) try(t *x509.Certificate, request issuer.Request) error {
	der, err := x509.CreateCertificate(rand.Reader, t, r.issuer, request.CSR.PublicKey, r.key)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the certificate of request %s cannot be encoded: look at its subject and names", request.ID)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the certificate of request %s would not be readable: look at its subject and names", request.ID)
	}
	if err := r.verify(c, request); err != nil {
		return err
	}
	return lintAll(der, request)
}

// verify asks crypto/x509 as a peer would, for each purpose by itself: together, one that is allowed would do for all.
func (r *rehearsal) verify(c *x509.Certificate, request issuer.Request) error {
	purposes := c.ExtKeyUsage
	if len(purposes) == 0 {
		purposes = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	}
	for _, purpose := range purposes {
		_, err := c.Verify(x509.VerifyOptions{Roots: r.roots, Intermediates: r.between, CurrentTime: c.NotBefore.Add(time.Second), KeyUsages: []x509.ExtKeyUsage{purpose}})
		if err != nil {
			return fault.Wrap(err, fault.Invalid, "the certificate of request %s would not verify under %q (%s): ask another authority, or change the request",
				request.ID, r.issuer.Subject, fault.Clip(err.Error()))
		}
	}
	return nil
}

// lintAll refuses what breaks a rule of the RFCs.
func lintAll(der []byte, request issuer.Request) error {
	c, err := zx509.ParseCertificate(der)
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "the certificate of request %s would not be readable for others: look at its subject and names", request.ID)
	}
	registry := lint.GlobalRegistry()
	var broken []string
	for _, l := range registry.CertificateLints().Lints() {
		if result := l.Execute(c, registry.GetConfiguration()); result.Status == lint.Error || result.Status == lint.Fatal {
			broken = append(broken, l.Description+" ("+l.Name+")")
		}
	}
	if len(broken) > 0 {
		slices.Sort(broken)
		return fault.New(fault.Invalid, "the certificate of request %s would break a rule: %s; change the request", request.ID, strings.Join(broken, "; "))
	}
	return nil
}
