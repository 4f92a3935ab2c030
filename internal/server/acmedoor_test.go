package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	"github.com/miekg/dns"
	"golang.org/x/crypto/ocsp"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// responder answers challenges of every kind, in the place of a client's web server and name server. Every name is this machine.
type responder struct {
	web, secure *httptest.Server
	names       string

	mu    sync.Mutex
	pages map[string]string
	certs map[string]*tls.Certificate
	txt   map[string][]string
}

func newResponder(t *testing.T) *responder {
	t.Helper()
	r := &responder{pages: map[string]string{}, certs: map[string]*tls.Certificate{}, txt: map[string][]string{}}
	r.web = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		_, _ = w.Write([]byte(r.pages[q.URL.Path])) // the server has gone away
	}))
	t.Cleanup(r.web.Close)
	r.secure = httptest.NewUnstartedServer(http.NotFoundHandler())
	r.secure.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if c := r.certs[hello.ServerName]; c != nil {
			return &tls.Config{Certificates: []tls.Certificate{*c}, NextProtos: []string{"acme-tls/1"}}, nil
		}
		return nil, nil
	}}
	r.secure.StartTLS()
	t.Cleanup(r.secure.Close)
	packets, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, ended := make(chan struct{}), make(chan struct{})
	server := &dns.Server{PacketConn: packets, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(r.resolve)}
	go func() { defer close(ended); _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown(); <-ended })
	r.names = packets.LocalAddr().String()
	return r
}

func (r *responder) resolve(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg).SetReply(q)
	head := dns.RR_Header{Name: q.Question[0].Name, Rrtype: q.Question[0].Qtype, Class: dns.ClassINET}
	switch q.Question[0].Qtype {
	case dns.TypeA:
		m.Answer = append(m.Answer, &dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 1)})
	case dns.TypeTXT:
		r.mu.Lock()
		for _, text := range r.txt[strings.ToLower(strings.TrimSuffix(head.Name, "."))] {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: head, Txt: []string{text}})
		}
		r.mu.Unlock()
	}
	_ = w.WriteMsg(m) // whoever asked has gone away
}

func portOf(t *testing.T, s *httptest.Server) int {
	t.Helper()
	n, err := strconv.Atoi(s.URL[strings.LastIndex(s.URL, ":")+1:])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Present implements acmez.Solver for one type of challenge after the other.
func (r *responder) Present(_ context.Context, c acme.Challenge) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch c.Type {
	case acme.ChallengeTypeHTTP01:
		r.pages[c.HTTP01ResourcePath()] = c.KeyAuthorization
	case acme.ChallengeTypeDNS01:
		r.txt[c.DNS01TXTRecordName()] = []string{c.DNS01KeyAuthorization()}
	case acme.ChallengeTypeTLSALPN01:
		made, err := acmez.TLSALPN01ChallengeCert(c)
		r.certs[c.Identifier.Value] = made
		return err
	}
	return nil
}

func (*responder) CleanUp(context.Context, acme.Challenge) error { return nil }

// enrolling is a shop with an authority, whose clients enrol with it.
type enrolling struct {
	*shop
	dir           string
	responder     *responder
	root, between *x509.Certificate
}

func openEnrolling(t *testing.T) *enrolling {
	t.Helper()
	e := &enrolling{responder: newResponder(t), dir: filepath.Join(t.TempDir(), "d")}
	e.start(t, clock.NewManual(time.Now()))
	e.root, e.between = e.authority(nil)
	return e
}

func (e *enrolling) start(t *testing.T, now *clock.Manual) {
	t.Helper()
	e.shop = &shop{now: now}
	d := startDevWith(t, DevConfig{Config: Config{Dir: e.dir, Clock: now,
		Enrolment: Enrolment{HTTPPort: portOf(t, e.responder.web), TLSPort: portOf(t, e.responder.secure), Resolver: e.responder.names}}})
	e.target = &target{Dev: d, t: t, client: d.httpClient(t)}
	e.vault = d.variable("AZURE_KEYVAULT_URL")
	e.login()
}

// admin asks the native API about the issuer.
func (e *enrolling) admin(method, path, body string, want int, out any) {
	e.t.Helper()
	got := e.send(method, e.variable("KEYWRIGHT_URL")+"/api/v1/vaults/"+devVault+"/certificate-issuers/shop-ca"+path, e.native(), body)
	if got.status != want {
		e.t.Fatalf("%s %s: %d %s", method, path, got.status, got.body)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(got.body), out); err != nil {
			e.t.Fatal(err)
		}
	}
}

