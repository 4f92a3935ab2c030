package cryptokey_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"testing"
	"time"

	"filippo.io/mldsa"

	"github.com/keywright/keywright/internal/cryptokey"
)

// certify makes a self-signed certificate with the key.
func certify(t *testing.T, k *cryptokey.Key, alg x509.SignatureAlgorithm) (*x509.Certificate, crypto.Signer) {
	t.Helper()
	signer, err := k.Signer()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), SignatureAlgorithm: alg, BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(nil, template, template, signer.Public(), signer)
	if err != nil {
		t.Fatalf("%s with %s: %v", k, alg, err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, signer
}

// Every pair of key and hash that X.509 allows, also those that the algorithms of Key Vault have no name for (SHA-512 with P-256).
func TestSignerMakesCertificates(t *testing.T) {
	rsaAlgs := []x509.SignatureAlgorithm{x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS}
	ecAlgs := []x509.SignatureAlgorithm{x509.UnknownSignatureAlgorithm, x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512}
	for spec, algs := range map[cryptokey.Spec][]x509.SignatureAlgorithm{specs[0]: rsaAlgs, specs[1]: rsaAlgs, specs[2]: ecAlgs, specs[3]: ecAlgs, specs[4]: ecAlgs} {
		for _, alg := range algs {
			c, _ := certify(t, key(t, spec), alg)
			if err := c.CheckSignatureFrom(c); err != nil {
				t.Errorf("%s with %s: %v", spec, alg, err)
			}
			if alg != 0 && c.SignatureAlgorithm != alg {
				t.Errorf("%s: signed with %s instead of %s", spec, c.SignatureAlgorithm, alg)
			}
		}
	}
}

func TestSignerServesTLS(t *testing.T) {
	for _, spec := range []cryptokey.Spec{specs[0], specs[2], specs[4]} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c, signer := certify(t, key(t, spec), 0)
			roots := x509.NewCertPool()
			roots.AddCert(c)
			a, b := net.Pipe()
			server := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{c.Raw}, PrivateKey: signer}}})
			client := tls.Client(b, &tls.Config{RootCAs: roots, ServerName: "test", MinVersion: version, MaxVersion: version})
			done := make(chan error, 1)
			go func() { done <- server.Handshake() }()
			if err := client.Handshake(); err != nil {
				t.Errorf("%s, %x: %v", spec, version, err)
			}
			if err := <-done; err != nil {
				t.Errorf("%s, %x: server: %v", spec, version, err)
			}
			a.Close()
			b.Close()
		}
	}
}

func TestWhatASignerRefuses(t *testing.T) {
	for _, spec := range []cryptokey.Spec{specs[5], octSpec(128), {Type: cryptokey.AKP, Set: cryptokey.SetMLKEM768}} {
		_, err := key(t, spec).Signer()
		refused(t, spec.String(), err)
	}
	signer, err := key(t, specs[0]).Signer()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		n    int
		opts crypto.SignerOpts
	}{
		"SHA-1":              {20, crypto.SHA1},
		"no hash":            {32, crypto.Hash(0)},
		"a wrong length":     {31, crypto.SHA256},
		"a salt of 20":       {32, &rsa.PSSOptions{Hash: crypto.SHA256, SaltLength: 20}},
		"PSS without a hash": {32, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}},
	} {
		_, err := signer.Sign(nil, make([]byte, c.n), c.opts)
		refused(t, name, err)
	}
	if _, ok := signer.(interface{ Export() }); ok {
		t.Error("the signer exports")
	}
	if _, ok := signer.(*rsa.PrivateKey); ok {
		t.Error("the signer is the private key itself")
	}
	if text := fmt.Sprintf("%v %+v %#v", signer, signer, signer); len(text) > 300 {
		t.Errorf("the signer prints as %s", text)
	}
	pq, err := key(t, cryptokey.Spec{Type: cryptokey.AKP, Set: cryptokey.SetMLDSA65}).Signer()
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("the message itself")
	signature, err := pq.Sign(nil, message, crypto.Hash(0))
	if err != nil || mldsa.Verify(pq.Public().(*mldsa.PublicKey), message, signature, nil) != nil {
		t.Errorf("ML-DSA: %v", err)
	}
	_, err = pq.Sign(nil, make([]byte, 32), crypto.SHA256)
	refused(t, "ML-DSA of a digest", err)
}
