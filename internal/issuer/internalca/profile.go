package internalca

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/keywright/keywright/internal/issuer/template"
)

// Extended key usages (RFC 5280, section 4.2.1.12).
var (
	serverAuth      = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}
	clientAuth      = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}
	codeSigning     = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3}
	emailProtection = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 4}
	ocspSigning     = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 9}
)

const day = 24 * time.Hour

// Profile is a kind of certificate.
type Profile struct {
	// KeyUsage and ExtKeyUsage are granted, and a request may ask for less. A nil ExtKeyUsage leaves the purposes open, which only authorities should have.
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []asn1.ObjectIdentifier
	// Names are the kinds of alternative names that are certified.
	Names []template.Kind
	// MaxLifetime is the longest validity. Required.
	MaxLifetime time.Duration
	// CA makes certificates of authorities, under which MaxPathLen others may stand (0: they sign leaves alone).
	CA         bool
	MaxPathLen int
	// Constraints are written into certificates of authorities; nil leaves their names free.
	Constraints *Constraints
	// NoCheck adds the extension of RFC 6960, section 4.2.2.2.1: nobody asks whether an OCSP responder itself is revoked, so its life must be short.
	NoCheck bool
}

// Constraints are what an authority may certify names in (RFC 5280, section 4.2.1.10). They are critical. A kind of name without a permitted entry is free, unless it is
// excluded.
type Constraints struct {
	// PermittedDNS and ExcludedDNS are domains; each stands for itself and everything below it.
	PermittedDNS, ExcludedDNS []string
	PermittedIP, ExcludedIP   []*net.IPNet
	// PermittedEmail and ExcludedEmail are addresses, hosts, or domains with a dot before them.
	PermittedEmail, ExcludedEmail []string
	// PermittedURI and ExcludedURI are hosts, or domains with a dot before them.
	PermittedURI, ExcludedURI []string
}

func (c *Constraints) apply(t *x509.Certificate) {
	if c == nil {
		return
	}
	t.PermittedDNSDomainsCritical = true
	t.PermittedDNSDomains, t.ExcludedDNSDomains = c.PermittedDNS, c.ExcludedDNS
	t.PermittedIPRanges, t.ExcludedIPRanges = c.PermittedIP, c.ExcludedIP
	t.PermittedEmailAddresses, t.ExcludedEmailAddresses = c.PermittedEmail, c.ExcludedEmail
	t.PermittedURIDomains, t.ExcludedURIDomains = c.PermittedURI, c.ExcludedURI
}

// Profiles returns the usual kinds of certificates by their names. The caller may change what it gets.
func Profiles() map[string]Profile {
	const tls = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	return map[string]Profile{
		"server": {KeyUsage: tls, ExtKeyUsage: []asn1.ObjectIdentifier{serverAuth}, Names: []template.Kind{template.DNS, template.IP, template.URI}, MaxLifetime: 398 * day},
		"client": {KeyUsage: tls, ExtKeyUsage: []asn1.ObjectIdentifier{clientAuth},
			Names: []template.Kind{template.DNS, template.IP, template.URI, template.Email, template.UPN}, MaxLifetime: 398 * day},
		"mutual": {KeyUsage: tls, ExtKeyUsage: []asn1.ObjectIdentifier{serverAuth, clientAuth},
			Names: []template.Kind{template.DNS, template.IP, template.URI, template.Email}, MaxLifetime: 398 * day},
		"code-signing": {KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []asn1.ObjectIdentifier{codeSigning}, Names: []template.Kind{template.Email, template.URI},
			MaxLifetime: 3 * 365 * day},
		"email": {KeyUsage: tls | x509.KeyUsageContentCommitment, ExtKeyUsage: []asn1.ObjectIdentifier{emailProtection},
			Names: []template.Kind{template.Email, template.UPN}, MaxLifetime: 2 * 365 * day},
		"ocsp": {KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []asn1.ObjectIdentifier{ocspSigning}, Names: []template.Kind{}, MaxLifetime: 14 * day, NoCheck: true},
		"intermediate": {KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature, Names: []template.Kind{}, CA: true,
			MaxLifetime: 10 * 365 * day},
	}
}

// check refuses profiles that would make certificates of no use, or of too much.
func (p Profile) check(name string) error {
	var problems []error
	if p.MaxLifetime <= 0 {
		problems = append(problems, errors.New("MaxLifetime is not positive"))
	}
	if p.KeyUsage == 0 {
		problems = append(problems, errors.New("it has no key usage"))
	}
	if p.CA != (p.KeyUsage&x509.KeyUsageCertSign != 0) {
		problems = append(problems, errors.New("CA and the key usage keyCertSign go together"))
	}
	if !p.CA && (p.Constraints != nil || p.MaxPathLen != 0) {
		problems = append(problems, errors.New("only authorities have constraints and a path length"))
	}
	if !p.CA && len(p.ExtKeyUsage) == 0 {
		problems = append(problems, errors.New("it has no extended key usage, so its certificates would be good for everything"))
	}
	if p.MaxPathLen < 0 {
		problems = append(problems, errors.New("MaxPathLen is negative"))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("profile %q: %w", name, err)
	}
	return nil
}
