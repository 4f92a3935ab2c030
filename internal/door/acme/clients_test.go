package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mholt/acmez/v3"
	client "github.com/mholt/acmez/v3/acme"
	xacme "golang.org/x/crypto/acme"
)

// solver presents what acmez wants to be seen, in the world's pages, records and handshakes.
type solver struct {
	w    *world
	kind string
}

func (s solver) Present(_ context.Context, c client.Challenge) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	switch s.kind {
	case http01:
		s.w.pages[c.HTTP01ResourcePath()] = c.KeyAuthorization
	case dns01:
		s.w.network.mu.Lock()
		defer s.w.network.mu.Unlock()
		s.w.network.txt[c.DNS01TXTRecordName()] = append(s.w.network.txt[c.DNS01TXTRecordName()], "something else", c.DNS01KeyAuthorization())
	case tlsalpn01:
		certificate, err := acmez.TLSALPN01ChallengeCert(c)
		if err != nil {
			return err
		}
		s.w.certs[serverName(Identifier{Type: c.Identifier.Type, Value: c.Identifier.Value})] = certificate
	}
	return nil
}

func (solver) CleanUp(context.Context, client.Challenge) error { return nil }

func (w *world) acmez(kinds ...string) *acmez.Client {
	c := &acmez.Client{Client: &client.Client{Directory: w.url + pathDirectory, HTTPClient: w.client, PollInterval: 10 * time.Millisecond}, ChallengeSolvers: map[string]acmez.Solver{}}
	for _, k := range kinds {
		c.ChallengeSolvers[k] = solver{w, k}
	}
	return c
}

