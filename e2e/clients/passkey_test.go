package clients_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
)

// A person registers a passkey on the server's page and signs a device in with it, in a real browser with a virtual authenticator.
func TestBrowserPasskey(t *testing.T) {
	if !enter(t, named) {
		return
	}
	s := start(t, named)
	b := browse(t)
	b.do(t, "WebAuthn.enable", map[string]any{}, nil)
	b.do(t, "WebAuthn.addVirtualAuthenticator", map[string]any{"options": map[string]any{"protocol": "ctap2", "transport": "internal",
		"hasResidentKey": true, "hasUserVerification": true, "isUserVerified": true, "automaticPresenceSimulation": true}}, nil)

	login := "https://" + s.login + s.port() + "/" + s.env[tenantVariable] + "/oauth2"
	b.open(t, login+"/enrol")
	b.await(t, "#sign-in")
	b.fill(t, "[name=upn]", s.upn)
	b.fill(t, "[name=password]", s.password)
	b.fill(t, "[name=code]", must(totp.GenerateCode(s.seed, time.Now()))(t))
	b.click(t, "button[value=allow]")
	b.await(t, "#register")
	b.fill(t, "[name=name]", "laptop")
	b.click(t, "#use-passkey")
	b.await(t, "main:not(:has(form)) > p")
	b.says(t, "The passkey “laptop” of "+s.upn+" is registered")

	code := s.deviceCode(t, login)
	b.open(t, login+"/deviceauth?user_code="+code.UserCode)
	b.await(t, "form")
	b.signInByPasskey(t, code.UserCode)
	s.redeem(t, login, code.DeviceCode)
}

// says fails unless the page shows the text.
func (b *browser) says(t *testing.T, want string) {
	t.Helper()
	var text string
	if err := b.eval(t.Context(), "document.body.innerText", &text); err != nil || !strings.Contains(text, want) {
		t.Fatalf("the page shows %q, %v; want %q", text, err, want)
	}
}

// signInByPasskey answers the device page, which may ask for the code first.
func (b *browser) signInByPasskey(t *testing.T, userCode string) {
	t.Helper()
	var asks bool
	if err := b.eval(t.Context(), "!document.querySelector('#sign-in')", &asks); err != nil {
		t.Fatal(err)
	}
	if asks {
		b.fill(t, "[name=user_code]", userCode)
		b.click(t, "button[value=find]")
		b.await(t, "#sign-in")
	}
	b.click(t, "#use-passkey")
	b.await(t, "main:not(:has(form)) > p")
	b.says(t, "signed in as")
}

type deviceCode struct {
	UserCode        string `json:"user_code"`
	DeviceCode      string `json:"device_code"`
	VerificationURI string `json:"verification_uri"`
}

func (s *server) deviceCode(t *testing.T, login string) (c deviceCode) {
	t.Helper()
	s.form(t, login+"/v2.0/devicecode", url.Values{"client_id": {azClient}, "scope": {s.resource() + "/.default"}}, &c)
	if c.UserCode == "" {
		t.Fatalf("no code for a device: %+v", c)
	}
	return c
}

// redeem gets the token that the person allowed.
func (s *server) redeem(t *testing.T, login, code string) {
	t.Helper()
	var token struct {
		AccessToken string `json:"access_token"`
	}
	s.form(t, login+"/v2.0/token", url.Values{"client_id": {azClient}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {code}}, &token)
	if strings.Count(token.AccessToken, ".") != 2 {
		t.Errorf("the device got a token with %d parts", strings.Count(token.AccessToken, ".")+1)
	}
}

// azClient is the client id of Azure's command line, which every installation knows.
const azClient = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

// client trusts the server's private CA.
func (s *server) client(t *testing.T) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(must(os.ReadFile(s.env["SSL_CERT_FILE"]))(t)) {
		t.Fatal("the server's CA file holds no certificate")
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}, Timeout: 20 * time.Second}
}

// form posts and decodes the answer, which must be a success.
func (s *server) form(t *testing.T, url string, values url.Values, into any) {
	t.Helper()
	resp, err := s.client(t).PostForm(url, values)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		var problem map[string]any
		json.NewDecoder(resp.Body).Decode(&problem)
		t.Fatalf("%s: %s %v", url, resp.Status, problem)
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}
