package internalca_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/issuer/internalca/recordstest"
	"github.com/keywright/keywright/internal/issuer/issuertest"
)

func TestConformance(t *testing.T) {
	w := newWorld(t, nil)
	roots := x509.NewCertPool()
	roots.AddCert(w.root.Certificate())
	issuertest.Run(t, issuertest.Subject{
		Open: func(*testing.T) issuer.Issuer { return w.between }, Roots: roots, Now: w.clock.Now,
		Name: func(n int) string { return fmt.Sprintf("n%d.example.test", n) },
	})
}

func TestMemoryRecords(t *testing.T) {
	recordstest.Run(t, func(*testing.T) internalca.Records { return new(recordstest.Memory) })
}

func TestWhatACertificateSays(t *testing.T) {
	w := newWorld(t, nil)
	r := server(t, "one", "www.example.test", "*.example.test")
	c := issue(t, w.between, r)
	own := w.between.Certificate()
	if string(c.AuthorityKeyId) != string(own.SubjectKeyId) || len(c.SubjectKeyId) != 20 || string(c.SubjectKeyId) == string(own.SubjectKeyId) {
		t.Errorf("key ids: %x below %x", c.SubjectKeyId, c.AuthorityKeyId)
	}
	if own.MaxPathLen != 0 || !own.MaxPathLenZero || string(own.AuthorityKeyId) != string(w.root.Certificate().SubjectKeyId) {
		t.Errorf("the intermediate: path length %d, authority %x", own.MaxPathLen, own.AuthorityKeyId)
	}
	if c.CRLDistributionPoints[0] != "http://ca.test/crl" || c.OCSPServer[0] != "http://ca.test/ocsp" || c.IssuingCertificateURL[0] != "http://ca.test/ca.der" {
		t.Errorf("addresses: %v %v %v", c.CRLDistributionPoints, c.OCSPServer, c.IssuingCertificateURL)
	}
	if c.SerialNumber.BitLen() < 128 {
		t.Errorf("the serial number %x is short", c.SerialNumber)
	}
	// An EC key enciphers nothing, whatever the profile allows.
	if c.KeyUsage != x509.KeyUsageDigitalSignature || len(c.ExtKeyUsage) != 1 || c.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Errorf("usages: %b, %v", c.KeyUsage, c.ExtKeyUsage)
	}
	if !c.NotBefore.Equal(start.Add(-internalca.DefaultBackdate)) || !c.NotAfter.Equal(start.Add(398*24*time.Hour)) {
		t.Errorf("valid from %v to %v", c.NotBefore, c.NotAfter)
	}
	w.clock.Advance(365 * 24 * time.Hour * 11)
	if next := issue(t, w.root, issuer.Request{ID: "clipped", CSR: newCSR(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: "Next"}})}); !next.NotAfter.Equal(w.root.Certificate().NotAfter) {
		t.Errorf("an intermediate ends at %v, its root at %v", next.NotAfter, w.root.Certificate().NotAfter)
	}
}

func TestPrincipalNamesAreKept(t *testing.T) {
	w := newWorld(t, nil)
	upn := []byte{0x30, 0x1f, 0xa0, 0x1d, 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x14, 0x02, 0x03, 0xa0, 0x0f, 0x0c, 0x0d}
	upn = append(upn, "user@corp.tst"...)
	csr := newCSR(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: "user"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: upn}}})
	c := issue(t, w.between, issuer.Request{ID: "upn", CSR: csr, Profile: "client"})
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) && string(e.Value) == string(upn) {
			return
		}
	}
	t.Error("the principal name is gone")
}

// Each refusal says what to do, and leaves no record.
func TestRefusals(t *testing.T) {
	_, ten, err := net.ParseCIDR("10.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, &internalca.Constraints{PermittedDNS: []string{"example.test"}, ExcludedDNS: []string{"secret.example.test"}, PermittedIP: []*net.IPNet{ten}})
	ca := x509.CertificateRequest{Subject: pkix.Name{CommonName: "Sub"}}
	for name, c := range map[string]struct {
		request issuer.Request
		from    *internalca.CA
		says    string
	}{
		"outside the domain": {server(t, "r", "www.other.test"), w.between, "would not verify"},
		"excluded":           {server(t, "r", "a.secret.example.test"), w.between, "would not verify"},
		"another network": {issuer.Request{ID: "r", CSR: newCSR(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}})},
			w.between, "would not verify"},
		"unknown profile": {issuer.Request{ID: "r", CSR: server(t, "r", "a.example.test").CSR, Profile: "nonsense"}, w.between, "use one of client, code-signing"},
		"another purpose": {issuer.Request{ID: "r", CSR: server(t, "r", "a.example.test").CSR, ExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 3}}}, w.between, "does not allow the extended key usage"},
		"another usage":   {issuer.Request{ID: "r", CSR: server(t, "r", "a.example.test").CSR, KeyUsage: x509.KeyUsageCertSign}, w.between, "keyCertSign"},
		"names of another kind": {issuer.Request{ID: "r", CSR: newCSR(t, newKey(t), x509.CertificateRequest{EmailAddresses: []string{"a@example.test"}})}, w.between,
			"certifies no mail addresses"},
		"an end in the past":    {issuer.Request{ID: "r", CSR: server(t, "r", "a.example.test").CSR, NotAfter: start.Add(-time.Hour)}, w.between, "ask for a later end"},
		"too deep":              {issuer.Request{ID: "r", CSR: newCSR(t, newKey(t), ca), Profile: "intermediate"}, w.between, "no authority below"},
		"a rule of the RFCs":    {issuer.Request{ID: "r", CSR: newCSR(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: strings.Repeat("a", 65)}, DNSNames: []string{"a.example.test"}})}, w.between, "would break a rule"},
		"a name that is none":   {server(t, "r", "a b.example.test"), w.between, "is no DNS name"},
		"a wildcard in between": {server(t, "r", "a.*.example.test"), w.between, "is no DNS name"},
	} {
		result, err := c.from.Begin(t.Context(), c.request)
		if !fault.Is(err, fault.Invalid) || result.Chain != nil || !strings.Contains(fault.As(err).Message, c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := w.records.ByRequest(t.Context(), "r"); !fault.Is(err, fault.NotFound) {
			t.Fatalf("%s left a record", name)
		}
	}
	issue(t, w.between, server(t, "good", "a.example.test"))
	w.clock.Advance(w.between.Certificate().NotAfter.Sub(start) - time.Minute)
	if _, err := w.between.Begin(t.Context(), server(t, "late", "a.example.test")); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "successor") {
		t.Errorf("an authority at its end: %v", err)
	}
}

