package server

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/keywright/keywright/internal/redact"
)

// certify has a certificate made and returns its chain.
func (s *shop) certify(name, issuer, cty string, x509Props map[string]any) []*x509.Certificate {
	s.t.Helper()
	ref := map[string]string{"name": issuer}
	if cty != "" {
		ref["cty"] = cty
	}
	s.ask("POST", "/certificates/"+name+"/create", encode(s.t.(*testing.T), map[string]any{"policy": map[string]any{"issuer": ref,
		"key_props": map[string]any{"kty": "EC", "crv": "P-256"}, "secret_props": map[string]string{"contentType": "application/x-pem-file"}, "x509_props": x509Props}}), http.StatusAccepted, nil)
	s.settle(name)
	var secret struct{ Value string }
	s.ask("GET", "/secrets/"+name, "", http.StatusOK, &secret)
	var chain []*x509.Certificate
	for block, rest := pem.Decode([]byte(secret.Value)); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			s.t.Fatal(err)
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		s.t.Fatalf("%s has no certificate", name)
	}
	return chain
}

func (s *shop) setIssuer(name string, settings map[string]string, want int) string {
	s.t.Helper()
	return s.ask("PUT", "/certificates/issuers/"+name, encode(s.t.(*testing.T), map[string]any{"provider": "Keywright CA", "keywright_settings": settings}), want, nil)
}

// authority makes a root, an intermediate below it, and an issuer of either: what somebody does who wants an authority of their own.
func (s *shop) authority(settings map[string]string) (root, between *x509.Certificate) {
	s.t.Helper()
	root = s.certify("root", "Self", "root", map[string]any{"subject": "CN=Shop Root, O=Shop"})[0]
	s.setIssuer("roots", map[string]string{"certificate": "root", "profile": "intermediate", "permittedNames": settings["permittedNames"]}, http.StatusOK)
	between = s.certify("between", "roots", "intermediate", map[string]any{"subject": "CN=Shop Issuer, O=Shop"})[0]
	s.setIssuer("shop-ca", map[string]string{"certificate": "between"}, http.StatusOK)
	return root, between
}

// native is a token for the native API.
func (s *shop) native() string {
	s.t.Helper()
	return s.tokenOf(person{tenant: s.estate.Tenant, id: s.estate.App, app: s.estate.AppID, secret: redact.String(s.variable("AZURE_CLIENT_SECRET"))}, s.variable("KEYWRIGHT_URL"))
}

// fetch asks the plain listener.
func (s *shop) fetch(method, url string, body []byte) []byte {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %s %s, %v", method, url, answer.Status, got, err)
	}
	return got
}

