package server

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/redact"
)

const (
	bindingID  = "customer-1"
	bindingKey = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
)

// shop is a development server whose clock the test turns, with the token of its application.
type shop struct {
	*target
	now   *clock.Manual
	vault string
	token string
}

func openShop(t *testing.T, names ...string) *shop {
	t.Helper()
	s := &shop{now: clock.NewManual(time.Now())}
	c := Config{Dir: filepath.Join(t.TempDir(), "d"), Clock: s.now}
	for _, text := range names {
		n, err := ParseChallengeName(text)
		if err != nil {
			t.Fatal(err)
		}
		c.ChallengeNames = append(c.ChallengeNames, n)
	}
	d := startDevWith(t, DevConfig{Config: c})
	s.target = &target{Dev: d, t: t, client: d.httpClient(t)}
	s.vault = d.variable("AZURE_KEYVAULT_URL")
	s.login()
	return s
}

func (s *shop) login() {
	s.t.Helper()
	s.token = s.tokenOf(person{tenant: s.estate.Tenant, id: s.estate.App, app: s.estate.AppID, secret: redact.String(s.variable("AZURE_CLIENT_SECRET"))}, "https://vault.azure.net")
}

// ask asks the vault and decodes the answer into out, if there is one.
func (s *shop) ask(method, path, body string, want int, out any) string {
	s.t.Helper()
	got := s.send(method, s.vault+path+"?api-version=7.6", s.token, body)
	if got.status != want {
		s.t.Fatalf("%s %s: %d %s", method, path, got.status, got.body)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(got.body), out); err != nil {
			s.t.Fatal(err)
		}
	}
	return got.body
}

// shown is what the tests look at in a certificate.
type shown struct {
	ID  string `json:"id"`
	CER []byte `json:"cer"`
}

func (s shown) leaf(t *testing.T) *x509.Certificate {
	t.Helper()
	c, err := x509.ParseCertificate(s.CER)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// settle lets the background work go on until the certificate's operation has come to an end.
func (s *shop) settle(name string) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var op struct {
			Status, Details string `json:",omitempty"`
			Error           any
		}
		s.ask("GET", "/certificates/"+name+"/pending", "", http.StatusOK, &op)
		if op.Status == "completed" {
			return
		}
		if op.Status != "inProgress" || time.Now().After(deadline) {
			s.t.Fatalf("the operation on %s: %+v", name, op)
		}
		s.now.Advance(time.Second)
		s.core.certificates.Wake()
	}
}

// pebble is Let's Encrypt's small authority in this process. It looks for challenges at the ports of a server, and takes only the accounts of a customer.
func pebble(t *testing.T, s *shop) (directory, roots string, store *db.MemoryStore) {
	t.Helper()
	if raceDetector {
		t.Skip("SKIPPED, NOT PASSED: Pebble races with itself under the race detector; make test runs this without")
	}
	for name, value := range map[string]string{"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"} {
		t.Setenv(name, value)
	}
	quiet := log.New(io.Discard, "", 0)
	store = db.NewMemoryStore()
	if err := store.AddExternalAccountKeyByID(bindingID, bindingKey); err != nil {
		t.Fatal(err)
	}
	plain, err := url.Parse(s.variable("KEYWRIGHT_METRICS_URL"))
	if err != nil {
		t.Fatal(err)
	}
	port := func(address string) int {
		n, err := strconv.Atoi(address[strings.LastIndex(address, ":")+1:])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	authority := ca.New(quiet, store, "", "ecdsa", 1, 1, map[string]ca.Profile{"default": {ValidityPeriod: 90 * 24 * 3600}})
	validation := va.New(quiet, port(plain.Host), port(s.address()), false, loopbackNames(t), store)
	front := wfe.New(quiet, store, validation, authority, nil, false, true, 0, 0)
	server := httptest.NewTLSServer(front.Handler())
	t.Cleanup(server.Close)
	return server.URL + wfe.DirectoryPath, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})), store
}

