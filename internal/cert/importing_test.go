package cert_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"strings"
	"sync"
	"testing"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/secret"
)

// brought is a certificate with its key that was made elsewhere.
func (w *world) brought(signer crypto.Signer) *certfile.Bundle {
	w.T.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "brought.example"}, DNSNames: []string{"brought.example"}, NotBefore: noon.Add(-day),
		NotAfter: noon.Add(60 * day), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	w.do(err)
	leaf, err := x509.ParseCertificate(der)
	w.do(err)
	b, err := certfile.New(signer, []*x509.Certificate{leaf}, false)
	w.do(err)
	return b
}

func ecKey(t testing.TB) *ecdsa.PrivateKey {
	return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
}

func pfxOf(t testing.TB, b *certfile.Bundle, password string) []byte {
	t.Helper()
	return []byte(base64.StdEncoding.EncodeToString(must(certfile.WritePFX(b, password, certfile.Modern))(t)))
}

func (w *world) imports(name string, f cert.File, in cert.Input) (cert.Item, *cert.Policy, error) {
	return w.svc.Import(w.Ctx, w.call(), name, f, in)
}

func TestImport(t *testing.T) {
	w := newWorld(t)
	b := w.brought(ecKey(t))
	no := false
	pem := must(certfile.WritePEM(b))(t)
	for name, c := range map[string]struct {
		file        cert.File
		in          cert.Input
		contentType string
		enabled     bool
		hasKey      bool
	}{
		"pfx":      {cert.File{Value: pfxOf(t, b, "open"), Password: redact.String("open")}, cert.Input{}, cert.TypePFX, true, true},
		"pfx-open": {cert.File{Value: pfxOf(t, b, "")}, cert.Input{}, cert.TypePFX, true, true},
		"pem":      {cert.File{Value: pem}, cert.Input{}, cert.TypePEM, true, true},
		"disabled": {cert.File{Value: pem}, cert.Input{Enabled: &no}, cert.TypePEM, false, true},
		"kept":     {cert.File{Value: pem}, cert.Input{Policy: &cert.Policy{Key: cert.KeyProps{Exportable: &no}}}, cert.TypePEM, true, false},
		"to-pfx":   {cert.File{Value: pem}, cert.Input{Policy: &cert.Policy{Secret: cert.SecretProps{ContentType: cert.TypePFX}}}, cert.TypePFX, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			it, p, err := w.imports(name, c.file, c.in)
			if err != nil {
				t.Fatal(err)
			}
			f := must(cert.Describe(it.Version))(t)
			if !bytes.Equal(f.Leaf, b.Leaf.Raw) || it.Version.Attributes.Enabled != c.enabled || !it.Version.Attributes.Expires.Equal(b.Leaf.NotAfter) {
				t.Errorf("%+v", it.Version.Attributes)
			}
			if p.Issuer.Name != cert.UnknownIssuer || p.X509.Subject != "CN=brought.example" || p.Key.Curve != "P-256" || p.Secret.ContentType != c.contentType || strings.Join(p.X509.KeyUsage, " ") != "digitalSignature" {
				t.Errorf("policy %+v", p)
			}
			k := must(w.keys.Get(w.Ctx, w.call(), key.Selector{Name: name}))(t)
			if k.Version.ID != it.Version.ID || k.Version.Attributes.Enabled != c.enabled || !k.Object.Managed {
				t.Errorf("the key is %+v", k.Version.Attributes)
			}
			s, value, err := w.secrets.Get(w.Ctx, w.call(), secret.Selector{Name: name}, nil)
			if !c.enabled {
				w.fails(err, fault.Forbidden, "SecretDisabled")
				return
			}
			if err != nil || s.Version.ContentType != c.contentType {
				t.Fatalf("the secret: %v, %+v", err, s.Version)
			}
			if c.contentType == cert.TypePEM {
				if bytes.Contains(value, []byte("PRIVATE KEY")) != c.hasKey || !bytes.Contains(value, []byte("BEGIN CERTIFICATE")) {
					t.Error("the secret has the key and should not, or the other way round")
				}
				return
			}
			out := must(certfile.ReadPFX(must(base64.StdEncoding.DecodeString(string(value)))(t), "", false))(t)
			if out.Key == nil || !out.Leaf.Equal(b.Leaf) {
				t.Error("the PFX file in the secret is another one")
			}
		})
	}
}

func TestImportRefuses(t *testing.T) {
	w := newWorld(t)
	b := w.brought(ecKey(t))
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	w.do(err)
	keyless := certfile.WriteChainPEM(b.Certificates)
	for name, f := range map[string]cert.File{
		"another password":                {Value: pfxOf(t, b, "open"), Password: "shut"},
		"no password":                     {Value: pfxOf(t, b, "open")},
		"no key":                          {Value: keyless},
		"nothing":                         {},
		"no file":                         {Value: []byte("what is this?")},
		"a key of a kind that has no use": {Value: must(certfile.WritePEM(w.brought(edwards)))(t)},
		"another's key":                   {Value: append(must(certfile.WritePEM(&certfile.Bundle{Key: ecKey(t)}))(t), keyless...)},
	} {
		_, _, err := w.imports("web", f, cert.Input{})
		if k := fault.Of(err); k != fault.Invalid && k != fault.Unsupported {
			t.Errorf("%s: %v (%v)", name, err, k)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: the error quotes the file", name)
		}
	}
	pem := must(certfile.WritePEM(b))(t)
	for _, name := range []string{"issuers", "Contacts", "a_b"} {
		_, _, err := w.imports(name, cert.File{Value: pem}, cert.Input{})
		w.fails(err, fault.Invalid, "")
	}
	w.create("web", policy("Unknown"))
	_, _, err = w.imports("web", cert.File{Value: pem}, cert.Input{})
	w.fails(err, fault.Conflict, cert.InProgressReason)
	_, _, err = w.svc.Cancel(w.Ctx, w.call(), "web")
	w.do(err)
	_, _, err = w.imports("web", cert.File{Value: pem}, cert.Input{})
	w.do(err)
	_, _, err = w.svc.Operation(w.Ctx, w.call(), "web", "")
	w.fails(err, fault.NotFound, cert.NoOperation)
}