func (e *enrolling) rule(name string, in api.SetAccessRule) (out api.AccessRule) {
	e.t.Helper()
	e.admin("PUT", "/access-rules/"+name, encode(e.t.(*testing.T), in), http.StatusOK, &out)
	return out
}

// acmeClient is a stock client that answers challenges of the kinds.
func (e *enrolling) acmeClient(kinds ...string) *acmez.Client {
	c := &acmez.Client{Client: &acme.Client{Directory: e.variable("KEYWRIGHT_URL") + "/acme/" + devVault + "/shop-ca/directory", HTTPClient: e.client, PollInterval: 10 * time.Millisecond},
		ChallengeSolvers: map[string]acmez.Solver{}}
	for _, k := range kinds {
		c.ChallengeSolvers[k] = e.responder
	}
	return c
}

func acmeKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// account opens an account that is bound to a rule; without one it is not bound.
func (e *enrolling) account(c *acmez.Client, rule *api.AccessRule) (acme.Account, error) {
	e.t.Helper()
	a := acme.Account{PrivateKey: acmeKey(e.t), Contact: []string{"mailto:ops@shop.example"}, TermsOfServiceAgreed: true}
	if rule != nil {
		if err := a.SetExternalAccountBinding(e.t.Context(), c.Client, acme.EAB{KeyID: rule.KeyID, MACKey: rule.MACKey.Reveal()}); err != nil {
			e.t.Fatal(err)
		}
	}
	return c.NewAccount(e.t.Context(), a)
}

func (e *enrolling) mustAccount(c *acmez.Client, rule *api.AccessRule) acme.Account {
	e.t.Helper()
	a, err := e.account(c, rule)
	if err != nil {
		e.t.Fatal(err)
	}
	return a
}

// leaf is the certificate of a chain that leads to the shop's root.
func (e *enrolling) leaf(chain []byte, names ...string) *x509.Certificate {
	e.t.Helper()
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(e.root)
	intermediates.AppendCertsFromPEM(chain)
	c := firstCertificate(e.t, chain)
	for _, name := range names {
		if _, err := c.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, DNSName: name, CurrentTime: e.now.Now()}); err != nil {
			e.t.Error(err)
		}
	}
	return c
}

// isProblem fails unless the error is the server's problem of the kind.
func isProblem(t testing.TB, err error, kind string) {
	t.Helper()
	var p acme.Problem
	if !errors.As(err, &p) || p.Type != "urn:ietf:params:acme:error:"+kind {
		t.Errorf("%v; want %s", err, kind)
	}
}

