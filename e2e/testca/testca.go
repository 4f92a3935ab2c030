// Package testca makes certificates for servers that tests start on loopback.
package testca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Pair is a CA that lives for a day and whose key is forgotten, and one certificate of it for 127.0.0.1, ::1 and names, as a rule localhost. All members are PEM.
type Pair struct{ CA, Certificate, Key []byte }

// New makes a pair.
func New() (*Pair, error) {
	return For("localhost")
}

// For makes a pair whose certificate has these names or addresses beside the addresses of loopback.
func For(names ...string) (*Pair, error) {
	addresses := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	var dns []string
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			addresses = append(addresses, ip)
		} else {
			dns = append(dns, n)
		}
	}
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "loopback test CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	ca, err := x509.CreateCertificate(rand.Reader, root, root, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "loopback test server"},
		NotBefore: root.NotBefore, NotAfter: root.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: addresses, DNSNames: dns,
	}, root, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &Pair{CA: block("CERTIFICATE", ca), Certificate: block("CERTIFICATE", leaf), Key: block("PRIVATE KEY", der)}, nil
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// TLS is the certificate for a server of this process.
func (p *Pair) TLS() (tls.Certificate, error) { return tls.X509KeyPair(p.Certificate, p.Key) }

// Write puts ca.pem, cert.pem and key.pem into dir, for a server of its own process.
func (p *Pair) Write(dir string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "ca.pem"), p.CA, 0o600),
		os.WriteFile(filepath.Join(dir, "cert.pem"), p.Certificate, 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), p.Key, 0o600))
}
