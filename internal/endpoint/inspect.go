package endpoint

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// Leaf is a certificate as it was presented.
type Leaf struct {
	// SHA256 is the digest of the whole certificate, hexadecimal; empty when none was ever seen.
	SHA256 string `json:"sha256"`
	// Serial is hexadecimal, Subject and Issuer are X.500 names (RFC 4514).
	Serial    string    `json:"serial"`
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
}

func leafOf(c *x509.Certificate) Leaf {
	sum := sha256.Sum256(c.Raw)
	return Leaf{SHA256: hex.EncodeToString(sum[:]), Serial: c.SerialNumber.Text(16), Subject: fault.Clip(c.Subject.String()), Issuer: fault.Clip(c.Issuer.String()),
		NotBefore: c.NotBefore.UTC(), NotAfter: c.NotAfter.UTC()}
}

// Problem is something wrong with a chain that does not depend on the instant alone.
type Problem struct {
	Kind   Kind   `json:"kind"`
	Detail string `json:"detail"`
}

// expected is what the vault has of the certificate that an endpoint stands for. Its zero value expects nothing.
type expected struct {
	// current is the version that is to be presented.
	current vault.VersionID
	// versions are the current one and those before it, by the digest of their leaf.
	versions map[string]known
	// renewAt is when the policy makes the next version; zero for never.
	renewAt time.Time
}

// known is a version of the vault's.
type known struct {
	id    vault.VersionID
	chain []*x509.Certificate
}

// of returns the version that a leaf is, or else the current one's chain with no id: its roots are trusted all the same.
func (e *expected) of(leaf *Leaf) known {
	if k, ok := e.versions[leaf.SHA256]; ok {
		return k
	}
	for _, k := range e.versions {
		if k.id == e.current {
			return known{chain: k.chain}
		}
	}
	return known{}
}

// inspect says what clients would hold against a chain at an instant. The roots are those of the system and of the specification; stored is the chain that the vault
// has for this leaf: what signed itself in it is trusted too, for whoever installed the certificate from here had it with that.
func inspect(spec *Spec, roots *x509.CertPool, stored, chain []*x509.Certificate, now time.Time) (list []Problem) {
	leaf := chain[0]
	if err := leaf.VerifyHostname(spec.ServerName); err != nil {
		list = append(list, Problem{WrongName, fmt.Sprintf("the certificate is not for %s, but for %s", spec.ServerName, names(leaf))})
	}
	o := x509.VerifyOptions{Roots: roots.Clone(), Intermediates: pool(chain[1:]), CurrentTime: within(now, leaf)}
	for _, c := range stored {
		if bytes.Equal(c.RawSubject, c.RawIssuer) && selfSigned(c) {
			o.Roots.AddCert(c)
		}
	}
	_, err := leaf.Verify(o)
	if err == nil {
		return list
	}
	whole := o
	whole.Intermediates = pool(append(chain[1:len(chain):len(chain)], stored...))
	if _, again := leaf.Verify(whole); again == nil {
		return append(list, Problem{Incomplete, "an intermediate certificate is missing that the vault has: clients that do not know it refuse the connection"})
	}
	return append(list, Problem{Untrusted, untrusted(err, chain)})
}

// selfSigned reports whether a certificate signed itself, which one that is no authority's may do for itself too.
func selfSigned(c *x509.Certificate) bool {
	return c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

// within is the instant, or the nearest one at which the leaf is valid: that its time is over is told by itself.
func within(now time.Time, leaf *x509.Certificate) time.Time {
	if now.After(leaf.NotAfter) {
		return leaf.NotAfter
	}
	if now.Before(leaf.NotBefore) {
		return leaf.NotBefore
	}
	return now
}

func pool(list []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range list {
		p.AddCert(c)
	}
	return p
}

func untrusted(err error, chain []*x509.Certificate) string {
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "a certificate above the one that is presented has expired, or is not valid yet"
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return "the certificate is not meant for TLS servers"
	case len(chain) == 1 && selfSigned(chain[0]):
		return "the certificate signed itself, and is not trusted here"
	case len(chain) == 1:
		return "nothing leads from the certificate to a trusted root: it is presented without intermediates"
	}
	return "nothing leads from the certificate to a trusted root"
}

// names are the names in a certificate, for people.
func names(c *x509.Certificate) string {
	list := c.DNSNames
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		return "no name at all"
	}
	return fault.Clip(strings.Join(list, ", "))
}
