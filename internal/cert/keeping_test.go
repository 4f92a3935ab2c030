package cert_test

import (
	"bytes"
	"encoding/base64"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/certfile"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/vault"
)

// publicOf is the public key of a certificate's current version, and whether its secret holds the private one.
func (w *world) publicOf(name string) (spki []byte, leaves bool) {
	w.T.Helper()
	_, _, f := w.get(name)
	leaf, err := f.Certificate()
	w.do(err)
	_, value := w.secretOf(name)
	der, err := base64.StdEncoding.DecodeString(string(value))
	w.do(err)
	b, err := certfile.ReadPFX(der, "", false)
	w.do(err)
	return leaf.RawSubjectPublicKeyInfo, b.Key != nil
}

// A key that was not to leave does not leave because a later policy keeps keys and lets them leave.
func TestReusedKeyStaysWhereItWas(t *testing.T) {
	yes, no := true, false
	keeping := func(exportable *bool) *cert.Policy {
		return policy("Self", func(p *cert.Policy) { p.Key.Exportable, p.Key.Reuse = exportable, &yes })
	}
	for name, c := range map[string]struct {
		before, after *bool
		kept          bool
	}{
		"stays":          {&no, &no, true},
		"leaves":         {&yes, &yes, true},
		"leaves no more": {&yes, &no, true},
		"would leave":    {&no, &yes, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.create("web", keeping(c.before))
			before, left := w.publicOf("web")
			if left != *c.before {
				t.Fatalf("the first key leaves: %v", left)
			}
			w.now.Advance(time.Hour)
			w.create("web", keeping(c.after))
			after, leaves := w.publicOf("web")
			if kept := bytes.Equal(before, after); kept != c.kept || leaves != *c.after {
				t.Errorf("kept %v, leaves %v; want %v, %v", kept, leaves, c.kept, *c.after)
			}
		})
	}
	t.Run("imported", func(t *testing.T) {
		w := newWorld(t)
		_, _, err := w.imports("web", cert.File{Value: pfxOf(t, w.brought(ecKey(t)), "")}, cert.Input{Policy: &cert.Policy{Key: cert.KeyProps{Exportable: &no}}})
		w.do(err)
		before, _ := w.publicOf("web")
		w.now.Advance(time.Hour)
		w.create("web", keeping(&yes))
		if after, _ := w.publicOf("web"); bytes.Equal(before, after) {
			t.Error("an imported key that was not to leave has left")
		}
	})
}

// What is being made is made as was asked for: another policy counts from the next version on.
func TestPolicyOfOperationStays(t *testing.T) {
	w := newWorld(t)
	a := w.newAuthority(pending(time.Minute))
	a.steps = append(a.steps, a.issue)
	no, yes := false, true
	w.create("web", policy("slow", func(p *cert.Policy) { p.Key.Exportable = &no }))
	w.due()
	_, p, err := w.svc.SetPolicy(w.Ctx, w.call(), "web", cert.PolicyChange{Key: &cert.KeyProps{Kty: "EC", Exportable: &yes}, Secret: &cert.SecretProps{ContentType: cert.TypePEM}})
	w.do(err)
	if !*p.Key.Exportable {
		t.Errorf("the policy was not changed: %+v", p.Key)
	}
	w.now.Advance(time.Minute)
	w.due()
	s, _ := w.secretOf("web")
	if _, leaves := w.publicOf("web"); leaves || s.Version.ContentType != cert.TypePFX {
		t.Errorf("the version was made by the policy that came after it: its key leaves (%v), its secret is %s", leaves, s.Version.ContentType)
	}
	w.create("web", nil)
	w.due()
	if s, value := w.secretOf("web"); s.Version.ContentType != cert.TypePEM || !bytes.Contains(value, []byte("PRIVATE KEY")) {
		t.Errorf("the next version is %s; want PEM with the key", s.Version.ContentType)
	}
}

// What is changed of a version that waits for its issuer, it has when it is made.
func TestUpdateOfWaitingVersionStays(t *testing.T) {
	w := newWorld(t)
	a := w.newAuthority(pending(time.Minute))
	a.steps = append(a.steps, a.issue)
	w.create("web", policy("slow"))
	w.due()
	_, _, err := w.svc.Update(w.Ctx, w.call(), cert.Selector{Name: "web"}, cert.Change{Tags: map[string]string{"by": "hand"}})
	w.do(err)
	w.now.Advance(time.Minute)
	w.due()
	it, _, _ := w.get("web")
	s, _ := w.secretOf("web")
	if it.Version.Tags["by"] != "hand" || s.Version.Tags["by"] != "hand" {
		t.Errorf("tags %v, of the secret %v", it.Version.Tags, s.Version.Tags)
	}
}

// Nobody changes, recovers or destroys one side of a certificate alone.
func TestOneSideAloneStays(t *testing.T) {
	w := newWorld(t)
	w.create("web", policy("Self"))
	no := false
	_, err := w.keys.Update(w.Ctx, w.call(), key.Selector{Name: "web"}, key.Change{Enabled: &no})
	w.fails(err, fault.Forbidden, "")
	_, err = w.secrets.Update(w.Ctx, w.call(), secret.Selector{Name: "web"}, secret.Change{Tags: map[string]string{"a": "b"}})
	w.fails(err, fault.Forbidden, "")
	_, err = w.secrets.Delete(w.Ctx, w.call(), "web")
	w.fails(err, fault.Forbidden, "")
	_, _, err = w.svc.Delete(w.Ctx, w.call(), "web")
	w.do(err)
	_, err = w.secrets.Recover(w.Ctx, w.call(), "web")
	w.fails(err, fault.Forbidden, "")
	w.fails(w.keys.Purge(w.Ctx, w.call(), "web"), fault.Forbidden, "")
	_, _, err = w.svc.Recover(w.Ctx, w.call(), "web")
	w.do(err)
	if _, leaves := w.publicOf("web"); !leaves {
		t.Error("the recovered certificate has lost its key")
	}
}

// Whoever may not sign with a key is told so, and not what there is of its certificate.
func TestIssuerThatSignsTellsNothing(t *testing.T) {
	w := newWorld(t)
	asked := false
	w.prepare = func(cert.Order) error {
		asked = true
		return fault.New(fault.Invalid, "there is no such certificate")
	}
	officer := w.Caller(authz.CertificatesOfficer)
	provider := "test"
	change := cert.SettingsChange{Provider: &provider, Options: map[string]string{cert.AuthorityOption: "root"}}
	_, err := w.svc.SetIssuer(w.Ctx, w.Call(officer), "ca", change)
	w.fails(err, fault.Forbidden, "ForbiddenByRbac")
	if asked {
		t.Error("the settings were looked at for somebody who may not sign")
	}
	_, err = w.svc.SetIssuer(w.Ctx, w.call(), "ca", change)
	w.fails(err, fault.Invalid, "")
}

// A version that is not there is answered like any certificate that is not.
func TestRevokeOfNoVersion(t *testing.T) {
	w := newWorld(t)
	w.newAdviser(nil)
	w.create("web", quarter())
	it, _, _ := w.get("web")
	_, err := w.svc.Revoke(w.Ctx, w.call(), cert.Selector{Name: "web", Version: vault.NewVersionID(noon)}, issuer.Superseded)
	w.fails(err, fault.NotFound, "CertificateNotFound")
	_, err = w.svc.Revoke(w.Ctx, w.call(), cert.Selector{Name: "web", Version: it.Version.ID}, issuer.Superseded)
	w.do(err)
}
