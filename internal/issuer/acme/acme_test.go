package acme

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/issuertest"
)

// Each handle of the suite has the same key and nothing else in common with the others: the account and the orders are found at the authority.
func TestConformance(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	for kind, solver := range map[string]Solver{"http-01": w.http, "tls-alpn-01": w.alpn, "dns-01": w.dns} {
		config := w.config(t, map[string]Solver{kind: solver})
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			issuertest.Run(t, issuertest.Subject{
				Open: func(t *testing.T) issuer.Issuer { return open(t, config) }, Roots: w.roots, Now: time.Now,
				Name: func(n int) string { return fmt.Sprintf("n%d.%s.example.test", n, kind) },
			})
		})
	}
	t.Cleanup(func() {
		if w.names.updates == 0 {
			t.Error("no record was ever written")
		}
	})
}

func request(t *testing.T, template x509.CertificateRequest) issuer.Request {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return issuer.Request{ID: "r-" + rand.Text(), CSR: csr}
}

// obtain goes on until the order has come to an end.
func obtain(t *testing.T, i *Issuer, r issuer.Request) ([]*x509.Certificate, error) {
	t.Helper()
	result, err := i.Begin(t.Context(), r)
	for deadline := time.Now().Add(time.Minute); err == nil && result.Pending != nil; result, err = i.Poll(t.Context(), r, result.Pending.Token) {
		if time.Now().After(deadline) {
			t.Fatalf("still pending: %s", result.Pending.Detail)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return result.Chain, err
}

// A name and its wildcard have two records under one name, and nothing stays behind.
func TestWildcard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	i := open(t, w.config(t, map[string]Solver{"dns-01": w.dns, "http-01": w.http}))
	chain, err := obtain(t, i, request(t, x509.CertificateRequest{DNSNames: []string{"wild.test", "*.wild.test"}}))
	if err != nil {
		t.Fatal(err)
	}
	names := slices.Sorted(slices.Values(chain[0].DNSNames))
	if !slices.Equal(names, []string{"*.wild.test", "wild.test"}) {
		t.Errorf("the names are %v", names)
	}
	if n := w.names.left(); n != 0 {
		t.Errorf("%d records stay behind", n)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	for kind, solver := range map[string]Solver{"http-01": w.http, "tls-alpn-01": w.alpn} {
		chain, err := obtain(t, open(t, w.config(t, map[string]Solver{kind: solver})), request(t, x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}))
		if err != nil || len(chain[0].IPAddresses) != 1 {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

func TestBinding(t *testing.T) {
	t.Parallel()
	w := newWorld(t, true)
	config := w.config(t, map[string]Solver{"http-01": w.http})
	r := request(t, x509.CertificateRequest{DNSNames: []string{"bound.test"}})
	if _, err := open(t, config).Begin(t.Context(), r); !fault.Is(err, fault.Forbidden) || !strings.Contains(err.Error(), "externalAccountRequired") {
		t.Errorf("without a binding: %v", err)
	}
	config.Binding = &Binding{KeyID: bindingID, MACKey: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}
	if _, err := open(t, config).Begin(t.Context(), r); !fault.Is(err, fault.Forbidden) {
		t.Errorf("with another key: %v", err)
	} else if strings.Contains(err.Error(), "AAAAAAAA") {
		t.Errorf("the key is in the error: %v", err)
	}
	config.Binding.MACKey = bindingKey
	if _, err := obtain(t, open(t, config), r); err != nil {
		t.Error(err)
	}
	// The account is there now: nobody needs the binding any more.
	config.Binding = nil
	if _, err := obtain(t, open(t, config), request(t, x509.CertificateRequest{DNSNames: []string{"again.test"}})); err != nil {
		t.Error(err)
	}
}

// A renewal names what it replaces; the authority takes that once, and a second renewal of the same certificate goes through without.
func TestRenewalReplaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	i := open(t, w.config(t, map[string]Solver{"http-01": w.http}))
	first, err := obtain(t, i, request(t, x509.CertificateRequest{DNSNames: []string{"renew.test"}}))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r := request(t, x509.CertificateRequest{DNSNames: []string{"renew.test"}})
		r.Previous = first[0]
		if next, err := obtain(t, i, r); err != nil || next[0].SerialNumber.Cmp(first[0].SerialNumber) == 0 {
			t.Error(err)
		}
	}
	// Pebble answers with its own failure (500) when it does not find the certificate, as in the moment behind its issuance.
	unknown := *first[0]
	unknown.SerialNumber = big.NewInt(1 << 60)
	r := request(t, x509.CertificateRequest{DNSNames: []string{"renew.test"}})
	r.Previous = &unknown
	if _, err := obtain(t, i, r); err != nil {
		t.Errorf("replacing a certificate that the authority cannot find: %v", err)
	}
}

func TestProfilesAndAlternateChains(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	config := w.config(t, map[string]Solver{"http-01": w.http})
	r := request(t, x509.CertificateRequest{DNSNames: []string{"short.test"}})
	r.Profile = "short"
	chain, err := obtain(t, open(t, config), r)
	if err != nil {
		t.Fatal(err)
	}
	if life := chain[0].NotAfter.Sub(chain[0].NotBefore); life > 7*24*time.Hour {
		t.Errorf("a short one lives for %v", life)
	}
	r.Profile = "nonsense"
	if _, err := open(t, config).Begin(t.Context(), r); err == nil {
		t.Error("an unknown profile was taken")
	}

	seen := chain[len(chain)-1].Issuer.CommonName
	offered := map[string]bool{seen: true}
	for range 2 {
		config.PreferredRoot = other(t, w, seen)
		chain, err := obtain(t, open(t, config), request(t, x509.CertificateRequest{DNSNames: []string{"alternate.test"}}))
		if err != nil {
			t.Fatal(err)
		}
		offered[chain[len(chain)-1].Issuer.CommonName] = true
		if got := chain[len(chain)-1].Issuer.CommonName; got != config.PreferredRoot {
			t.Errorf("the chain ends under %q, and %q was preferred", got, config.PreferredRoot)
		}
		seen = config.PreferredRoot
	}
	if len(offered) != 2 {
		t.Errorf("the chains end under %v", offered)
	}
}

// other is the root that is not this one.
func other(t *testing.T, w *world, name string) string {
	t.Helper()
	for _, c := range w.rootNames {
		if c != name {
			return c
		}
	}
	t.Fatal("there is only one root")
	return ""
}

// silent presents nothing, so that the authority looks in vain.
type silent struct{ Solver }

func (silent) Present(context.Context, Challenge) error       { return nil }
func (silent) Ready(context.Context, Challenge) (bool, error) { return true, nil }

// A failed order says what the authority saw, and the next one may succeed.
func TestAuthorityLooksInVain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	for kind, solver := range map[string]Solver{"http-01": w.http, "tls-alpn-01": w.alpn, "dns-01": w.dns} {
		config := w.config(t, map[string]Solver{kind: silent{solver}})
		r := request(t, x509.CertificateRequest{DNSNames: []string{kind + ".vain.test"}})
		if _, err := obtain(t, open(t, config), r); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "begin again") {
			t.Errorf("%s: %v", kind, err)
		}
		config.Solvers = map[string]Solver{kind: solver}
		if _, err := obtain(t, open(t, config), r); err != nil {
			t.Errorf("%s: the next try: %v", kind, err)
		}
	}
}

