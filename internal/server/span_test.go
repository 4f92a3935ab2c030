package server

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// span is a root in one vault with an intermediate and a certificate in another, and who uses them.
type span struct {
	*target
	token string
}

func (s *span) open(dir string) {
	s.target = startTargetIn(s.t, dir, func(c *DevConfig) { c.Rotation = quickRotation() })
	s.login()
}

func (s *span) login() {
	s.token = s.tokenOf(person{tenant: s.estate.Tenant, id: s.estate.App, app: s.estate.AppID, secret: redact.String(s.variable("AZURE_CLIENT_SECRET"))}, s.api())
}

func (s *span) api() string { return "https://" + s.names.api + s.names.port }

// ask asks the native API as somebody, and decodes the answer into out, if there is one.
func (s *span) ask(token string, status int, method, path, body string, out any) string {
	s.t.Helper()
	r := s.send(method, s.api()+"/api/v1/vaults/"+path, token, body)
	if r.status != status {
		s.t.Fatalf("%s %s: %d, want %d: %s", method, path, r.status, status, r.body)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(r.body), out); err != nil {
			s.t.Fatal(err)
		}
	}
	return r.body
}

// uses reads the current version of a secret as an instance, and says that it is in use there.
func (s *span) uses(instance, vaultName, name string) string {
	s.t.Helper()
	path := s.api() + "/api/v1/vaults/" + vaultName + "/secrets/" + name
	do := func(method, url, body string) string {
		r, err := http.NewRequestWithContext(s.t.Context(), method, url, strings.NewReader(body))
		if err != nil {
			s.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.token)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Keywright-Instance", instance)
		got := s.roundTrip(r)
		if got.status/100 != 2 {
			s.t.Fatalf("%s %s: %d %s", method, url, got.status, got.body)
		}
		return got.body
	}
	var read struct{ Version, Value string }
	if err := json.Unmarshal([]byte(do("GET", path, "")), &read); err != nil {
		s.t.Fatal(err)
	}
	do("POST", path+"/versions/"+read.Version+"/acks", `{"level":"used"}`)
	return read.Value
}

func (s *span) authority() (got api.CertificateAuthority) {
	s.t.Helper()
	s.ask(s.token, 200, "GET", "demo/certificates/anchor/authority", "", &got)
	return got
}

// until waits for something that the change comes to.
func (s *span) until(what string, ok func(api.CertificateAuthority) bool) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		got := s.authority()
		if ok(got) {
			return
		}
		if time.Now().After(deadline) {
			state, _ := json.Marshal(got)
			s.t.Fatalf("%s: %s", what, state)
		}
	}
}

func (s *span) create(vaultName, name, policy string) {
	s.t.Helper()
	s.ask(s.token, 202, "POST", vaultName+"/certificates/"+name, `{"policy":{`+policy+`}}`, nil)
	var op api.CertificateOperation
	if s.ask(s.token, 200, "GET", vaultName+"/certificates/"+name+"/operation", "", &op); op.Status != api.CertificateCompleted {
		s.t.Fatalf("%s: %+v", name, op)
	}
}

// grantAt gives somebody a role at one vault.
func (s *span) grantAt(p person, role, vaultName string) {
	s.t.Helper()
	var at string
	s.view(func(tx store.Tx) error {
		v, err := tx.VaultByName(s.t.Context(), vaultName)
		if err == nil {
			at = v.Scope()
		}
		return err
	})
	now := time.Now()
	s.change(func(tx store.Tx) error {
		return tx.PutGrant(s.t.Context(), &principal.Grant{ID: vault.NewGUID(), Tenant: p.tenant, Scope: at, Role: role, Principal: p.id, PrincipalKind: principal.Service, Created: now, Updated: now})
	})
}