// loopbackNames is a name server for which every name is on this machine.
func loopbackNames(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started, ended := make(chan struct{}), make(chan struct{})
	server := &dns.Server{Listener: listener, NotifyStartedFunc: func() { close(started) }, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)})
		}
		_ = w.WriteMsg(m) // whoever asked has gone away
	})}
	go func() { defer close(ended); _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown(); <-ended })
	return listener.Addr().String()
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A certificate is issued, and renewed when the authority says so, through the whole server: the issuer is set up by the protocol, the authority finds its
// challenges at the server's own listeners, and the account is one of its customers'.
func TestACMEIssuer(t *testing.T) {
	s := openShop(t, "demo=.shop.example")
	directory, roots, authority := pebble(t, s)
	settings := map[string]string{"directory": directory, "roots": roots, "agreeToTerms": "true", "contact": "mailto:ops@shop.example"}
	for name, challenge := range map[string]string{"by-http": "http-01", "by-tls": "tls-alpn-01"} {
		settings["challenge"] = challenge
		said := s.ask("PUT", "/certificates/issuers/"+name, encode(t, map[string]any{"provider": "acme", "keywright_settings": settings,
			"credentials": map[string]string{"account_id": bindingID, "pwd": bindingKey}}), http.StatusOK, nil)
		if strings.Contains(said, bindingKey) {
			t.Error("the answer shows the binding's key")
		}
		s.ask("POST", "/certificates/"+name+"/create", encode(t, map[string]any{"policy": map[string]any{"issuer": map[string]string{"name": name},
			"key_props":  map[string]any{"kty": "EC", "crv": "P-256"},
			"x509_props": map[string]any{"subject": "", "sans": map[string]any{"dns_names": []string{name + ".shop.example"}}, "validity_months": 3}}}), http.StatusAccepted, nil)
		s.settle(name)
		var got shown
		s.ask("GET", "/certificates/"+name, "", http.StatusOK, &got)
		if err := got.leaf(t).VerifyHostname(name + ".shop.example"); err != nil {
			t.Error(err)
		}
	}

	// The listeners are everybody's: a name that was given to nobody, or to somebody else, is proved there for nobody; the host of the tenant's own vault is.
	create := func(name, dns string) string {
		t.Helper()
		return s.ask("POST", "/certificates/"+name+"/create", encode(t, map[string]any{"policy": map[string]any{"issuer": map[string]string{"name": "by-http"},
			"key_props": map[string]any{"kty": "EC"}, "x509_props": map[string]any{"sans": map[string]any{"dns_names": []string{dns}}}}}), http.StatusAccepted, nil)
	}
	create("stolen", "www.another.example")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if said := s.ask("GET", "/certificates/stolen/pending", "", http.StatusOK, nil); strings.Contains(said, "NameNotProvable") && strings.Contains(said, `"failed"`) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("a name of somebody else: %s", said)
		}
		s.now.Advance(time.Second)
		s.core.certificates.Wake()
	}
	create("own", "demo."+s.names.suffix)
	s.settle("own")

	// The authority wants the certificate replaced, as it does before it takes one back: within a day the server asks, hears that, and renews.
	var before, after shown
	s.ask("GET", "/certificates/by-http", "", http.StatusOK, &before)
	past := map[string]any{"suggestedWindow": map[string]time.Time{"start": time.Now().Add(-2 * time.Hour).UTC(), "end": time.Now().Add(-time.Hour).UTC()}}
	if err := authority.SetARIResponse(before.leaf(t).SerialNumber, encode(t, past)); err != nil {
		t.Fatal(err)
	}
	s.now.Advance(25 * time.Hour)
	s.login()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		s.core.certificates.Wake()
		s.now.Advance(time.Second)
		s.ask("GET", "/certificates/by-http", "", http.StatusOK, &after)
		if after.ID != before.ID {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the certificate was not renewed")
		}
	}
	if string(after.CER) == string(before.CER) {
		t.Error("the renewed certificate is the one before")
	}
	var other shown
	s.ask("GET", "/certificates/by-tls", "", http.StatusOK, &other)
	if n := strings.Count(s.ask("GET", "/certificates/by-tls/versions", "", http.StatusOK, nil), `"id"`); n != 1 {
		t.Errorf("a certificate that is good was renewed: %d versions", n)
	}
}

// The account's key is made once, stays when the settings change, and is sealed.
func TestACMEAccountStays(t *testing.T) {
	s := openShop(t)
	// key is empty until an account is open, which the worker does.
	key := func() string {
		accounts := &s.core.issuers.accounts
		accounts.mu.Lock()
		defer accounts.mu.Unlock()
		for _, a := range accounts.open {
			return a.key.Reveal()
		}
		return ""
	}
	set := func(method, contact string) {
		t.Helper()
		s.ask(method, "/certificates/issuers/ca", encode(t, map[string]any{"provider": "ACME",
			"keywright_settings": map[string]string{"directory": "https://127.0.0.1:1/dir", "agreeToTerms": "true", "contact": contact}}), http.StatusOK, nil)
	}
	use := func(name string) {
		t.Helper()
		s.ask("POST", "/certificates/"+name+"/create", `{"policy":{"issuer":{"name":"ca"},"key_props":{"kty":"EC"},"x509_props":{"subject":"CN=a.example"}}}`, http.StatusAccepted, nil)
		s.core.certificates.Wake()
		for deadline := time.Now().Add(time.Minute); key() == ""; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nobody asks the issuer")
			}
		}
	}
	set("PUT", "mailto:a@shop.example")
	use("one")
	first := key()
	for i, method := range []string{"PATCH", "PUT"} {
		s.now.Advance(time.Minute)
		set(method, "mailto:b@shop.example")
		use("more-" + strconv.Itoa(i))
		if key() != first {
			t.Errorf("%s made another account", method)
		}
	}
	if _, err := x509.ParsePKCS8PrivateKey([]byte(first)); err != nil {
		t.Error(err)
	}
}