// The authority is not told to look before the record can be seen.
func TestWaitsForRecords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	i := open(t, w.config(t, map[string]Solver{"dns-01": w.dns}))
	w.names.mu.Lock()
	w.names.hidden["_acme-challenge.late.test."] = true
	w.names.mu.Unlock()
	r := request(t, x509.CertificateRequest{DNSNames: []string{"late.test"}})
	result, err := i.Begin(t.Context(), r)
	for range 3 {
		if err != nil || result.Pending == nil || !strings.Contains(result.Pending.Detail, "late.test cannot be seen yet") {
			t.Fatalf("%+v, %v", result.Pending, err)
		}
		result, err = i.Poll(t.Context(), r, result.Pending.Token)
	}
	w.names.mu.Lock()
	clear(w.names.hidden)
	w.names.mu.Unlock()
	for deadline := time.Now().Add(time.Minute); err == nil && result.Pending != nil && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		result, err = i.Poll(t.Context(), r, result.Pending.Token)
	}
	if err != nil || result.Chain == nil {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestAuthorityIsAway(t *testing.T) {
	closed := httptest.NewTLSServer(http.NotFoundHandler())
	directory := closed.URL + "/dir"
	closed.Close()
	nonsense := httptest.NewTLSServer(http.NotFoundHandler())
	defer nonsense.Close()
	roots := x509.NewCertPool()
	roots.AddCert(nonsense.Certificate())
	for _, directory := range []string{directory, nonsense.URL + "/dir"} {
		i := open(t, Config{Directory: directory, Roots: roots, Key: newKey(t), AgreeToTerms: true, Solvers: map[string]Solver{"http-01": new(HTTP01)}, Clock: clock.System{}})
		if _, err := i.Begin(t.Context(), request(t, x509.CertificateRequest{DNSNames: []string{"a.test"}})); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: %v", directory, err)
		}
	}
}

