package certfile

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// need returns the path of a program that a test runs files through; without it the test is skipped, or fails under CI=true.
func need(t testing.TB, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed: run scripts/deps", program)
		}
		t.Skipf("SKIPPED, NOT PASSED: %s is not installed: run scripts/deps", program)
	}
	return path
}

// run runs a program in dir and returns what it prints.
func run(t testing.TB, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(need(t, program), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// family is a root, an intermediate and a leaf.
type family struct {
	key                      crypto.Signer
	leaf, intermediate, root *x509.Certificate
}

func (f *family) chain() []*x509.Certificate {
	return []*x509.Certificate{f.leaf, f.intermediate, f.root}
}

func newFamily(t testing.TB, key crypto.Signer) *family {
	t.Helper()
	f := &family{key: key}
	var err error
	sign := func(name string, serial int64, ca bool, public crypto.PublicKey, parent *x509.Certificate, signer crypto.Signer) *x509.Certificate {
		template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, IsCA: ca, BasicConstraintsValid: true,
			NotBefore: time.Unix(1_700_000_000, 0), NotAfter: time.Unix(2_500_000_000, 0), KeyUsage: x509.KeyUsageDigitalSignature}
		if ca {
			template.KeyUsage = x509.KeyUsageCertSign
		} else {
			template.DNSNames = []string{"www.example.test"}
		}
		if parent == nil {
			parent = template
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	rootKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	intermediateKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f.root = sign("root", 1, true, rootKey.Public(), nil, rootKey)
	f.intermediate = sign("intermediate", 2, true, intermediateKey.Public(), f.root, rootKey)
	f.leaf = sign("www.example.test", 3, false, key.Public(), f.intermediate, intermediateKey)
	return f
}

// rsaKey is made once: it takes a while.
var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func keys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	r, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]crypto.Signer{"RSA": r, "P-256": p256, "P-521": p521, "Ed25519": ed}
}

func p256Family(t testing.TB) *family {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return newFamily(t, key)
}

// write puts key.pem, leaf.pem and a chain.pem, root first, into a directory.
func (f *family) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(f.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"key.pem":   pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}),
		"leaf.pem":  WriteChainPEM([]*x509.Certificate{f.leaf}),
		"chain.pem": WriteChainPEM([]*x509.Certificate{f.root, f.intermediate}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// holds fails unless the bundle is this family, leaf first.
func (f *family) holds(t testing.TB, b *Bundle) {
	t.Helper()
	if b.Key == nil || !b.Key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(f.key.Public()) {
		t.Error("the key is another one")
	}
	if len(b.Certificates) != 3 || !b.Leaf.Equal(f.leaf) {
		t.Fatalf("%d certificates, the leaf is %v", len(b.Certificates), b.Leaf.Subject)
	}
	for i, want := range f.chain() {
		if !b.Certificates[i].Equal(want) {
			t.Errorf("certificate %d is %v, want %v", i, b.Certificates[i].Subject, want.Subject)
		}
	}
}