// Whoever comes first wins, the others are told so, and the three sides are never of different versions.
func TestCreateAgainstImport(t *testing.T) {
	w := newWorld(t)
	pem := must(certfile.WritePEM(w.brought(ecKey(t))))(t)
	w.create("web", policy("Self"))
	var all sync.WaitGroup
	for i := range 8 {
		call := w.call()
		all.Go(func() {
			var err error
			if i%2 == 0 {
				_, _, err = w.svc.Create(w.Ctx, call, "web", cert.Input{Policy: policy("Self")})
			} else {
				_, _, err = w.svc.Import(w.Ctx, call, "web", cert.File{Value: bytes.Clone(pem)}, cert.Input{})
			}
			if err != nil && !fault.Is(err, fault.Conflict) {
				t.Errorf("call %d: %v", i, err)
			}
		})
	}
	all.Wait()
	w.due()
	it, _, f := w.get("web")
	k := must(w.keys.Get(w.Ctx, w.call(), key.Selector{Name: "web"}))(t)
	s, value := w.secretOf("web")
	if k.Version.ID != it.Version.ID || s.Version.ID != it.Version.ID {
		t.Fatalf("versions %s, %s, %s", it.Version.ID, k.Version.ID, s.Version.ID)
	}
	var b *certfile.Bundle
	if s.Version.ContentType == cert.TypePEM {
		b = must(certfile.ReadPEM(value, false))(t)
	} else {
		b = must(certfile.ReadPFX(must(base64.StdEncoding.DecodeString(string(value)))(t), "", false))(t)
	}
	if !bytes.Equal(b.Leaf.Raw, f.Leaf) {
		t.Error("the secret holds another certificate")
	}
}

func TestBackup(t *testing.T) {
	w := newWorld(t)
	w.create("web", policy("Self"))
	w.now.Advance(day)
	w.create("web", nil)
	before, policyBefore, _ := w.get("web")
	_, valueBefore := w.secretOf("web")
	blob, err := w.svc.Backup(w.Ctx, w.call(), "web")
	w.do(err)
	_, _, err = w.svc.Restore(w.Ctx, w.call(), blob)
	w.fails(err, fault.Conflict, "ObjectAlreadyExists")
	_, _, err = w.svc.Delete(w.Ctx, w.call(), "web")
	w.do(err)
	w.do(w.svc.Purge(w.Ctx, w.call(), "web"))

	// A key of one's own has taken the name.
	_, err = w.keys.Create(w.Ctx, w.call(), "web", key.Spec{Kty: "EC"}, key.Input{Enabled: true})
	w.do(err)
	_, _, err = w.svc.Restore(w.Ctx, w.call(), blob)
	w.fails(err, fault.Conflict, "ObjectAlreadyExists")
	_, err = w.secrets.GetDeleted(w.Ctx, w.call(), "web")
	w.fails(err, fault.NotFound, "SecretNotFound")
	_, err = w.keys.Delete(w.Ctx, w.call(), "web")
	w.do(err)
	w.do(w.keys.Purge(w.Ctx, w.call(), "web"))

	it, p, err := w.svc.Restore(w.Ctx, w.call(), blob)
	w.do(err)
	if it.Version.ID != before.Version.ID || !it.Version.Attributes.Created.Equal(before.Version.Attributes.Created) || p.X509.Subject != policyBefore.X509.Subject {
		t.Errorf("%+v", it.Version.Attributes)
	}
	if _, value := w.secretOf("web"); !bytes.Equal(value, valueBefore) {
		t.Error("the secret came back changed")
	}
	if k := must(w.keys.Get(w.Ctx, w.call(), key.Selector{Name: "web"}))(t); k.Version.ID != before.Version.ID || !k.Object.Managed {
		t.Errorf("the key came back as %s", k.Version.ID)
	}
	// It is renewed as before.
	w.now.Advance(300 * day)
	w.due()
	if it, _, _ := w.get("web"); it.Version.ID == before.Version.ID {
		t.Error("a restored certificate is not renewed")
	}
	for name, bad := range map[string][]byte{"nothing": nil, "damaged": append(bytes.Clone(blob[:len(blob)-1]), blob[len(blob)-1]^1), "short": blob[:len(blob)/2]} {
		_, _, err := w.svc.Restore(w.Ctx, w.call(), bad)
		if !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.create("waiting", policy("Unknown"))
	_, err = w.svc.Backup(w.Ctx, w.call(), "waiting")
	w.fails(err, fault.Conflict, "")
}