// status is what the authority says of a certificate by OCSP.
func (s *shop) status(leaf, by *x509.Certificate) *ocsp.Response {
	s.t.Helper()
	q, err := ocsp.CreateRequest(leaf, by, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	var last *ocsp.Response
	for _, got := range [][]byte{s.fetch("POST", leaf.OCSPServer[0], q), s.fetch("GET", leaf.OCSPServer[0]+"/"+base64.StdEncoding.EncodeToString(q), nil)} {
		if last, err = ocsp.ParseResponseForCert(got, leaf, by); err != nil {
			s.t.Fatal(err)
		}
	}
	return last
}

// revoked are the serial numbers on the authority's list.
func (s *shop) revoked(leaf, by *x509.Certificate) (list []string) {
	s.t.Helper()
	crl, err := x509.ParseRevocationList(s.fetch("GET", leaf.CRLDistributionPoints[0], nil))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := crl.CheckSignatureFrom(by); err != nil {
		s.t.Error(err)
	}
	for _, e := range crl.RevokedCertificateEntries {
		list = append(list, e.SerialNumber.Text(16))
	}
	return list
}

// An authority of one's own, from nothing, by the protocol alone: its keys stay in the vault, and everybody can ask it what still counts.
func TestInternalAuthority(t *testing.T) {
	s := openShop(t)
	root, between := s.authority(map[string]string{"permittedNames": "shop.example, 10.0.0.0/8"})
	if !root.IsCA || !between.IsCA || between.CheckSignatureFrom(root) != nil || !between.PermittedDNSDomainsCritical {
		t.Fatalf("root %v, intermediate %v", root.Subject, between.Subject)
	}
	for _, name := range []string{"root", "between"} {
		if said := s.ask("GET", "/secrets/"+name, "", http.StatusOK, nil); strings.Contains(said, "PRIVATE KEY") {
			t.Errorf("the key of %s can be read", name)
		}
	}
	var policy struct {
		Policy struct {
			Lifetime []struct{ Action struct{ Action_Type string } } `json:"lifetime_actions"`
		}
	}
	s.ask("GET", "/certificates/root", "", http.StatusOK, &policy)
	if a := policy.Policy.Lifetime; len(a) != 1 || a[0].Action.Action_Type != "EmailContacts" {
		t.Errorf("the root is made anew by %+v, and everybody who trusts it would have to hear of that before", a)
	}

	chain := s.certify("web", "shop-ca", "", map[string]any{"subject": "CN=web.shop.example", "sans": map[string]any{"dns_names": []string{"web.shop.example"}}})
	leaf := chain[0]
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root)
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: "web.shop.example", CurrentTime: s.now.Now()}); err != nil {
		t.Error(err)
	}
	if got := s.fetch("GET", leaf.IssuingCertificateURL[0], nil); !bytes.Equal(got, between.Raw) {
		t.Error("the authority's certificate is another one")
	}
	if r := s.status(leaf, between); r.Status != ocsp.Good {
		t.Errorf("the certificate is %d", r.Status)
	}
	if list := s.revoked(leaf, between); len(list) != 0 {
		t.Errorf("revoked are %v", list)
	}

	// A name outside what the root permits is not certified, and the operation says why.
	s.ask("POST", "/certificates/other/create", `{"policy":{"issuer":{"name":"shop-ca"},"key_props":{"kty":"EC"},"x509_props":{"subject":"CN=www.other.example","sans":{"dns_names":["www.other.example"]}}}}`,
		http.StatusAccepted, nil)
	if said := s.ask("GET", "/certificates/other/pending", "", http.StatusOK, nil); !strings.Contains(said, `"failed"`) || !strings.Contains(said, "would not verify") {
		t.Error(said)
	}

	// What is taken back is on the next list, and made anew at once.
	before := leaf.SerialNumber.Text(16)
	var shownBefore, shownAfter shown
	s.ask("GET", "/certificates/web", "", http.StatusOK, &shownBefore)
	for _, want := range []int{http.StatusOK, http.StatusOK, http.StatusBadRequest} {
		reason := "keyCompromise"
		if want != http.StatusOK {
			reason = "certificateHold"
		}
		version := shownBefore.ID[strings.LastIndex(shownBefore.ID, "/")+1:]
		if got := s.send("POST", s.variable("KEYWRIGHT_URL")+"/api/v1/vaults/"+devVault+"/certificates/web/revoke?version="+version, s.native(), `{"reason":"`+reason+`"}`); got.status != want {
			t.Fatalf("revoking for %s: %d %s", reason, got.status, got.body)
		}
	}
	s.now.Advance(crlKept + time.Second)
	if list := s.revoked(leaf, between); !slices.Equal(list, []string{before}) {
		t.Errorf("revoked are %v, want %s", list, before)
	}
	if r := s.status(leaf, between); r.Status != ocsp.Revoked || r.RevocationReason != ocsp.KeyCompromise {
		t.Errorf("the certificate is %d for %d", r.Status, r.RevocationReason)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		s.core.certificates.Wake()
		if s.ask("GET", "/certificates/web", "", http.StatusOK, &shownAfter); shownAfter.ID != shownBefore.ID {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a certificate that was taken back was not made anew")
		}
	}

	// An authority that is disabled issues nothing more, and still says what counts.
	s.ask("PATCH", "/certificates/between", `{"attributes":{"enabled":false}}`, http.StatusOK, nil)
	if said := s.ask("POST", "/certificates/late/create", `{"policy":{"issuer":{"name":"shop-ca"},"x509_props":{"subject":"CN=late"}}}`, http.StatusBadRequest, nil); !strings.Contains(said, "disabled") {
		t.Error(said)
	}
	s.now.Advance(2 * openKept)
	if r := s.status(leaf, between); r.Status != ocsp.Revoked {
		t.Errorf("the certificate is %d", r.Status)
	}
}

func TestAuthorityMistakes(t *testing.T) {
	s := openShop(t)
	s.certify("root", "Self", "root", map[string]any{"subject": "CN=Shop Root"})
	s.certify("leaf", "Self", "", map[string]any{"subject": "CN=leaf"})
	for name, c := range map[string]struct {
		settings map[string]string
		says     []string
	}{
		"nothing":  {nil, []string{"certificate"}},
		"missing":  {map[string]string{"certificate": "nobody"}, []string{"no certificate"}},
		"a leaf":   {map[string]string{"certificate": "leaf"}, []string{"not one of an authority"}},
		"spelling": {map[string]string{"certificate": "root", "crlUrl": "x"}, []string{`no setting \"crlUrl\"`}},
		"several": {map[string]string{"certificate": "root", "profile": "no", "maxDays": "-1", "crlUrls": "ftp://a", "permittedNames": "*.a.example, 10.0.0.0/99"},
			[]string{`no profile \"no\"`, "maxDays", "no http address", "is no domain", "is no network"}},
	} {
		said := s.setIssuer("x", c.settings, http.StatusBadRequest)
		for _, want := range c.says {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %s does not say %q", name, said, want)
			}
		}
	}
	// What is not there is not told from what is.
	plain := strings.TrimSuffix(s.variable("KEYWRIGHT_METRICS_URL"), "/metrics")
	for _, path := range []string{"/ca/", "/ca/x/crl", "/ca/00000000000000000000000000000000/crl", "/ca/00000000000000000000000000000000/ocsp/MA==", "/ca/00000000000000000000000000000000/other"} {
		answer, err := http.Get(plain + path)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, answer.Status)
		}
	}
}

// Whoever may set issuers up, and may not sign with a key, gets no authority by it.
func TestAuthorityTakesTheRightToSign(t *testing.T) {
	s := openShop(t)
	s.certify("root", "Self", "root", map[string]any{"subject": "CN=Shop Root"})
	officer := s.newPerson(s.estate.Tenant, "officer")
	s.grant(officer, "a4417e6f-fecd-4de8-b567-7b0420556985") // Key Vault Certificates Officer
	s.token = s.tokenOf(officer, "https://vault.azure.net")
	s.setIssuer("acme", nil, http.StatusBadRequest)
	said := s.setIssuer("x", map[string]string{"certificate": "root"}, http.StatusForbidden)
	var body struct{ Error struct{ Code string } }
	if err := json.Unmarshal([]byte(said), &body); err != nil || body.Error.Code != "Forbidden" {
		t.Error(said, err)
	}
}