// Wishes that a request writes into itself count for nothing.
func TestRequestsDoNotMakeAuthorities(t *testing.T) {
	w := newWorld(t, nil)
	constraints, err := asn1.Marshal(struct{ CA bool }{true})
	if err != nil {
		t.Fatal(err)
	}
	csr := newCSR(t, newKey(t), x509.CertificateRequest{DNSNames: []string{"a.test"},
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 19}, Critical: true, Value: constraints}}})
	if c := issue(t, w.between, issuer.Request{ID: "r", CSR: csr}); c.IsCA || !c.BasicConstraintsValid {
		t.Error("the leaf is an authority")
	}
}

func TestEveryProfile(t *testing.T) {
	w := newWorld(t, nil)
	for name, p := range internalca.Profiles() {
		from := w.between
		if p.CA {
			from = w.root
		}
		c := issue(t, from, issuer.Request{ID: "profile-" + name, Profile: name, CSR: newCSR(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: name}})})
		if c.IsCA != p.CA || len(c.ExtKeyUsage) != len(p.ExtKeyUsage) {
			t.Errorf("%s: authority %v, purposes %v", name, c.IsCA, c.ExtKeyUsage)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t, nil)
	good := internalca.Config{Certificate: w.between.Certificate(), Parents: []*x509.Certificate{w.root.Certificate()}, Key: w.betweenKey,
		Profiles: internalca.Profiles(), Default: "server", Records: w.records, Clock: w.clock}
	for says, change := range map[string]func(*internalca.Config){
		"a certificate, its key":  func(c *internalca.Config) { c.Key = nil },
		"not that of the":         func(c *internalca.Config) { c.Key = newKey(t) },
		"not one of an authority": func(c *internalca.Config) { c.Certificate = issue(t, w.between, server(t, "leaf", "a.test")) },
		"has not signed":          func(c *internalca.Config) { c.Parents = []*x509.Certificate{w.between.Certificate()} },
		"no profile":              func(c *internalca.Config) { c.Default = "nonsense" },
		"no http address":         func(c *internalca.Config) { c.CRLURLs = []string{"ldap://x"} },
		"MaxLifetime": func(c *internalca.Config) {
			c.Profiles = map[string]internalca.Profile{"server": {KeyUsage: 1, ExtKeyUsage: []asn1.ObjectIdentifier{{1, 2}}}}
		},
		"good for everything": func(c *internalca.Config) {
			c.Profiles = map[string]internalca.Profile{"server": {KeyUsage: 1, MaxLifetime: 1}}
		},
		"go together": func(c *internalca.Config) {
			c.Profiles = map[string]internalca.Profile{"server": {KeyUsage: 1, MaxLifetime: 1, CA: true}}
		},
		"negative": func(c *internalca.Config) { c.Backdate = -1 },
	} {
		config := good
		change(&config)
		if _, err := internalca.New(config); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", says, err)
		}
	}
}

// lossy loses answers.
type lossy struct {
	*recordstest.Memory
	before, after bool
}

var errLost = errors.New("the answer was lost")

func (l *lossy) Add(ctx context.Context, r internalca.Record) error {
	if l.before {
		return fault.Wrap(errLost, fault.Unavailable, "the store is away")
	}
	if err := l.Memory.Add(ctx, r); err != nil {
		return err
	}
	if l.after {
		return fault.Wrap(errLost, fault.Unavailable, "the store is away")
	}
	return nil
}

// Whether a record was lost, or kept and reported lost: nothing leaves, and the next try gives what is on record.
func TestNoCertificateLeavesWithoutItsRecord(t *testing.T) {
	w := newWorld(t, nil)
	records := &lossy{Memory: w.records}
	ca := w.open(t, internalca.Config{Certificate: w.between.Certificate(), Parents: []*x509.Certificate{w.root.Certificate()}, Key: w.betweenKey,
		Profiles: internalca.Profiles(), Default: "server", Records: records})
	for id, loss := range map[string]lossy{"lost": {before: true}, "reported-lost": {after: true}} {
		r := server(t, id, "a.test")
		records.before, records.after = loss.before, loss.after
		if result, err := ca.Begin(t.Context(), r); !fault.Is(err, fault.Unavailable) || result.Chain != nil {
			t.Errorf("%s: %+v, %v", id, result, err)
		}
		records.before, records.after = false, false
		c := issue(t, ca, r)
		if kept, err := w.records.ByRequest(t.Context(), id); err != nil || string(kept.DER) != string(c.Raw) {
			t.Errorf("%s: another certificate is on record", id)
		}
	}
}