// Whoever sets an issuer up hears of every mistake at once.
func TestIssuerMistakes(t *testing.T) {
	s := openShop(t)
	good := map[string]string{"directory": "https://ca.example/dir", "agreeToTerms": "true"}
	for name, c := range map[string]struct {
		provider, account, password string
		settings                    map[string]string
		says                        []string
	}{
		"unknown":       {provider: "Nobody", says: []string{"Nobody", "ACME", "letsencrypt"}},
		"nothing":       {provider: "ACME", says: []string{"directory", "agree to the authority's terms"}},
		"plain http":    {provider: "ACME", settings: map[string]string{"directory": "http://ca.example/dir"}, says: []string{"no https address"}},
		"spelling":      {provider: "ACME", settings: map[string]string{"agreeToTerm": "true"}, says: []string{`no setting \"agreeToTerm\"`}},
		"no customer":   {provider: "DigiCert", says: []string{"key id", "MAC key"}},
		"bad binding":   {provider: "GlobalSign", account: "id", password: "!", says: []string{"MAC key in base64url"}},
		"bad roots":     {provider: "ACME", settings: map[string]string{"roots": "x"}, says: []string{"roots holds no certificate"}},
		"bad challenge": {provider: "LetsEncrypt", settings: map[string]string{"challenge": "dns-01"}, says: []string{`dns-01\" is preferred and has no solver`}},
		"bad server":    {provider: "ACME", settings: map[string]string{"dns": "rfc2136", "dnsServer": "192.0.2.1:53"}, says: []string{"loopback"}},
		"bad webhook":   {provider: "ACME", settings: map[string]string{"dns": "webhook", "dnsUrl": "ftp://a"}, says: []string{"webhook's address"}},
		"stray":         {provider: "ACME", settings: map[string]string{"dnsSecret": "canary-of-the-key"}, says: []string{"dnsSecret is given without dns"}},
		"settle":        {provider: "ACME", settings: map[string]string{"dns": "webhook", "dnsUrl": "https://a.example", "dnsSettle": "soon"}, says: []string{"dnsSettle"}},
	} {
		options := maps.Clone(good)
		if name == "nothing" || c.provider != "ACME" {
			options = map[string]string{}
		}
		maps.Copy(options, c.settings)
		said := s.ask("PUT", "/certificates/issuers/x", encode(t, map[string]any{"provider": c.provider, "keywright_settings": options,
			"credentials": map[string]string{"account_id": c.account, "pwd": c.password}}), http.StatusBadRequest, nil)
		for _, want := range c.says {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %s does not say %q", name, said, want)
			}
		}
		if strings.Contains(said, "canary-of-the-key") {
			t.Errorf("%s: the answer shows a secret", name)
		}
	}
	// A preset needs no more than its customer's credentials, and secrets are never shown.
	said := s.ask("PUT", "/certificates/issuers/x", encode(t, map[string]any{"provider": "DigiCert", "credentials": map[string]string{"account_id": "id", "pwd": bindingKey},
		"keywright_settings": map[string]string{"dns": "rfc2136", "dnsServer": "192.0.2.1:53", "dnsKey": "k", "dnsSecret": "Y2FuYXJ5"}}), http.StatusOK, nil)
	said += s.ask("GET", "/certificates/issuers/x", "", http.StatusOK, nil)
	if strings.Contains(said, "Y2FuYXJ5") || strings.Contains(said, bindingKey) || !strings.Contains(said, "192.0.2.1:53") {
		t.Errorf("what is shown: %s", said)
	}
	// A change of other settings keeps the secret, without which this one would be refused.
	s.ask("PATCH", "/certificates/issuers/x", encode(t, map[string]any{"keywright_settings": map[string]string{"dns": "rfc2136", "dnsServer": "192.0.2.2:53", "dnsKey": "k"}}), http.StatusOK, nil)
	// But a webhook's token, which nobody can read, is not sent to where somebody else says.
	webhook := func(url, secret string) map[string]any {
		settings := map[string]string{"directory": "https://ca.example/dir", "agreeToTerms": "true", "dns": "webhook", "dnsUrl": url}
		if secret != "" {
			settings["dnsSecret"] = secret
		}
		return map[string]any{"provider": "ACME", "keywright_settings": settings}
	}
	s.ask("PATCH", "/certificates/issuers/x", encode(t, webhook("https://dns.example/", "")), http.StatusBadRequest, nil) // it was a key for updates
	s.ask("PUT", "/certificates/issuers/hook", encode(t, webhook("https://dns.example/", "token")), http.StatusOK, nil)
	s.ask("PATCH", "/certificates/issuers/hook", encode(t, webhook("https://dns.example/", "")), http.StatusOK, nil)
	if said := s.ask("PATCH", "/certificates/issuers/hook", encode(t, webhook("https://elsewhere.example/", "")), http.StatusBadRequest, nil); !strings.Contains(said, "dnsSecret") {
		t.Error(said)
	}
	s.ask("PATCH", "/certificates/issuers/hook", encode(t, webhook("https://elsewhere.example/", "token")), http.StatusOK, nil)
}