// A stock client enrols by every challenge, under a rule of an administrator's, and what it gets counts like any other certificate of the authority.
func TestClientsEnrol(t *testing.T) {
	e := openEnrolling(t)
	// Before somebody makes a rule there is nothing.
	if r := e.send("GET", e.variable("KEYWRIGHT_URL")+"/acme/"+devVault+"/shop-ca/directory", "", ""); r.status != http.StatusNotFound {
		t.Errorf("without rules: %d %s", r.status, r.body)
	}
	rule := e.rule("web", api.SetAccessRule{Domains: []string{"shop.example"}, Wildcards: true, Profiles: []string{"server", "mutual"}, MaxDays: 30})
	if rule.KeyID != "web" || rule.MACKey == nil || len(*rule.MACKey) != 43 || rule.Directory != e.acmeClient().Directory {
		t.Fatalf("the rule is %+v", rule)
	}
	for kind, names := range map[string][]string{acme.ChallengeTypeHTTP01: {"a.shop.example", "b.shop.example"}, acme.ChallengeTypeTLSALPN01: {"c.shop.example"}, acme.ChallengeTypeDNS01: {"*.shop.example", "d.shop.example"}} {
		c := e.acmeClient(kind)
		if _, err := e.account(c, nil); err == nil {
			t.Error("an account without a binding was opened")
		} else {
			isProblem(t, err, "externalAccountRequired")
		}
		a := e.mustAccount(c, &rule)
		chains, err := c.ObtainCertificateForSANs(t.Context(), a, acmeKey(t), names)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		leaf := e.leaf(chains[0].ChainPEM, strings.Replace(names[0], "*", "x", 1))
		if life := leaf.NotAfter.Sub(e.now.Now()); life > 30*24*time.Hour || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
			t.Errorf("%s: it lives for %s and is for %v", kind, life, leaf.ExtKeyUsage)
		}
		if r := e.status(leaf, e.between); r.Status != ocsp.Good {
			t.Errorf("%s: by OCSP it is %d", kind, r.Status)
		}
		for name, problem := range map[string]string{"a.other.example": "rejectedIdentifier", "*.other.example": "rejectedIdentifier"} {
			_, err := c.NewOrder(t.Context(), a, acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: name}}})
			isProblem(t, err, problem)
		}
		_, err = c.NewOrder(t.Context(), a, acme.Order{Profile: "client", Identifiers: []acme.Identifier{{Type: "dns", Value: "a.shop.example"}}})
		isProblem(t, err, "rejectedIdentifier")

		// Renewal with the name of what is renewed, then revocation, after which the advice is to renew at once.
		info, err := c.GetRenewalInfo(t.Context(), leaf)
		if err != nil || !info.SuggestedWindow.Start.After(e.now.Now()) {
			t.Errorf("%s: the renewal information is %+v, %v", kind, info, err)
		}
		csr, err := acmez.NewCSR(acmeKey(t), names)
		if err != nil {
			t.Fatal(err)
		}
		params, err := acmez.OrderParametersFromCSR(a, csr)
		if err != nil {
			t.Fatal(err)
		}
		params.Replaces = leaf
		if _, err := c.ObtainCertificate(t.Context(), params); err != nil {
			t.Errorf("%s: renewing: %v", kind, err)
		}
		if err := c.RevokeCertificate(t.Context(), a, leaf, nil, acme.ReasonSuperseded); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		isProblem(t, c.RevokeCertificate(t.Context(), a, leaf, nil, acme.ReasonSuperseded), "alreadyRevoked")
		e.now.Advance(crlKept + time.Second)
		if r := e.status(leaf, e.between); r.Status != ocsp.Revoked || r.RevocationReason != ocsp.Superseded {
			t.Errorf("%s: by OCSP it is %d for %d", kind, r.Status, r.RevocationReason)
		}
		if !slices.Contains(e.revoked(leaf, e.between), leaf.SerialNumber.Text(16)) {
			t.Errorf("%s: it is not on the list", kind)
		}
		if info, err = c.GetRenewalInfo(t.Context(), leaf); err != nil || info.SuggestedWindow.End.After(e.now.Now()) {
			t.Errorf("%s: after its revocation the advice is %+v, %v", kind, info, err)
		}
	}
	var listed api.EnrolmentList
	e.admin("GET", "/orders", "", http.StatusOK, &listed)
	revoked := 0
	for _, o := range listed.Items {
		if o.Rule != "web" || o.Status != "valid" || o.Serial == "" || o.Expires == nil || len(o.Names) == 0 || !slices.Equal(o.Contact, []string{"mailto:ops@shop.example"}) {
			t.Errorf("%+v", o)
		}
		if o.Revoked != nil && o.Reason == "superseded" {
			revoked++
		}
	}
	if len(listed.Items) != 6 || revoked != 3 {
		t.Errorf("%d orders, %d revoked", len(listed.Items), revoked)
	}
	// Each certificate is in the audit log under its account, with the rule as the reason.
	audited := e.send("GET", e.variable("KEYWRIGHT_URL")+"/api/v1/audit/records?limit=1000", e.native(), "").body
	for _, o := range listed.Items {
		if !strings.Contains(audited, "certificate "+o.Serial+" (server)") || !strings.Contains(audited, `"acme:`+o.Account+`"`) {
			t.Errorf("the audit log does not tell of %s by %s", o.Serial, o.Account)
		}
	}
	if !strings.Contains(audited, `"AccessRuleRefuses"`) {
		t.Error("the audit log does not tell of what was refused")
	}
}

