package template_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"net/url"
	"slices"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer/template"
)

func request(t testing.TB, r x509.CertificateRequest) *x509.CertificateRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &r, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func TestNames(t *testing.T) {
	csr := request(t, x509.CertificateRequest{DNSNames: []string{"a.test", "*.b.test"}, EmailAddresses: []string{"me@c.test"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1), net.IPv6loopback},
		URIs: []*url.URL{{Scheme: "spiffe", Host: "d.test", Path: "/e"}}})
	names, raw, err := template.Names(csr)
	want := []template.Name{{template.DNS, "a.test"}, {template.DNS, "*.b.test"}, {template.Email, "me@c.test"}, {template.IP, "192.0.2.1"}, {template.IP, "::1"},
		{template.URI, "spiffe://d.test/e"}}
	if err != nil || !slices.Equal(names, want) || len(raw) == 0 {
		t.Errorf("%v, %v", names, err)
	}
	if names, raw, err := template.Names(request(t, x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}})); err != nil || names != nil || raw != nil {
		t.Errorf("%v, %x, %v", names, raw, err)
	}
}

// extension is a request with this value as its alternative names.
func extension(value []byte) *x509.CertificateRequest {
	return &x509.CertificateRequest{Extensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}}}
}

func TestNamesThatAreNotCertified(t *testing.T) {
	wrap := func(tag byte, value string) []byte {
		return append([]byte{0x30, byte(len(value) + 2), tag, byte(len(value))}, value...)
	}
	for name, value := range map[string][]byte{
		"empty": {0x30, 0}, "no sequence": {4, 0}, "trailing": append(wrap(0x82, "a.test"), 0), "short": {0x30, 5, 0x82, 9}, "no name": wrap(0x82, ""),
		"space": wrap(0x82, "a b"), "nul": wrap(0x82, "a.test\x00.evil"), "dash": wrap(0x82, "-a.test"), "star": wrap(0x82, "*"), "two stars": wrap(0x82, "*.*.test"), "dot": wrap(0x82, "a.test."),
		"address": wrap(0x87, "abc"), "mail": wrap(0x81, "nobody"), "uri": wrap(0x86, "/relative"), "directory name": wrap(0xa4, "\x30\x00"), "registered id": wrap(0x88, "\x2a"),
		"other name": wrap(0xa0, "\x06\x01\x2a\xa0\x02\x0c\x00"),
	} {
		if names, _, err := template.Names(extension(value)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, %v", name, names, err)
		}
	}
	twice := extension(wrap(0x82, "a.test"))
	twice.Extensions = append(twice.Extensions, twice.Extensions...)
	if _, _, err := template.Names(twice); !fault.Is(err, fault.Invalid) {
		t.Errorf("two lists: %v", err)
	}
}

// What is read here is what Go's own parser reads, and nothing that it does not.
func FuzzNames(f *testing.F) {
	f.Add([]byte{0x30, 8, 0x82, 6, 'a', '.', 't', 'e', 's', 't'})
	f.Fuzz(func(t *testing.T, value []byte) {
		names, _, err := template.Names(extension(value))
		if err != nil {
			if fault.As(err) == nil || names != nil {
				t.Errorf("%v, %v", names, err)
			}
			return
		}
		for _, n := range names {
			if n.Value == "" || n.Kind == 0 {
				t.Errorf("%+v", n)
			}
		}
	})
}