func TestRequestsThatACMEDoesNotCertify(t *testing.T) {
	t.Parallel()
	w := newWorld(t, false)
	i := open(t, w.config(t, map[string]Solver{"http-01": w.http}))
	for name, template := range map[string]x509.CertificateRequest{
		"mail": {DNSNames: []string{"a.test"}, EmailAddresses: []string{"a@a.test"}}, "uri": {URIs: []*url.URL{{Scheme: "spiffe", Host: "a"}}},
	} {
		if _, err := i.Begin(t.Context(), request(t, template)); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := i.Begin(t.Context(), request(t, x509.CertificateRequest{DNSNames: []string{"*.a.test"}})); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "dns-01") {
		t.Errorf("a wildcard by http-01: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Directory: "https://ca.test/dir", Key: newKey(t), AgreeToTerms: true, Solvers: map[string]Solver{"http-01": new(HTTP01)}, Clock: clock.System{}}
	open(t, good)
	for says, change := range map[string]func(*Config){
		"no https":       func(c *Config) { c.Directory = "http://ca.test/dir" },
		"needs a key":    func(c *Config) { c.Key = nil },
		"must agree":     func(c *Config) { c.AgreeToTerms = false },
		"mailto":         func(c *Config) { c.Contact = []string{"ops@a.test"} },
		"at least 16":    func(c *Config) { c.Binding = &Binding{KeyID: "k", MACKey: "AAAA"} },
		"no solver":      func(c *Config) { c.Solvers = nil },
		"use dns-01":     func(c *Config) { c.Solvers = map[string]Solver{"mail": new(HTTP01)} },
		"is preferred":   func(c *Config) { c.Prefer = []string{"dns-01"} },
		"clock":          func(c *Config) { c.Clock = nil },
		"RSA or ECDSA, ": func(c *Config) { c.Key = elsewhere{ed25519Key(t)} },
	} {
		config := good
		change(&config)
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", says, err)
		}
	}
	for name, authority := range Presets() {
		config := good
		config.Directory = authority.Directory
		if _, err := New(config); err != nil || authority.Title == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNameServerRefuses(t *testing.T) {
	names := newNameServer(t)
	for says, config := range map[string]RFC2136Config{
		"no answer that can be trusted": {Server: names.address, KeyName: "keywright", KeySecret: "YW5vdGhlciBzZWNyZXQ="},
		"refuses to change":             {Server: names.address, Zone: "other.test", KeyName: "keywright", KeySecret: nameServerKey},
		"has no zone":                   {Server: names.address, KeyName: "keywright", KeySecret: nameServerKey},
	} {
		p, err := NewRFC2136(config)
		if err != nil {
			t.Fatal(err)
		}
		name := "_acme-challenge.a.test."
		if says == "has no zone" {
			name = "_acme-challenge.a.elsewhere."
		}
		if err := p.Set(t.Context(), name, "v"); fault.As(err) == nil || !strings.Contains(fault.As(err).Message, says) || strings.Contains(err.Error(), "YW5v") {
			t.Errorf("%q: %v", says, err)
		}
	}
	if _, err := NewRFC2136(RFC2136Config{Server: "192.0.2.1:53"}); err == nil {
		t.Error("updates without a key go out into the world")
	}
}

func TestWebhook(t *testing.T) {
	var got []string
	status := http.StatusNoContent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, r.ContentLength)
		_, _ = r.Body.Read(body)
		got = append(got, r.Header.Get("Authorization")+" "+string(body))
		w.WriteHeader(status)
	}))
	defer server.Close()
	p, err := NewWebhook(WebhookConfig{URL: server.URL, Token: "secret-token"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Set(t.Context(), "a.test.", "v"); err != nil {
		t.Error(err)
	}
	if err := p.Remove(t.Context(), "a.test.", "v"); err != nil {
		t.Error(err)
	}
	want := []string{`Bearer secret-token {"action":"set","name":"a.test.","value":"v"}`, `Bearer secret-token {"action":"remove","name":"a.test.","value":"v"}`}
	if !slices.Equal(got, want) {
		t.Errorf("it was told %q", got)
	}
	for answer, kind := range map[int]fault.Kind{500: fault.Unavailable, 429: fault.Unavailable, 403: fault.Forbidden, 302: fault.Forbidden} {
		status = answer
		if err := p.Set(t.Context(), "a.test.", "v"); !fault.Is(err, kind) || strings.Contains(err.Error(), "secret-token") {
			t.Errorf("%d: %v", answer, err)
		}
	}
	for _, address := range []string{"http://dns.test/", "ftp://127.0.0.1", "https://user:pw@dns.test/", "://"} {
		if _, err := NewWebhook(WebhookConfig{URL: address}); err == nil || strings.Contains(err.Error(), "pw") {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestExec(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "dns")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n[ \"$2\" = remove ] && { echo 'no such zone' >&2; exit 3; }\necho \"$@ $(cat) ${HOME-none} $ZONE\" >> \""+dir+"/log\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := NewExec(script, []string{"--fast"}, []string{"ZONE=z", "PATH=/usr/bin:/bin"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Set(t.Context(), "a.test.", "v"); err != nil {
		t.Fatal(err)
	}
	if log, err := os.ReadFile(filepath.Join(dir, "log")); err != nil || string(log) != "--fast set a.test. v none z\n" {
		t.Errorf("%q, %v", log, err)
	}
	if err := p.Remove(t.Context(), "a.test.", "v"); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "no such zone") {
		t.Error(err)
	}
	if _, err := NewExec("dns", nil, nil); err == nil {
		t.Error("a program is looked for in the path")
	}
}

// A provider that cannot be asked is believed after the time to settle.
func TestSettling(t *testing.T) {
	c := clock.NewManual(time.Unix(0, 0))
	p, err := NewExec("/bin/true", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewDNS01(p, time.Minute, c)
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range []bool{false, false, true} {
		if ready, err := s.Ready(t.Context(), Challenge{Token: "t"}); err != nil || ready != want {
			t.Errorf("after %d half minutes: %v, %v", after, ready, err)
		}
		c.Advance(30 * time.Second)
	}
}

// The handler answers what is looked for and nothing else.
func TestHTTP01(t *testing.T) {
	s := new(HTTP01)
	if err := s.Present(t.Context(), Challenge{Token: "abc", KeyAuthorization: "abc.def"}); err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]int{ChallengePath + "abc": 200, ChallengePath + "abd": 404, ChallengePath: 404, "/abc": 404, ChallengePath + "abc/": 404} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil))
		if w.Code != want || want == 200 && w.Body.String() != "abc.def" {
			t.Errorf("%s: %d %q", target, w.Code, w.Body)
		}
	}
	if err := s.CleanUp(t.Context(), Challenge{Token: "abc"}); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest(http.MethodGet, ChallengePath+"abc", nil))
	if w.Code != 404 {
		t.Error("an old answer is given")
	}
}