// Rules are kept whenever something is signed: who is believed needs no proof, and who has lost the rule gets nothing.
func TestAccessRules(t *testing.T) {
	e := openEnrolling(t)
	lab := e.rule("lab", api.SetAccessRule{Names: []string{"*.lab.example", "10.1.2.3"}, Networks: []string{"10.9.0.0/16"}, Preauthorized: true})
	c := e.acmeClient() // answers nothing
	a := e.mustAccount(c, &lab)
	obtain := func(a acme.Account, names ...string) error {
		_, err := c.ObtainCertificateForSANs(t.Context(), a, acmeKey(t), names)
		return err
	}
	if err := obtain(a, "*.lab.example", "10.1.2.3", "10.9.9.9"); err != nil {
		t.Errorf("what is preauthorised: %v", err)
	}
	isProblem(t, obtain(a, "x.lab.example"), "rejectedIdentifier")

	// Without a binding one comes under the rule anyone, which believes nobody.
	isProblem(t, second(e.account(c, nil)), "externalAccountRequired")
	anyone := e.rule("anyone", api.SetAccessRule{Domains: []string{"open.example"}})
	if anyone.MACKey != nil || anyone.KeyID != "" {
		t.Errorf("the rule for anyone has a key: %+v", anyone)
	}
	e.admin("PUT", "/access-rules/anyone", `{"domains":["open.example"],"preauthorized":true}`, http.StatusBadRequest, nil)
	prover := e.acmeClient(acme.ChallengeTypeHTTP01)
	b := e.mustAccount(prover, nil)
	if _, err := prover.ObtainCertificateForSANs(t.Context(), b, acmeKey(t), []string{"a.open.example"}); err != nil {
		t.Error(err)
	}
	isProblem(t, obtain(b, "x.lab.example"), "rejectedIdentifier")

	// A new key is for new accounts, and the old one for none.
	renewed := e.rule("lab", api.SetAccessRule{Names: []string{"*.lab.example"}, Preauthorized: true, NewKey: true})
	if renewed.MACKey == nil || *renewed.MACKey == *lab.MACKey {
		t.Fatalf("no new key: %+v", renewed)
	}
	isProblem(t, second(e.account(c, &lab)), "unauthorized")
	e.mustAccount(c, &renewed)
	if err := obtain(a, "*.lab.example"); err != nil {
		t.Errorf("the account of the old key: %v", err)
	}
	isProblem(t, obtain(a, "10.1.2.3"), "rejectedIdentifier") // the rule does not say so any more
	var shown api.AccessRule
	e.admin("GET", "/access-rules/LAB", "", http.StatusOK, &shown)
	if shown.MACKey != nil || !slices.Equal(shown.Names, []string{"*.lab.example"}) {
		t.Errorf("shown is %+v", shown)
	}

	// Believed when it ordered, and not when it wants it signed.
	order, err := c.NewOrder(t.Context(), a, acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: "*.lab.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	e.rule("lab", api.SetAccessRule{Names: []string{"*.lab.example"}})
	csr, err := acmez.NewCSR(acmeKey(t), []string{"*.lab.example"})
	if err != nil {
		t.Fatal(err)
	}
	// The client takes orderNotReady for an answer that it has missed, and asks after the order.
	if finished, err := c.FinalizeOrder(t.Context(), a, order, csr.Raw); err == nil || finished.Status == acme.StatusValid {
		t.Errorf("an account that is not believed any more got a certificate: %+v, %v", finished, err)
	}

	// A rule that has ended, and one that was withdrawn; one of the same name is another one.
	until := e.now.Now().Add(time.Hour)
	e.rule("lab", api.SetAccessRule{Names: []string{"*.lab.example"}, Preauthorized: true, Expires: &until})
	if err := obtain(a, "*.lab.example"); err != nil {
		t.Error(err)
	}
	e.now.Advance(time.Hour)
	isProblem(t, obtain(a, "*.lab.example"), "rejectedIdentifier")
	e.admin("DELETE", "/access-rules/lab", "", http.StatusOK, nil)
	isProblem(t, obtain(a, "*.lab.example"), "rejectedIdentifier")
	e.rule("lab", api.SetAccessRule{Names: []string{"*.lab.example"}, Preauthorized: true})
	isProblem(t, obtain(a, "*.lab.example"), "rejectedIdentifier")

	// With the issuer go its rules.
	e.login()
	e.ask("DELETE", "/certificates/issuers/shop-ca", "", http.StatusOK, nil)
	e.setIssuer("shop-ca", map[string]string{"certificate": "between"}, http.StatusOK)
	if r := e.send("GET", c.Directory, "", ""); r.status != http.StatusNotFound {
		t.Errorf("an issuer that was set up anew is open: %d", r.status)
	}
}

func second[T any](_ T, err error) error { return err }

// What was begun before a crash goes on after it: the account, the order, and the certificate that was signed.
func TestEnrolmentsSurviveRestarts(t *testing.T) {
	e := openEnrolling(t)
	rule := e.rule("lab", api.SetAccessRule{Domains: []string{"lab.example"}, Preauthorized: true})
	c := e.acmeClient()
	a := e.mustAccount(c, &rule)
	order, err := c.NewOrder(t.Context(), a, acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: "a.lab.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	csr, err := acmez.NewCSR(acmeKey(t), []string{"a.lab.example"})
	if err != nil {
		t.Fatal(err)
	}
	address := e.address()
	restart := func() {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		root, between := e.root, e.between
		e.start(t, e.now)
		e.root, e.between = root, between
		// The client knows the addresses of the server before: another port is another host.
		move := func(s *string) { *s = strings.Replace(*s, address, e.address(), 1) }
		move(&a.Location)
		move(&order.Location)
		move(&order.Finalize)
		move(&order.Certificate)
		address, c = e.address(), e.acmeClient()
	}
	restart()
	if order, err = c.GetOrder(t.Context(), a, order); err != nil || order.Status != acme.StatusReady {
		t.Fatalf("%+v, %v", order, err)
	}
	if order, err = c.FinalizeOrder(t.Context(), a, order, csr.Raw); err != nil || order.Status != acme.StatusValid {
		t.Fatalf("%+v, %v", order, err)
	}
	restart()
	chains, err := c.GetCertificateChain(t.Context(), a, order.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	before := e.leaf(chains[0].ChainPEM, "a.lab.example")
	// The answer was lost, as far as the client knows: it asks again, and gets the same.
	again, err := c.FinalizeOrder(t.Context(), a, order, csr.Raw)
	if err != nil || again.Certificate != order.Certificate {
		t.Errorf("%+v, %v", again, err)
	}
	chains, err = c.GetCertificateChain(t.Context(), a, again.Certificate)
	if err != nil || !firstCertificate(t, chains[0].ChainPEM).Equal(before) {
		t.Errorf("another certificate, %v", err)
	}
}

// A new authority reaches the clients by their renewal information, and what the old one signed can still be revoked.
func TestClientsFollowTheAuthority(t *testing.T) {
	e := openEnrolling(t)
	rule := e.rule("lab", api.SetAccessRule{Domains: []string{"lab.example"}, Preauthorized: true})
	c := e.acmeClient()
	a := e.mustAccount(c, &rule)
	chains, err := c.ObtainCertificateForSANs(t.Context(), a, acmeKey(t), []string{"a.lab.example"})
	if err != nil {
		t.Fatal(err)
	}
	old := e.leaf(chains[0].ChainPEM, "a.lab.example")
	e.now.Advance(time.Hour)
	e.login()
	next := e.certify("next", "roots", "intermediate", map[string]any{"subject": "CN=Shop Issuer 2, O=Shop"})[0]
	e.setIssuer("shop-ca", map[string]string{"certificate": "next"}, http.StatusOK)
	info, err := c.GetRenewalInfo(t.Context(), old)
	if err != nil || info.SuggestedWindow.Start.After(e.now.Now()) || info.SuggestedWindow.End.Before(e.now.Now()) || info.SuggestedWindow.End.After(e.now.Now().Add(changeoverBound)) {
		t.Fatalf("the advice is %+v, %v", info, err)
	}
	csr, err := acmez.NewCSR(acmeKey(t), []string{"a.lab.example"})
	if err != nil {
		t.Fatal(err)
	}
	params, err := acmez.OrderParametersFromCSR(a, csr)
	if err != nil {
		t.Fatal(err)
	}
	params.Replaces = old
	if chains, err = c.ObtainCertificate(t.Context(), params); err != nil {
		t.Fatal(err)
	}
	if got := e.leaf(chains[0].ChainPEM, "a.lab.example"); got.CheckSignatureFrom(next) != nil {
		t.Error("the renewed certificate is not the new authority's")
	}
	e.admin("POST", "/revoke", encode(t, api.RevokeEnrolment{Serial: strings.ToUpper(old.SerialNumber.Text(16)), Reason: "cessationOfOperation"}), http.StatusNoContent, nil)
	e.admin("POST", "/revoke", encode(t, api.RevokeEnrolment{Serial: old.SerialNumber.Text(16)}), http.StatusNoContent, nil)
	e.admin("POST", "/revoke", encode(t, api.RevokeEnrolment{Serial: "123"}), http.StatusNotFound, nil)
	e.admin("POST", "/revoke", encode(t, api.RevokeEnrolment{Serial: "no"}), http.StatusBadRequest, nil)
	e.now.Advance(crlKept + time.Second)
	if r := e.status(old, e.between); r.Status != ocsp.Revoked || r.RevocationReason != ocsp.CessationOfOperation {
		t.Errorf("by OCSP it is %d for %d", r.Status, r.RevocationReason)
	}
}

// changeoverBound is the longest that clients may take to come for a certificate of a new authority.
const changeoverBound = 24 * time.Hour

// What one issuer's clients have is nothing to another's, and a vault that keeps an address out keeps it out here, too.
func TestEnrolmentsStayApart(t *testing.T) {
	e := openEnrolling(t)
	rule := e.rule("lab", api.SetAccessRule{Domains: []string{"lab.example"}, Preauthorized: true})
	c := e.acmeClient()
	a := e.mustAccount(c, &rule)
	order, err := c.NewOrder(t.Context(), a, acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: "a.lab.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	e.setIssuer("other-ca", map[string]string{"certificate": "between"}, http.StatusOK)
	other := strings.Replace(c.Directory, "shop-ca", "other-ca", 1)
	base := e.variable("KEYWRIGHT_URL") + "/api/v1/vaults/" + devVault + "/certificate-issuers/other-ca/access-rules/lab"
	if r := e.send("PUT", base, e.native(), `{"domains":["lab.example"],"preauthorized":true}`); r.status != http.StatusOK {
		t.Fatal(r)
	}
	elsewhere := &acmez.Client{Client: &acme.Client{Directory: other, HTTPClient: e.client}}
	// The binding of one issuer's rule does not open an account with another's of the same name.
	isProblem(t, second(e.account(elsewhere, &rule)), "unauthorized")
	// Nor does an account, whatever its address is made to look like.
	stolen := a
	stolen.Location = strings.Replace(a.Location, "shop-ca", "other-ca", 1)
	_, err = elsewhere.NewOrder(t.Context(), stolen, acme.Order{Identifiers: []acme.Identifier{{Type: "dns", Value: "a.lab.example"}}})
	isProblem(t, err, "accountDoesNotExist")
	_, err = elsewhere.GetOrder(t.Context(), a, acme.Order{Location: strings.Replace(order.Location, "shop-ca", "other-ca", 1)})
	isProblem(t, err, "accountDoesNotExist")

	// Nobody learns which vaults and issuers there are.
	answers := map[string]bool{}
	for _, path := range []string{devVault + "/roots", devVault + "/nobody", "nobody/shop-ca", "a%2Fb/shop-ca", devVault + "/%00"} {
		r := e.send("GET", e.variable("KEYWRIGHT_URL")+"/acme/"+path+"/directory", "", "")
		answers[strconv.Itoa(r.status)+r.body] = true
	}
	if len(answers) != 1 {
		t.Errorf("what is not there answers in %d ways: %v", len(answers), answers)
	}
	// What names another host was signed for another server.
	r, err := http.NewRequestWithContext(t.Context(), "GET", c.Directory, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "192.0.2.1:443"
	if answer := e.roundTrip(r); answer.status != http.StatusNotFound {
		t.Errorf("under another address: %d %s", answer.status, answer.body)
	}
	disable := func(disabled bool) {
		e.change(func(tx store.Tx) error {
			tenant, err := tx.Tenant(t.Context(), e.estate.Tenant)
			if err != nil {
				return err
			}
			next := *tenant
			next.Disabled = disabled
			return tx.PutTenant(t.Context(), &next)
		})
	}
	disable(true)
	if r := e.send("GET", c.Directory, "", ""); r.status != http.StatusNotFound {
		t.Errorf("of a tenant that is disabled: %d %s", r.status, r.body)
	}
	disable(false)
	e.change(func(tx store.Tx) error {
		v, err := tx.VaultByName(t.Context(), devVault)
		if err != nil {
			return err
		}
		closed := *v
		closed.Network = vault.NetworkRules{PublicAccess: false}
		return tx.PutVault(t.Context(), &closed)
	})
	if r := e.send("GET", c.Directory, "", ""); r.status != http.StatusForbidden {
		t.Errorf("from a network that is kept out: %d %s", r.status, r.body)
	}
}

func firstCertificate(t testing.TB, chain []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(chain)
	if block == nil {
		t.Fatal("no PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
