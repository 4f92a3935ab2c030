package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/keywright/keywright/internal/clock"
)

// Names of the private CA's files in a development directory.
const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"
)

// Lifetimes of the development CA and of what it issues. The latter is below the 398 days that TLS clients accept.
const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 90 * 24 * time.Hour
	// leafRenewal is how long before its end a certificate is replaced.
	leafRenewal = 30 * 24 * time.Hour
)

// authority is the private CA of a development server. It issues a certificate for whatever name or loop-back address a
// client asks for, if allow says so, and keeps it in memory.
type authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	clock clock.Clock
	allow func(name string) bool

	// flights issues once for all handshakes that ask for a name at a time, and issuing bounds how many names are issued for at once: a
	// client that invents names takes turns with the others at its own work, and delays no handshake whose certificate is there.
	flights singleflight.Group
	issuing chan struct{}

	mu     sync.Mutex // guards issued
	issued map[string]*tls.Certificate
}

// maxIssuing is how many certificates are made at the same time.
const maxIssuing = 4

// maxIssued bounds the certificates in memory; beyond it all are issued anew.
const maxIssued = 1024

// openAuthority reads the CA of a directory or makes one.
func openAuthority(dir string, c clock.Clock, allow func(string) bool) (*authority, error) {
	a := &authority{clock: c, allow: allow, issued: make(map[string]*tls.Certificate), issuing: make(chan struct{}, maxIssuing)}
	err := a.read(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := a.make(); err != nil {
			return nil, fmt.Errorf("making the private CA: %w", err)
		}
		return a, a.write(dir)
	case err != nil:
		return nil, fmt.Errorf("reading the private CA in %s: %w; remove %s and %s to have a new one made", dir, err, caFile, caKeyFile)
	}
	if c.Now().After(a.cert.NotAfter.Add(-leafLifetime)) {
		return nil, fmt.Errorf("the private CA in %s ends on %s: remove %s and %s to have a new one made", dir,
			a.cert.NotAfter.Format(time.DateOnly), caFile, caKeyFile)
	}
	return a, nil
}

func (a *authority) read(dir string) error {
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, caFile), filepath.Join(dir, caKeyFile))
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return errors.New("its key is not an ECDSA key")
	}
	a.cert, a.key = pair.Leaf, key
	return nil
}

func (a *authority) make() (err error) {
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	now := a.clock.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Keywright development CA"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		return err
	}
	a.cert, err = x509.ParseCertificate(der)
	return err
}

func (a *authority) write(dir string) error {
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, caKeyFile), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, caFile), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o644)
}

// serial is random: 127 bits, positive (CA/Browser Forum baseline requirements ask for 64 at least).
func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return n
}

// certificate answers a TLS handshake: by the name that the client asks for or, when it connects to an address, by that.
func (a *authority) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if name == "" {
		name = localAddress(hello.Conn)
	}
	if !a.allow(name) {
		return nil, fmt.Errorf("no certificate for %q: it is not a name of this server", name)
	}
	if c := a.known(name); c != nil {
		return c, nil
	}
	v, err, _ := a.flights.Do(name, func() (any, error) {
		if c := a.known(name); c != nil { // made since
			return c, nil
		}
		a.issuing <- struct{}{}
		defer func() { <-a.issuing }()
		c, err := a.issue(name)
		if err == nil {
			a.keep(name, c)
		}
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate for %q: %w", name, err)
	}
	return v.(*tls.Certificate), nil
}

// known returns the certificate that was issued for the name, if it lasts.
func (a *authority) known(name string) *tls.Certificate {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.issued[name]; c != nil && a.clock.Now().Before(c.Leaf.NotAfter.Add(-leafRenewal)) {
		return c
	}
	return nil
}

func (a *authority) keep(name string, c *tls.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.issued) >= maxIssued {
		clear(a.issued)
	}
	a.issued[name] = c
}

func localAddress(c net.Conn) string {
	if ap, err := netip.ParseAddrPort(c.LocalAddr().String()); err == nil {
		return ap.Addr().Unmap().String()
	}
	return ""
}

func (a *authority) issue(name string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := a.clock.Now()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(leafLifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// writeFile replaces a file atomically and durably: what is there afterwards is the old content or all of the new.
func writeFile(path string, content []byte, mode os.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	if err := errors.Join(tmp.Chmod(mode), writeSync(tmp, content), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func writeSync(f *os.File, content []byte) error {
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
