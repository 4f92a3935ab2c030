package cert_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/key/keytest"
)

func inHardware(kty string) func(*cert.Policy) {
	return func(p *cert.Policy) { p.Key = cert.KeyProps{Kty: kty} }
}

// keyOf is what callers see of the key behind a certificate.
func (w *world) keyOf(name string) *key.Facts {
	w.T.Helper()
	it, err := w.keys.Get(w.Ctx, w.call(), key.Selector{Name: name})
	w.do(err)
	f, err := key.Describe(it.Version)
	w.do(err)
	return f
}

// The key of a certificate that is to be in hardware is made in the token, signs there, and is in no file.
func TestKeysOfCertificatesAreInTheToken(t *testing.T) {
	for _, hardware := range []bool{true, false} {
		token := keytest.NewToken(hardware)
		w := newWorldWith(t, token)
		for i, kty := range []string{"EC-HSM", "RSA-HSM"} {
			w.create(kty, policy("Self", inHardware(kty)))
			if f := w.keyOf(kty); f.Token != "hsm-1" || f.Hardware != hardware || f.Kty() != kty || token.Count() != i+1 {
				t.Errorf("%s: %+v; the token has %d keys", kty, f, token.Count())
			}
			_, p, f := w.get(kty)
			leaf, err := x509.ParseCertificate(f.Leaf)
			w.do(err)
			if err := leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil || *p.Key.Exportable {
				t.Errorf("%s: %v, %+v", kty, err, p.Key)
			}
			if _, value := w.secretOf(kty); strings.Contains(string(value), "PRIVATE") {
				t.Errorf("%s: the secret has a key", kty)
			}
		}
		w.create("plain", policy("Self"))
		if f := w.keyOf("plain"); f.Token != "" || f.Hardware || token.Count() != 2 {
			t.Errorf("%+v; the token has %d keys", f, token.Count())
		}
	}
}

// An authority signs with its key in the token, while that is there.
func TestAuthoritySignsInTheToken(t *testing.T) {
	token := keytest.NewToken(true)
	w := newWorldWith(t, token)
	w.create("root", policy("Self", inHardware("EC-HSM")))
	a, err := w.svc.Authority(w.Ctx, w.Vault, "root", "")
	w.do(err)
	digest := sha256.Sum256([]byte("to be signed"))
	_, err = a.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
	w.do(err)
	token.Away(true)
	if _, err := w.svc.Authority(w.Ctx, w.Vault, "root", ""); !fault.Is(err, fault.Unavailable) {
		t.Errorf("while the token is away: %v", err)
	}
	_, _, err = w.svc.Create(w.Ctx, w.call(), "other", cert.Input{Policy: policy("Self", inHardware("EC-HSM"))})
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("a certificate while the token is away: %v", err)
	}
}

// A renewal makes its key where the one before is, and a policy that keeps the key keeps it there.
func TestRenewalInTheToken(t *testing.T) {
	token := keytest.NewToken(true)
	w := newWorldWith(t, token)
	yes := true
	w.create("kept", policy("Self", inHardware("EC-HSM"), func(p *cert.Policy) { p.Key.Reuse = &yes }))
	w.create("fresh", policy("Self", inHardware("EC-HSM")))
	w.now.Advance(300 * day)
	w.due()
	_, _, kept := w.get("kept")
	if f := w.keyOf("kept"); f.Token != "hsm-1" || token.Count() != 3 {
		t.Errorf("after a renewal of each: %+v, %d keys in the token", f, token.Count())
	}
	leaf, err := x509.ParseCertificate(kept.Leaf)
	w.do(err)
	if !certfile.Matches(leaf, mustKey(t, w.keyOf("kept"))) {
		t.Error("the certificate is for another key")
	}
	// Another kind is another key, outside.
	_, _, err = w.svc.SetPolicy(w.Ctx, w.call(), "kept", cert.PolicyChange{Key: &cert.KeyProps{Kty: "EC", Reuse: &yes}})
	w.do(err)
	w.create("kept", nil)
	if f := w.keyOf("kept"); f.Token != "" || token.Count() != 3 {
		t.Errorf("after the policy left the token: %+v, %d keys in it", f, token.Count())
	}
	w.create("kept", policy("Self", inHardware("EC-HSM"), func(p *cert.Policy) { p.Key.Reuse = &yes }))
	if f := w.keyOf("kept"); f.Token != "hsm-1" || token.Count() != 4 {
		t.Errorf("after it came back: %+v, %d keys in it", f, token.Count())
	}

	// A server that was started without the token makes no key outside of it in silence.
	w.bind(nil)
	w.open()
	_, _, err = w.svc.Create(w.Ctx, w.call(), "fresh", cert.Input{})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), `"hsm-1"`) {
		t.Errorf("without the token: %v", err)
	}
}

