package selfsigned_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/issuertest"
	"github.com/keywright/keywright/internal/issuer/selfsigned"
)

func TestConformance(t *testing.T) {
	var keys sync.Map
	c := clock.NewManual(time.Date(2031, 5, 1, 0, 0, 0, 0, time.UTC))
	issuertest.Run(t, issuertest.Subject{
		Open: func(t *testing.T) issuer.Issuer {
			i, err := selfsigned.New(selfsigned.Config{Clock: c, Backdate: time.Minute, Signer: func(_ context.Context, r issuer.Request) (crypto.Signer, error) {
				key, _ := keys.Load(string(r.CSR.RawSubjectPublicKeyInfo))
				return key.(crypto.Signer), nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			return i
		},
		Now:   c.Now,
		Name:  func(n int) string { return fmt.Sprintf("n%d.example.test", n) },
		Learn: func(r issuer.Request, key crypto.Signer) { keys.Store(string(r.CSR.RawSubjectPublicKeyInfo), key) },
	})
}

// A key that is not the request's is noticed: the signature would not be the certificate's own.
func TestAnotherKey(t *testing.T) {
	mine, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.test"}}, mine)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	i, err := selfsigned.New(selfsigned.Config{Clock: clock.System{}, Signer: func(context.Context, issuer.Request) (crypto.Signer, error) { return other, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if result, err := i.Begin(t.Context(), issuer.Request{ID: "r", CSR: csr}); !fault.Is(err, fault.Internal) || result.Chain != nil {
		t.Errorf("%+v, %v", result, err)
	}
}
