package certfile

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keywright/keywright/internal/fault"
)

// writeCMS is readCMS backwards, in DER.
func writeCMS(t testing.TB, certificates []*x509.Certificate) []byte {
	t.Helper()
	var b cryptobyte.Builder
	oid := func(b *cryptobyte.Builder, id ...int) { b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier(id)) }
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		oid(b, 1, 2, 840, 113549, 1, 7, 2)
		b.AddASN1(explicit0, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1Int64(1)
				b.AddASN1(cbasn1.SET, func(*cryptobyte.Builder) {})
				b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { oid(b, 1, 2, 840, 113549, 1, 7, 1) })
				b.AddASN1(explicit0, func(b *cryptobyte.Builder) {
					for _, c := range certificates {
						b.AddBytes(c.Raw)
					}
				})
				b.AddASN1(cbasn1.SET, func(*cryptobyte.Builder) {})
			})
		})
	})
	der, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// streamedCMS is writeCMS as Windows does it: everything that is constructed has an indefinite length.
func streamedCMS(t testing.TB, certificates []*x509.Certificate) []byte {
	t.Helper()
	var set [][]byte
	for _, c := range certificates {
		set = append(set, c.Raw)
	}
	signed := streamed(0x30, []byte{2, 1, 1}, streamed(0x31), streamed(0x30, oid(t, oidData)), streamed(0xa0, set...), streamed(0x31))
	return streamed(0x30, oid(t, oidSignedData), streamed(0xa0, signed))
}

func TestReadsChainsInCMS(t *testing.T) {
	f := p256Family(t)
	want := []*x509.Certificate{f.root, f.leaf, f.intermediate}
	for name, data := range map[string][]byte{
		"DER":       writeCMS(t, want),
		"BER":       streamedCMS(t, want),
		"PEM":       pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: writeCMS(t, want)}),
		"PEM, CMS":  pem.EncodeToMemory(&pem.Block{Type: "CMS", Bytes: streamedCMS(t, want)}),
		"PEM, both": append(WriteChainPEM(want[:1]), pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: writeCMS(t, want[1:])})...),
	} {
		got, err := ReadCertificates(data)
		if err != nil || !slices.EqualFunc(got, want, (*x509.Certificate).Equal) {
			t.Errorf("%s: %d certificates, %v", name, len(got), err)
		}
	}
	key, err := WritePEM(&Bundle{Key: f.key})
	if err != nil {
		t.Fatal(err)
	}
	b, err := ReadPEM(append(key, pem.EncodeToMemory(&pem.Block{Type: "PKCS7", Bytes: writeCMS(t, want)})...), false)
	if err != nil {
		t.Fatal(err)
	}
	f.holds(t, b)
}

func TestRefusesOtherCMS(t *testing.T) {
	f := p256Family(t)
	good := writeCMS(t, f.chain())
	for name, data := range map[string][]byte{
		"cut off":         good[:len(good)-1],
		"with more":       append(bytes.Clone(good), 0x30, 0),
		"of data":         streamed(0x30, oid(t, oidData), streamed(0xa0, []byte{4, 0})),
		"without any":     writeCMS(t, nil),
		"not CMS":         {0x30, 3, 6, 1, 42},
		"of another kind": streamed(0x30, oid(t, oidSignedData), streamed(0xa0, streamed(0x30, []byte{2, 1, 1}, streamed(0x31), streamed(0x30, oid(t, oidData)), streamed(0xa0, []byte{0xa1, 0}), streamed(0x31)))),
		"too many":        writeCMS(t, slices.Repeat([]*x509.Certificate{f.leaf}, MaxCertificates+1)),
	} {
		if got, err := ReadCertificates(data); err == nil || fault.As(err) == nil || got != nil {
			t.Errorf("%s: %d certificates, %v", name, len(got), err)
		}
	}
}

// What OpenSSL makes of a chain is read, and what is written for the tests above OpenSSL reads.
func TestOpenSSLWritesCMS(t *testing.T) {
	f, dir := p256Family(t), t.TempDir()
	chain := filepath.Join(dir, "chain.pem")
	if err := os.WriteFile(chain, WriteChainPEM(f.chain()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"PEM", "DER"} {
		out := filepath.Join(dir, form+".p7b")
		run(t, dir, "openssl", "crl2pkcs7", "-nocrl", "-certfile", chain, "-outform", form, "-out", out)
		data, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadCertificates(data)
		if err != nil || !slices.EqualFunc(got, f.chain(), (*x509.Certificate).Equal) {
			t.Errorf("%s: %d certificates, %v", form, len(got), err)
		}
	}
	ours := filepath.Join(dir, "ours.p7b")
	if err := os.WriteFile(ours, streamedCMS(t, f.chain()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "openssl", "pkcs7", "-inform", "DER", "-in", ours, "-print_certs", "-noout")
}

// What is read is X.509, in the order of the file, and errors have kinds.
func FuzzCMS(f *testing.F) {
	fam := p256Family(f)
	f.Add(writeCMS(f, fam.chain()))
	f.Add(streamedCMS(f, fam.chain()))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > MaxFileBytes {
			return
		}
		got, err := readCMS(in)
		if err != nil {
			if fault.As(err) == nil || got != nil {
				t.Errorf("%v has no kind", err)
			}
			return
		}
		again, err := readCMS(writeCMS(t, got))
		if err != nil || len(got) == 0 || !slices.EqualFunc(got, again, (*x509.Certificate).Equal) {
			t.Errorf("%d certificates, then %d, %v", len(got), len(again), err)
		}
	})
}
