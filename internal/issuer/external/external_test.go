package external_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/external"
	"github.com/keywright/keywright/internal/issuer/issuertest"
)

// authority signs anything.
type authority struct {
	root, between *x509.Certificate
	key           *ecdsa.PrivateKey
	now           time.Time
}

func newAuthority(t *testing.T, now time.Time) *authority {
	t.Helper()
	a := &authority{now: now}
	rootKey := newKey(t)
	a.key = newKey(t)
	a.root = sign(t, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Outside Root"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour)}, nil, rootKey.Public(), rootKey)
	a.between = sign(t, &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "Outside Issuer"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour)}, a.root, a.key.Public(), rootKey)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (a *authority) sign(t *testing.T, r issuer.Request) []*x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	serial.SetBit(serial, 121, 1)
	leaf := sign(t, &x509.Certificate{SerialNumber: serial, Subject: r.CSR.Subject, DNSNames: r.CSR.DNSNames, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: a.now.Add(-time.Hour), NotAfter: a.now.Add(24 * time.Hour)}, a.between, r.CSR.PublicKey, a.key)
	return []*x509.Certificate{leaf, a.between, a.root}
}

func TestConformance(t *testing.T) {
	c := clock.NewManual(time.Date(2031, 5, 1, 0, 0, 0, 0, time.UTC))
	a := newAuthority(t, c.Now())
	roots := x509.NewCertPool()
	roots.AddCert(a.root)
	issuertest.Run(t, issuertest.Subject{
		Open: func(t *testing.T) issuer.Issuer {
			i, err := external.New(external.Config{Clock: c})
			if err != nil {
				t.Fatal(err)
			}
			return i
		},
		Roots: roots, Now: c.Now, Sign: a.sign,
		Name: func(n int) string { return fmt.Sprintf("n%d.example.test", n) },
	})
}

func TestExpiredCertificatesAreRefused(t *testing.T) {
	c := clock.NewManual(time.Date(2031, 5, 1, 0, 0, 0, 0, time.UTC))
	a := newAuthority(t, c.Now())
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.test"}}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	i, err := external.New(external.Config{Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	r := issuer.Request{ID: "r", CSR: csr}
	chain := a.sign(t, r)
	c.Advance(24*time.Hour - time.Second)
	if _, err := i.Merge(t.Context(), r, chain); err != nil {
		t.Errorf("in its last second: %v", err)
	}
	c.Advance(time.Second)
	if _, err := i.Merge(t.Context(), r, chain); !fault.Is(err, fault.Invalid) {
		t.Errorf("after its end: %v", err)
	}
}
