package internalca_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/issuer/internalca/recordstest"
)

var start = time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)

// world is a root and one intermediate, each with records of its own.
type world struct {
	clock       *clock.Manual
	root        *internalca.CA
	between     *internalca.CA
	betweenKey  crypto.Signer
	records     *recordstest.Memory
	rootRecords *recordstest.Memory
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newWorld has constraints in the intermediate's certificate, if there are any.
func newWorld(t testing.TB, constraints *internalca.Constraints) *world {
	t.Helper()
	w := &world{clock: clock.NewManual(start), records: new(recordstest.Memory), rootRecords: new(recordstest.Memory)}
	rootKey, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	rootCertificate, err := internalca.SelfSign(internalca.Root{Subject: pkix.Name{CommonName: "Test Root", Organization: []string{"Test"}},
		NotBefore: start.Add(-time.Hour), NotAfter: start.AddDate(20, 0, 0), MaxPathLen: 1}, rootKey)
	if err != nil {
		t.Fatal(err)
	}
	profiles := internalca.Profiles()
	p := profiles["intermediate"]
	p.Constraints = constraints
	profiles["intermediate"] = p
	w.root = w.open(t, internalca.Config{Certificate: rootCertificate, Key: rootKey, Profiles: profiles, Default: "intermediate", Records: w.rootRecords})
	w.betweenKey = newKey(t)
	result, err := w.root.Begin(t.Context(), issuer.Request{ID: "intermediate", CSR: newCSR(t, w.betweenKey, x509.CertificateRequest{Subject: pkix.Name{CommonName: "Test Issuer"}})})
	if err != nil {
		t.Fatal(err)
	}
	w.between = w.open(t, internalca.Config{Certificate: result.Chain[0], Parents: []*x509.Certificate{rootCertificate}, Key: w.betweenKey,
		Profiles: internalca.Profiles(), Default: "server", Records: w.records,
		CRLURLs: []string{"http://ca.test/crl"}, OCSPURLs: []string{"http://ca.test/ocsp"}, IssuerURLs: []string{"http://ca.test/ca.der"}})
	return w
}

func (w *world) open(t testing.TB, config internalca.Config) *internalca.CA {
	t.Helper()
	config.Clock = w.clock
	ca, err := internalca.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newCSR(t testing.TB, key crypto.Signer, template x509.CertificateRequest) *x509.CertificateRequest {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// server is a request for a server's certificate.
func server(t testing.TB, id string, names ...string) issuer.Request {
	t.Helper()
	return issuer.Request{ID: id, CSR: newCSR(t, newKey(t), x509.CertificateRequest{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names})}
}

func issue(t testing.TB, i issuer.Issuer, r issuer.Request) *x509.Certificate {
	t.Helper()
	result, err := i.Begin(t.Context(), r)
	if err != nil {
		t.Fatalf("%s: %v", r.ID, err)
	}
	return result.Chain[0]
}