func account(t *testing.T, c *acmez.Client) client.Account {
	t.Helper()
	a, err := c.NewAccount(t.Context(), client.Account{PrivateKey: newKey(t), Contact: []string{"mailto:ops@example.test"}, TermsOfServiceAgreed: true})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// verified is the leaf of a chain that leads to the world's root.
func (w *world) verified(t *testing.T, text []byte, names ...string) *x509.Certificate {
	t.Helper()
	c, err := parsePEM(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := c.Verify(x509.VerifyOptions{Roots: w.roots, DNSName: name, CurrentTime: w.clock.Now()}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	return c
}

// A stock client gets, renews and revokes certificates by every challenge.
func TestACMEz(t *testing.T) {
	w := newWorld(t, func(c *settings) { c.TermsOfService = "https://ca.test/terms" })
	w.rules.bound = true
	for kind, names := range map[string][]string{http01: {"a.test", "127.0.0.1"}, tlsalpn01: {"b.test", "127.0.0.1"}, dns01: {"c.test", "*.c.test"}} {
		c := w.acmez(kind)
		a := client.Account{PrivateKey: newKey(t), Contact: []string{"mailto:ops@example.test"}, TermsOfServiceAgreed: true}
		if _, err := c.NewAccount(t.Context(), a); err == nil || !strings.Contains(err.Error(), "externalAccountRequired") {
			t.Errorf("without a binding: %v", err)
		}
		wrong := a
		if err := wrong.SetExternalAccountBinding(t.Context(), c.Client, client.EAB{KeyID: "customer", MACKey: base64.RawURLEncoding.EncodeToString([]byte("another key of this length, 32 by"))}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.NewAccount(t.Context(), wrong); err == nil || !strings.Contains(err.Error(), "unauthorized") {
			t.Errorf("with a wrong binding: %v", err)
		}
		if err := a.SetExternalAccountBinding(t.Context(), c.Client, client.EAB{KeyID: "customer", MACKey: base64.RawURLEncoding.EncodeToString(w.rules.mac.Reveal())}); err != nil {
			t.Fatal(err)
		}
		bound := a.ExternalAccountBinding
		a, err := c.NewAccount(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		// A binding that somebody else has made is good for nobody.
		_, err = c.NewAccount(t.Context(), client.Account{PrivateKey: newKey(t), TermsOfServiceAgreed: true, ExternalAccountBinding: bound})
		expect(t, "malformed", err)
		key := newKey(t)
		chains, err := c.ObtainCertificateForSANs(t.Context(), a, key, names)
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		leaf := w.verified(t, chains[0].ChainPEM, names[0])
		if info := chains[0].RenewalInfo; info == nil || !info.SuggestedWindow.Start.After(w.clock.Now()) || info.RetryAfter == nil {
			t.Errorf("%s: the renewal information is %+v", kind, info)
		}

		// Renewing twice in the name of the same certificate is noticed; the client then goes on without.
		for range 2 {
			csr, err := acmez.NewCSR(newKey(t), names)
			if err != nil {
				t.Fatal(err)
			}
			params, err := acmez.OrderParametersFromCSR(a, csr)
			if err != nil {
				t.Fatal(err)
			}
			params.Replaces, params.Profile = leaf, "server"
			if _, err := c.ObtainCertificate(t.Context(), params); err != nil {
				t.Errorf("%s: renewing: %v", kind, err)
			}
		}

		// Another account may not revoke it; its own may, once; then it is due for renewal.
		stranger := client.Account{PrivateKey: newKey(t), TermsOfServiceAgreed: true}
		if err := stranger.SetExternalAccountBinding(t.Context(), c.Client, client.EAB{KeyID: "customer", MACKey: base64.RawURLEncoding.EncodeToString(w.rules.mac.Reveal())}); err != nil {
			t.Fatal(err)
		}
		if stranger, err = c.NewAccount(t.Context(), stranger); err != nil {
			t.Fatal(err)
		}
		expect(t, "unauthorized", c.RevokeCertificate(t.Context(), stranger, leaf, nil, client.ReasonSuperseded))
		expect(t, "badRevocationReason", c.RevokeCertificate(t.Context(), a, leaf, nil, client.ReasonCertificateHold))
		if err := c.RevokeCertificate(t.Context(), a, leaf, nil, client.ReasonSuperseded); err != nil {
			t.Errorf("%s: revoking: %v", kind, err)
		}
		expect(t, "alreadyRevoked", c.RevokeCertificate(t.Context(), a, leaf, key, client.ReasonSuperseded))
		w.clock.Advance(time.Minute)
		if info, err := c.GetRenewalInfo(t.Context(), leaf); err != nil || info.SuggestedWindow.End.After(w.clock.Now()) {
			t.Errorf("%s: a revoked certificate is due in %+v, %v", kind, info.SuggestedWindow, err)
		}
	}
}

// expect fails unless the server's problem is of this kind.
func expect(t *testing.T, kind string, err error) {
	t.Helper()
	var p client.Problem
	if !errors.As(err, &p) || p.Type != problemSpace+kind {
		t.Errorf("want %s, got %v", kind, err)
	}
}

// Go's own client, by hand as its documentation says.
func TestXCrypto(t *testing.T) {
	w := newWorld(t, nil)
	ctx := t.Context()
	key := newKey(t)
	c := &xacme.Client{Key: key, DirectoryURL: w.url + pathDirectory, HTTPClient: w.client}
	if _, err := c.Register(ctx, &xacme.Account{Contact: []string{"mailto:ops@example.test"}}, xacme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	order, err := c.AuthorizeOrder(ctx, xacme.DomainIDs("x.test"))
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range order.AuthzURLs {
		authz, err := c.GetAuthorization(ctx, address)
		if err != nil {
			t.Fatal(err)
		}
		for _, challenge := range authz.Challenges {
			if challenge.Type != http01 {
				continue
			}
			answer, err := c.HTTP01ChallengeResponse(challenge.Token)
			if err != nil {
				t.Fatal(err)
			}
			w.mu.Lock()
			w.pages[c.HTTP01ChallengePath(challenge.Token)] = answer
			w.mu.Unlock()
			if _, err := c.Accept(ctx, challenge); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := c.WaitAuthorization(ctx, address); err != nil {
			t.Fatal(err)
		}
	}
	if order, err = c.WaitOrder(ctx, order.URI); err != nil {
		t.Fatal(err)
	}
	leafKey := newKey(t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"x.test"}}, leafKey)
	if err != nil {
		t.Fatal(err)
	}
	chain, _, err := c.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: w.roots, DNSName: "x.test", CurrentTime: w.clock.Now()}); err != nil {
		t.Error(err)
	}
	// Whoever has a certificate's key may revoke it, without an account.
	if err := c.RevokeCert(ctx, leafKey, chain[0], xacme.CRLReasonKeyCompromise); err != nil {
		t.Error(err)
	}
	another, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AccountKeyRollover(ctx, another); err != nil {
		t.Fatal(err)
	}
	if _, err := c.GetReg(ctx, ""); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	old := &xacme.Client{Key: key, DirectoryURL: w.url + pathDirectory, HTTPClient: w.client}
	if _, err := old.GetReg(ctx, ""); !errors.Is(err, xacme.ErrNoAccount) {
		t.Errorf("with the old key: %v", err)
	}
	if err := c.DeactivateReg(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := c.AuthorizeOrder(ctx, xacme.DomainIDs("y.test")); err == nil {
		t.Error("a closed account orders")
	}
}

// Rules are asked for every order, and again before a certificate is signed; what they trust needs no challenge.
func TestRules(t *testing.T) {
	w := newWorld(t, nil)
	c := w.acmez(http01)
	a := account(t, c)
	if _, err := c.ObtainCertificateForSANs(t.Context(), a, newKey(t), []string{"a.forbidden.test"}); err == nil || !strings.Contains(err.Error(), "rejectedIdentifier") {
		t.Error(err)
	}
	c.ChallengeSolvers = map[string]acmez.Solver{}
	if _, err := c.ObtainCertificateForSANs(t.Context(), a, newKey(t), []string{"a.trusted.test"}); err != nil {
		t.Errorf("a trusted name: %v", err)
	}
	order, err := c.NewOrder(t.Context(), a, client.Order{Identifiers: []client.Identifier{{Type: "dns", Value: "b.trusted.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	w.rules.mu.Lock()
	w.rules.forbidden = "b.trusted.test"
	w.rules.mu.Unlock()
	csr, err := acmez.NewCSR(newKey(t), []string{"b.trusted.test"})
	if err != nil {
		t.Fatal(err)
	}
	before := w.authority.issued
	_, err = c.FinalizeOrder(t.Context(), a, order, csr.Raw)
	expect(t, "unauthorized", err)
	if w.authority.issued != before {
		t.Error("a certificate was signed against the rules")
	}
}

// Who was believed when an order was made, and is not any more, gets nothing for it.
func TestTrustIsAskedTwice(t *testing.T) {
	w := newWorld(t, nil)
	c := w.acmez()
	a := account(t, c)
	order, err := c.NewOrder(t.Context(), a, client.Order{Identifiers: []client.Identifier{{Type: "dns", Value: "a.trusted.test"}}})
	if err != nil || order.Status != statusReady {
		t.Fatalf("%+v, %v", order, err)
	}
	w.rules.mu.Lock()
	w.rules.doubted = "a.trusted.test"
	w.rules.mu.Unlock()
	csr, err := acmez.NewCSR(newKey(t), []string{"a.trusted.test"})
	if err != nil {
		t.Fatal(err)
	}
	// The client takes orderNotReady for an answer that it has missed, and asks after the order.
	if _, err = c.FinalizeOrder(t.Context(), a, order, csr.Raw); err == nil || w.authority.issued != 0 {
		t.Errorf("%v, and %d certificates were signed", err, w.authority.issued)
	}
}

// The rules bound the life of certificates, whatever clients wish.
func TestLifeIsBounded(t *testing.T) {
	w := newWorld(t, nil)
	w.rules.life = 72 * time.Hour
	c := w.acmez()
	a := account(t, c)
	chains, err := c.ObtainCertificateForSANs(t.Context(), a, newKey(t), []string{"a.trusted.test"})
	if err != nil {
		t.Fatal(err)
	}
	leaf := w.verified(t, chains[0].ChainPEM, "a.trusted.test")
	if until := leaf.NotAfter.Sub(w.clock.Now()); until > 72*time.Hour || until < 71*time.Hour {
		t.Errorf("it lives for %s", until)
	}
}

// Accounts, orders and failures are counted, and time forgives.
func TestLimits(t *testing.T) {
	w := newWorld(t, func(c *settings) { c.Limits = Limits{Accounts: 2, Orders: 3, Failures: 1} })
	c := w.acmez()
	a := account(t, c)
	b := account(t, c)
	_, err := c.NewAccount(t.Context(), client.Account{PrivateKey: newKey(t), TermsOfServiceAgreed: true})
	expect(t, "rateLimited", err)
	order := func(a client.Account, name string) (client.Order, error) {
		return c.NewOrder(t.Context(), a, client.Order{Identifiers: []client.Identifier{{Type: "dns", Value: name}}})
	}
	fail := func(name string) error {
		o, err := order(a, name)
		if err != nil {
			t.Fatal(err)
		}
		authz, err := c.GetAuthorization(t.Context(), a, o.Authorizations[0])
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.InitiateChallenge(t.Context(), a, authz.Challenges[0])
		return err
	}
	if err := fail("a.nowhere.test"); err != nil {
		t.Fatal(err)
	}
	expect(t, "rateLimited", fail("b.nowhere.test"))
	if _, err := order(a, "c.test"); err != nil {
		t.Error(err)
	}
	_, err = order(a, "d.test")
	expect(t, "rateLimited", err)
	if _, err := order(b, "d.test"); err != nil {
		t.Errorf("another account: %v", err)
	}
	w.clock.Advance(time.Hour)
	if _, err := order(a, "d.test"); err != nil {
		t.Errorf("an hour later: %v", err)
	}
	account(t, c)
}

// Answers that prove nothing.
func TestChallengesFail(t *testing.T) {
	w := newWorld(t, nil)
	c := w.acmez()
	a := account(t, c)
	stranger, err := acmez.TLSALPN01ChallengeCert(client.Challenge{Identifier: client.Identifier{Type: "dns", Value: "d.test"}, KeyAuthorization: "something else"})
	if err != nil {
		t.Fatal(err)
	}
	w.certs["d.test"] = stranger
	w.network.txt["_acme-challenge.c.test"] = []string{"something else"}
	for name, want := range map[string]struct{ kind, problem, page string }{
		"a.test": {http01, "unauthorized", ""}, "b.test": {http01, "incorrectResponse", "something else"}, "e.test": {http01, "connection", "https://e.test:22/"},
		"f.nowhere.test": {http01, "dns", ""}, "c.test": {dns01, "incorrectResponse", ""}, "g.test": {dns01, "incorrectResponse", ""},
		"d.test": {tlsalpn01, "incorrectResponse", ""}, "h.test": {tlsalpn01, "tls", ""},
	} {
		order, err := c.NewOrder(t.Context(), a, client.Order{Identifiers: []client.Identifier{{Type: "dns", Value: name}}})
		if err != nil {
			t.Fatal(err)
		}
		authz, err := c.GetAuthorization(t.Context(), a, order.Authorizations[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, challenge := range authz.Challenges {
			if challenge.Type != want.kind {
				continue
			}
			if want.page != "" {
				w.mu.Lock()
				w.pages[challenge.HTTP01ResourcePath()] = want.page
				w.mu.Unlock()
			}
			got, err := c.InitiateChallenge(t.Context(), a, challenge)
			if err != nil || got.Status != statusInvalid || got.Error == nil || got.Error.Type != problemSpace+want.problem {
				t.Errorf("%s: %s %+v, %v; want %s", name, got.Status, got.Error, err, want.problem)
			}
		}
		if order, err = c.GetOrder(t.Context(), a, order); err != nil || order.Status != statusInvalid {
			t.Errorf("%s: the order is %s, %v", name, order.Status, err)
		}
	}
}

// This machine's own addresses are not looked at unless somebody says so.
func TestAddressesThatAreNotLookedAt(t *testing.T) {
	v := &Validator{Resolver: &network{}}
	for _, name := range []Identifier{{Type: typeDNS, Value: "localhost.test"}, {Type: typeIP, Value: "127.0.0.1"}, {Type: typeIP, Value: "169.254.169.254"}, {Type: typeIP, Value: "::1"}, {Type: typeIP, Value: "::ffff:127.0.0.1"}, {Type: typeIP, Value: "0.0.0.0"}, {Type: typeIP, Value: "fe80::1"}} {
		for _, kind := range []string{http01, tlsalpn01} {
			if p := v.look(t.Context(), kind, name, "t", "t.k"); p == nil || p.Type != problemSpace+"rejectedIdentifier" {
				t.Errorf("%s by %s: %v", name.Value, kind, p)
			}
		}
	}
}

// A certificate request must say what was ordered, and a lost answer is given again.
func TestFinalize(t *testing.T) {
	w := newWorld(t, nil)
	c := w.acmez()
	a := account(t, c)
	order, err := c.NewOrder(t.Context(), a, client.Order{Identifiers: []client.Identifier{{Type: "dns", Value: "a.trusted.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	make := func(template x509.CertificateRequest) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	accountKey, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.trusted.test"}}, a.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	good := make(x509.CertificateRequest{DNSNames: []string{"a.trusted.test"}})
	broken := append([]byte{}, good...)
	broken[len(broken)-1] ^= 1
	for name, der := range map[string][]byte{
		"another name": make(x509.CertificateRequest{DNSNames: []string{"b.trusted.test"}}), "one more": make(x509.CertificateRequest{DNSNames: []string{"a.trusted.test", "b.trusted.test"}}),
		"none": make(x509.CertificateRequest{}), "an address": make(x509.CertificateRequest{DNSNames: []string{"a.trusted.test"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}),
		"mail": make(x509.CertificateRequest{DNSNames: []string{"a.trusted.test"}, EmailAddresses: []string{"a@a.test"}}), "the account's key": accountKey, "a broken signature": broken, "nonsense": []byte("x"),
	} {
		if _, err := c.FinalizeOrder(t.Context(), a, order, der); err == nil {
			t.Errorf("%s was signed", name)
		} else {
			expect(t, "badCSR", err)
		}
	}
	w.store.lose = true
	finished, err := c.FinalizeOrder(t.Context(), a, order, good) // the client tries again by itself
	if err != nil || finished.Status != statusValid {
		t.Fatalf("%+v, %v", finished, err)
	}
	chains, err := c.GetCertificateChain(t.Context(), a, finished.Certificate)
	if err != nil {
		t.Fatal(err)
	}
	w.verified(t, chains[0].ChainPEM, "a.trusted.test")
	if w.authority.issued != 1 {
		t.Errorf("it was signed %d times", w.authority.issued)
	}

	// One account sees nothing of another's.
	b := account(t, c)
	for _, address := range []string{finished.Location, finished.Certificate, finished.Finalize, order.Authorizations[0]} {
		if _, err := c.GetOrder(t.Context(), b, client.Order{Location: address}); err == nil {
			t.Errorf("another account reads %s", address)
		} else {
			var p client.Problem
			if !errors.As(err, &p) || p.Status != http.StatusNotFound {
				t.Errorf("%s: %v", address, err)
			}
		}
	}
}

func TestOrdersExpire(t *testing.T) {
	w := newWorld(t, nil)
	c := w.acmez()
	a := account(t, c)
	order, err := c.NewOrder(t.Context(), a, client.Order{Identifiers: []client.Identifier{{Type: "dns", Value: "a.trusted.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(24 * time.Hour)
	csr, err := acmez.NewCSR(newKey(t), []string{"a.trusted.test"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.FinalizeOrder(t.Context(), a, order, csr.Raw); err == nil {
		t.Error("an old order was fulfilled")
	}
}

func TestIdentifiersThatCannotBeOrdered(t *testing.T) {
	w := newWorld(t, nil)
	c := w.acmez()
	a := account(t, c)
	many := []client.Identifier{}
	for n := range maxIdentifiers + 1 {
		many = append(many, client.Identifier{Type: "dns", Value: fmt.Sprintf("n%d.test", n)})
	}
	for want, identifiers := range map[string][][]client.Identifier{
		"rejectedIdentifier":    {{{Type: "dns", Value: "a b"}}, {{Type: "dns", Value: "127.0.0.1"}}, {{Type: "dns", Value: "a.*.test"}}, {{Type: "dns", Value: ""}}, {{Type: "ip", Value: "01.2.3.4"}}, {{Type: "ip", Value: "fe80::1%eth0"}}},
		"unsupportedIdentifier": {{{Type: "email", Value: "a@a.test"}}},
		"malformed":             {{}, {{Type: "dns", Value: "a.test"}, {Type: "dns", Value: "A.test"}}, many},
	} {
		for _, list := range identifiers {
			_, err := c.NewOrder(t.Context(), a, client.Order{Identifiers: list})
			expect(t, want, err)
		}
	}
}
