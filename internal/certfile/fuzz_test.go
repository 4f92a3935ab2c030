package certfile

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"testing"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/keywright/keywright/internal/fault"
)

// What parses is DER: converting it again changes nothing, and what was DER before came out as it was.
func FuzzBER(f *testing.F) {
	f.Add([]byte{0x30, 0x80, 2, 1, 3, 0, 0})
	f.Add([]byte{0x24, 0x80, 4, 1, 'a', 4, 1, 'b', 0, 0})
	f.Add(streamedPFX(f, p256Family(f), "p"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > MaxFileBytes {
			return
		}
		der, err := toDER(in)
		if err != nil {
			if fault.As(err) == nil || der != nil {
				t.Errorf("%x, %v", der, err)
			}
			return
		}
		again, err := toDER(der)
		if err != nil || !bytes.Equal(again, der) {
			t.Errorf("%x became %x, then %x, %v", in, der, again, err)
		}
		if len(der) > 3*len(in) {
			t.Errorf("%d bytes became %d", len(in), len(der))
		}
		var raw asn1.RawValue
		if rest, err := asn1.Unmarshal(in, &raw); err == nil && len(rest) == 0 && !raw.IsCompound && !bytes.Equal(in, der) {
			t.Errorf("%x is DER and became %x", in, der)
		}
	})
}

// Nothing breaks the reader, errors have kinds, and what the library reads is read here, with the same key.
func FuzzPFX(f *testing.F) {
	fam := p256Family(f)
	for _, encoder := range []*pkcs12.Encoder{pkcs12.Modern2026, pkcs12.Modern2023, pkcs12.LegacyDES, pkcs12.LegacyRC2} {
		data, err := encoder.WithIterations(2).Encode(fam.key, fam.leaf, []*x509.Certificate{fam.root}, "p")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(streamedPFX(f, fam, "p"))
	f.Fuzz(func(t *testing.T, in []byte) {
		b, err := ReadPFX(in, "p", false)
		if err != nil {
			if fault.As(err) == nil || b != nil {
				t.Errorf("%v has no kind", err)
			}
			return
		}
		if b.Leaf == nil || len(b.Certificates) == 0 || b.Key != nil && !Matches(b.Leaf, b.Key.Public()) {
			t.Error("the bundle does not fit together")
		}
		if b.Key == nil {
			return
		}
		out, err := WritePFX(b, "q", Modern)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := pkcs12.DecodeChain(out, "q"); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

// What is read can be written, and is the same when it is read again.
func FuzzPEM(f *testing.F) {
	fam := p256Family(f)
	b, err := New(fam.key, fam.chain(), false)
	if err != nil {
		f.Fatal(err)
	}
	text, err := WritePEM(b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(WriteChainPEM(fam.chain()))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _ = ReadCertificates(in)
		b, err := ReadPEM(in, false)
		if err != nil {
			if fault.As(err) == nil || b != nil {
				t.Errorf("%v has no kind", err)
			}
			return
		}
		text, err := WritePEM(b)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ReadPEM(text, false)
		if err != nil || !again.Leaf.Equal(b.Leaf) || len(again.Certificates) != len(b.Certificates) {
			t.Errorf("%v", err)
		}
	})
}

// A request that is taken proves its key.
func FuzzRequest(f *testing.F) {
	fam := p256Family(f)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.test"}}, fam.key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ReadRequest(in)
		if err == nil && r.CheckSignature() != nil {
			t.Error("the signature does not fit")
		}
		if err != nil && fault.As(err) == nil {
			t.Errorf("%v has no kind", err)
		}
	})
}