func mustKey(t *testing.T, f *key.Facts) crypto.PublicKey {
	t.Helper()
	public, err := f.Public.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public.CryptoKey()
}

// What a token does not let out is refused to who asks for it, and a policy from before it was there goes on as it was.
func TestWhatATokenKeepsOfCertificates(t *testing.T) {
	w := newWorld(t)
	yes := true
	w.create("before", policy("Self", inHardware("EC-HSM")))
	if f := w.keyOf("before"); f.Token != "" || !f.HSM {
		t.Errorf("without a token: %+v", f)
	}
	token := keytest.NewToken(true)
	w.bind(token)
	w.open()
	w.create("before", nil)
	if f := w.keyOf("before"); f.Token != "" || token.Count() != 0 {
		t.Errorf("a policy whose key leaves: %+v", f)
	}
	leaves := cert.KeyProps{Kty: "EC-HSM", Exportable: &yes}
	_, _, err := w.svc.Create(w.Ctx, w.call(), "web", cert.Input{Policy: policy("Self", func(p *cert.Policy) { p.Key = leaves })})
	w.fails(err, fault.Unsupported, "")
	_, _, err = w.svc.SetPolicy(w.Ctx, w.call(), "before", cert.PolicyChange{Key: &leaves})
	w.fails(err, fault.Unsupported, "")
	w.create("web", policy("Self", inHardware("EC-HSM")))
	_, err = w.svc.Backup(w.Ctx, w.call(), "web")
	w.fails(err, fault.Unsupported, "KeyInToken")
	_, _, err = w.svc.Delete(w.Ctx, w.call(), "web")
	w.do(err)
	w.do(w.svc.Purge(w.Ctx, w.call(), "web"))
	if token.Count() != 0 {
		t.Errorf("a purged certificate left %d keys in the token", token.Count())
	}
}

// A certificate that was made elsewhere brings its key into the token.
func TestImportIntoTheToken(t *testing.T) {
	token := keytest.NewToken(true)
	w := newWorldWith(t, token)
	made := newWorld(t)
	made.create("web", policy("Self", func(p *cert.Policy) { p.Secret.ContentType = cert.TypePEM }))
	_, pem := made.secretOf("web")
	_, _, err := w.svc.Import(w.Ctx, w.call(), "web", cert.File{Value: pem}, cert.Input{Policy: policy("Unknown", inHardware("EC-HSM"))})
	w.do(err)
	if f := w.keyOf("web"); f.Token != "hsm-1" || token.Count() != 1 {
		t.Errorf("%+v", f)
	}
	if _, value := w.secretOf("web"); strings.Contains(string(value), "PRIVATE") {
		t.Error("the secret has the key")
	}
}

// A key that was made for a version which then was not stored is not left in the token.
func TestNoKeyIsLeftInTheToken(t *testing.T) {
	token := keytest.NewToken(true)
	w := newWorldWith(t, token)
	w.create("web", policy("Self", inHardware("EC-HSM")))
	times := 0
	w.asked = func() {
		if times++; times == 1 {
			_, _, err := w.svc.Update(w.Ctx, w.call(), cert.Selector{Name: "web"}, cert.Change{Tags: map[string]string{"changed": "meanwhile"}})
			w.do(err)
		}
	}
	w.create("web", nil)
	if times < 2 || token.Count() != 2 {
		t.Errorf("asked %d times; the token has %d keys, and not one for each version", times, token.Count())
	}
}

// A token that comes back lets its certificates go on.
func TestOperationWaitsForTheToken(t *testing.T) {
	token := keytest.NewToken(true)
	w := newWorldWith(t, token)
	a := w.newAuthority(pending(time.Minute))
	a.steps = append(a.steps, a.issue)
	w.create("web", policy("slow", inHardware("EC-HSM")))
	w.due()
	token.Away(true)
	w.now.Advance(2 * time.Minute)
	_, _ = w.svc.Due(w.Ctx)
	if op := w.operation("web"); op.Status != cert.InProgress {
		t.Fatalf("while the token is away: %+v", op)
	}
	token.Away(false)
	w.now.Advance(2 * time.Hour)
	a.steps = append(a.steps, a.issue)
	w.due()
	if op := w.operation("web"); op.Status != cert.Completed {
		t.Errorf("when it is back: %+v", op)
	}
}