// A root and its intermediate in different vaults change by one command: in order, each waited for by name, with one plan and one status, over a restart of the server, and by nobody who
// may not change both.
func TestAuthoritiesInDifferentVaultsChangeTogether(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	s := &span{target: &target{t: t}}
	s.open(dir)
	s.newVault(s.estate.Tenant, s.estate.Subscription, devGroup, "team")
	s.grant(person{tenant: s.estate.Tenant, id: s.estate.App}, authz.VaultAdministrator)
	local, stranger := s.newPerson(s.estate.Tenant, "local"), s.newPerson(s.estate.Tenant, "stranger")
	s.grantAt(local, authz.VaultAdministrator, "demo")
	s.grantAt(stranger, authz.VaultAdministrator, "team")
	s.create("demo", "anchor", `"issuer":{"name":"Self","type":"root"},"key":{"type":"EC"},"x509":{"subject":"CN=Root"}`)

	// Who may set issuers up in one vault, but not sign with the key of the other, gets none that does.
	issuer := `{"provider":"Keywright CA","options":{"certificate":"anchor","certificateVault":"demo","profile":"intermediate"}}`
	s.ask(s.tokenOf(stranger, s.api()), 403, "PUT", "team/certificate-issuers/roots", issuer, nil)
	s.ask(s.token, 404, "PUT", "team/certificate-issuers/roots", strings.Replace(issuer, "demo", "absent", 1), nil)
	s.ask(s.token, 200, "PUT", "team/certificate-issuers/roots", issuer, nil)
	s.create("team", "issuing", `"issuer":{"name":"roots","type":"intermediate"},"key":{"type":"EC"},"x509":{"subject":"CN=Issuing"}`)
	s.ask(s.token, 200, "PUT", "team/certificate-issuers/corporate", `{"provider":"Keywright CA","options":{"certificate":"issuing"}}`, nil)
	s.create("team", "web", `"issuer":{"name":"corporate"},"key":{"type":"EC"},"contentType":"application/x-pem-file","x509":{"subject":"CN=web.example","dns":["web.example"]}`)
	s.ask(s.token, 200, "PUT", "demo/certificates/anchor/authority/trust-bundle", `{}`, nil)
	verifies := func(when string) {
		t.Helper()
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(s.uses("app", "demo", "anchor-trust"))) {
			t.Fatal("the bundle has no certificate")
		}
		var leaf *x509.Certificate
		middle := x509.NewCertPool()
		for rest := []byte(s.uses("server", "team", "web")); ; {
			var b *pem.Block
			if b, rest = pem.Decode(rest); b == nil {
				break
			}
			if b.Type != "CERTIFICATE" {
				continue
			}
			c, err := x509.ParseCertificate(b.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if leaf == nil {
				leaf = c
			} else if c.Subject.String() != c.Issuer.String() {
				middle.AddCert(c)
			}
		}
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	verifies("before")
	before := s.authority()
	if len(before.Line) != 2 || before.Line[0].Vault != "" || before.Line[1].Vault != "team" || before.Line[1].Name != "issuing" || before.Line[1].Above != "demo/anchor" || !strings.Contains(strings.Join(before.Line[0].Issuers, " "), "team/roots") {
		t.Fatalf("the line is %+v", before.Line)
	}

	// The right is asked for in both vaults, to plan and to change, and who may not see the other is not shown it.
	for token, shown := range map[string]int{s.tokenOf(local, s.api()): 1} {
		var got api.CertificateAuthority
		if s.ask(token, 200, "GET", "demo/certificates/anchor/authority", "", &got); len(got.Line) != shown {
			t.Errorf("shown are %+v", got.Line)
		}
		s.ask(token, 403, "POST", "demo/certificates/anchor/authority/change", `{"cause":"on-demand"}`, nil)
		s.ask(token, 403, "POST", "demo/certificates/anchor/authority/plan", "", nil)
	}
	if got := s.authority(); got.Change != nil {
		t.Fatalf("there is a change: %+v", got.Change)
	}
	var plan api.RotationPlan
	s.ask(s.token, 200, "POST", "demo/certificates/anchor/authority/plan", "", &plan)
	if len(plan.Authorities) != 2 || plan.Authorities[1].Vault != "team" || strings.Join(plan.Certificates, " ") != "team/web" || len(plan.AtRisk) != 2 {
		t.Errorf("the plan is %+v", plan)
	}

	s.ask(s.token, 200, "POST", "demo/certificates/anchor/authority/change", `{"cause":"on-demand"}`, nil)
	waitsFor := func(who string) func(api.CertificateAuthority) bool {
		return func(a api.CertificateAuthority) bool {
			for _, w := range a.Change.Waiting {
				if w.Instance == who {
					return true
				}
			}
			return false
		}
	}
	// The root first: nothing of the other vault is signed anew before those who verify have its successor.
	s.until("the wait for the bundle", waitsFor("app"))
	if got := s.authority(); got.Change.Succession.Authorities[1].New != "" || got.Line[1].Run != got.Change.ID {
		t.Errorf("meanwhile: %+v", got.Change.Succession)
	}
	s.ask(s.token, 409, "POST", "team/certificates/issuing", `{}`, nil)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s.open(dir)
	verifies("with the successor published")
	s.until("the wait for the server", waitsFor("server"))
	verifies("with the certificate made anew")
	s.until("the end", func(a api.CertificateAuthority) bool { verifies("on the way"); return !a.Change.Open })
	verifies("after it")

	after := s.authority()
	if after.Change.State != "done" || after.Line[0].Signs == before.Line[0].Signs || after.Line[1].Signs == before.Line[1].Signs || after.Line[1].Run != "" || len(after.Line[1].Trusted) != 1 {
		t.Errorf("in the end: %+v, %+v", after.Change, after.Line)
	}
	if n := strings.Count(s.uses("app", "demo", "anchor-trust"), "BEGIN"); n != 1 {
		t.Errorf("the bundle has %d certificates", n)
	}
	var old api.Certificate
	s.ask(s.token, 200, "GET", "team/certificates/issuing?version="+before.Line[1].Signs, "", &old)
	if old.Enabled {
		t.Error("the intermediate from before is still enabled")
	}
	// The issuer goes on with the successor in the other vault.
	s.create("team", "next", `"issuer":{"name":"corporate"},"key":{"type":"EC"},"x509":{"subject":"CN=next.example"}`)
	s.uses("server", "team", "next")

	// Another change is given up when both have successors: everything returns to what it was, in both vaults.
	s.ask(s.token, 200, "POST", "demo/certificates/anchor/authority/change", `{"cause":"on-demand"}`, nil)
	s.until("the wait for the bundle", waitsFor("app"))
	verifies("with another successor")
	s.until("the wait for the server", waitsFor("server"))
	s.ask(s.token, 200, "POST", "demo/rotations/"+s.authority().Change.ID+"/orders", `{"order":"abort","note":"not now"}`, nil)
	s.until("the way back", func(a api.CertificateAuthority) bool {
		verifies("on the way back")
		s.uses("server", "team", "next")
		return !a.Change.Open
	})
	back := s.authority()
	for i, h := range back.Line {
		if h.Signs != after.Line[i].Signs || h.Run != "" || len(h.Trusted) != 1 {
			t.Errorf("%s after the way back: %+v, before %+v", h.Name, h, after.Line[i])
		}
	}

	// While the vault of the root is deleted, nothing is signed with it, and what it signs for is not lost.
	s.change(func(tx store.Tx) error {
		v, err := tx.VaultByName(t.Context(), "demo")
		if err != nil {
			return err
		}
		gone := *v
		gone.Deleted = &vault.Deletion{At: time.Now(), PurgeAt: time.Now().Add(time.Hour)}
		return tx.PutVault(t.Context(), &gone)
	})
	if r := s.send("POST", s.api()+"/api/v1/vaults/team/certificates/another", s.token, `{"policy":{"issuer":{"name":"roots","type":"intermediate"},"key":{"type":"EC"},"x509":{"subject":"CN=Another"}}}`); r.status != 400 || !strings.Contains(r.body, "is deleted") {
		t.Errorf("an intermediate below a vault that is deleted: %d %s", r.status, r.body)
	}
	s.create("team", "below", `"issuer":{"name":"corporate"},"key":{"type":"EC"},"x509":{"subject":"CN=below.example"}`)
}
