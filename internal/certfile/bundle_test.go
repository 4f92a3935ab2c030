package certfile

import (
	"crypto/rand"
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/keywright/keywright/internal/fault"
)

func TestOrder(t *testing.T) {
	f, stranger := p256Family(t), p256Family(t)
	for _, given := range [][]*x509.Certificate{
		{f.leaf, f.intermediate, f.root}, {f.root, f.intermediate, f.leaf}, {f.intermediate, f.leaf, f.root}, {f.root, f.leaf, f.leaf, f.intermediate, f.root},
	} {
		for _, key := range []bool{true, false} {
			b := must(t)(New(f.key, given, false))
			if !key {
				b = must(t)(New(nil, given, false))
			}
			if !slices.EqualFunc(b.Certificates, f.chain(), (*x509.Certificate).Equal) {
				t.Errorf("the order is %v", b.Certificates)
			}
			if kept := must(t)(New(f.key, given, true)); !kept.Certificates[0].Equal(given[0]) || len(kept.Certificates) != 3 || !kept.Leaf.Equal(f.leaf) {
				t.Error("the order given is not kept")
			}
		}
	}
	// Both families have the same names: key ids tell them apart, and what is not on the path follows it.
	b := must(t)(New(f.key, []*x509.Certificate{stranger.root, stranger.intermediate, f.root, f.intermediate, f.leaf}, false))
	if !slices.EqualFunc(b.Certificates[:3], f.chain(), (*x509.Certificate).Equal) || !b.Certificates[3].Equal(stranger.root) {
		t.Error("the stranger's certificates are on the path")
	}
	if _, err := New(f.key, stranger.chain(), false); fault.As(err) == nil || fault.As(err).Reason != ReasonMismatch {
		t.Errorf("a stranger's key gave %v", err)
	}
	if _, err := New(f.key, nil, false); !fault.Is(err, fault.Invalid) {
		t.Error(err)
	}
}

func must(t *testing.T) func(*Bundle, error) *Bundle {
	return func(b *Bundle, err error) *Bundle {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func TestPEMRefusals(t *testing.T) {
	f := p256Family(t)
	b := must(t)(New(f.key, f.chain(), false))
	text, err := WritePEM(b)
	if err != nil {
		t.Fatal(err)
	}
	keyAlone := text[:strings.Index(string(text), "-----BEGIN CERTIFICATE")]
	for name, c := range map[string]struct {
		text string
		says string
	}{
		"nothing":        {"", "neither a certificate nor"},
		"another text":   {"hello", "neither a certificate nor"},
		"key alone":      {string(keyAlone), "no certificate"},
		"two keys":       {string(keyAlone) + string(text), "several private keys"},
		"broken key":     {"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be read"},
		"no certificate": {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "cannot be read"},
	} {
		if _, err := ReadPEM([]byte(c.text), false); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCertificatesAndRequests(t *testing.T) {
	f := p256Family(t)
	for _, data := range [][]byte{WriteChainPEM(f.chain()), slices.Concat(f.leaf.Raw, f.intermediate.Raw, f.root.Raw)} {
		got, err := ReadCertificates(data)
		if err != nil || !slices.EqualFunc(got, f.chain(), (*x509.Certificate).Equal) {
			t.Errorf("%v, %v", got, err)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.test"}}, f.key)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := ReadRequest(der); err != nil || r.DNSNames[0] != "a.test" {
		t.Error(err)
	}
	der[len(der)-1] ^= 1
	if _, err := ReadRequest(der); !fault.Is(err, fault.Invalid) {
		t.Errorf("a broken signature gave %v", err)
	}
}

// The library's own encodings, one of which (PBMAC1) OpenSSL learnt in version 3.4.
func TestReadsWhatTheLibraryWrites(t *testing.T) {
	f := newFamily(t, keys(t)["RSA"])
	for name, encoder := range map[string]*pkcs12.Encoder{"2026": pkcs12.Modern2026, "2023": pkcs12.Modern2023, "DES": pkcs12.LegacyDES, "RC2": pkcs12.LegacyRC2} {
		data, err := encoder.Encode(f.key, f.leaf, []*x509.Certificate{f.root, f.intermediate}, "p")
		if err != nil {
			t.Fatal(err)
		}
		b, err := ReadPFX(data, "p", false)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		f.holds(t, b)
		if _, err := ReadPFX(data, "q", false); fault.As(err) == nil || fault.As(err).Reason != ReasonPassword {
			t.Errorf("%s: a wrong password gave %v", name, err)
		}
	}
}
