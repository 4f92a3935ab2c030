package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
)

func newAuthority(t *testing.T, c clock.Clock) *authority {
	t.Helper()
	a, err := openAuthority(t.TempDir(), c, func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) mustIssue(t *testing.T, name string) *x509.Certificate {
	c, err := a.certificate(&tls.ClientHelloInfo{ServerName: name})
	if err != nil {
		t.Error(err)
		return &x509.Certificate{}
	}
	return c.Leaf
}

// TestAHandshakeDoesNotWaitForOthersNames keeps every place at which certificates are made taken: names that are known are answered all
// the same, which is seen by the test's coming to its end.
func TestAHandshakeDoesNotWaitForOthersNames(t *testing.T) {
	a := newAuthority(t, clock.System{})
	known := a.mustIssue(t, "known.test")
	for range maxIssuing {
		a.issuing <- struct{}{}
	}
	fresh := make(chan *x509.Certificate)
	go func() { fresh <- a.mustIssue(t, "fresh.test") }()
	for range 100 {
		if again := a.mustIssue(t, "KNOWN.test."); !again.Equal(known) {
			t.Error("another certificate for the same name")
		}
	}
	select {
	case c := <-fresh:
		t.Errorf("a certificate was made for %v with all places taken", c.DNSNames)
	default:
	}
	<-a.issuing
	if c := <-fresh; len(c.DNSNames) != 1 || c.DNSNames[0] != "fresh.test" {
		t.Errorf("the certificate is for %v", c.DNSNames)
	}
}

func TestOneCertificateForManyHandshakes(t *testing.T) {
	now := clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	a := newAuthority(t, now)
	once := func() *x509.Certificate {
		t.Helper()
		var group sync.WaitGroup
		serials := make([]string, 50)
		var leaf *x509.Certificate
		for i := range serials {
			group.Go(func() { serials[i] = a.mustIssue(t, "busy.test").SerialNumber.String() })
		}
		group.Wait()
		for _, s := range serials {
			if s != serials[0] {
				t.Fatal("handshakes at the same time got different certificates")
			}
		}
		leaf = a.mustIssue(t, "busy.test")
		return leaf
	}
	first := once()
	now.Advance(leafLifetime - leafRenewal)
	if second := once(); second.Equal(first) || !second.NotAfter.After(first.NotAfter) {
		t.Error("a certificate near its end was not renewed")
	}
	for i := range maxIssued + 10 {
		a.mustIssue(t, fmt.Sprintf("n%d.test", i))
	}
	if n := len(a.issued); n > maxIssued {
		t.Errorf("%d certificates are kept", n)
	}
}
