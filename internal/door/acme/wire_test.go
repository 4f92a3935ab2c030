package acme

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

func parsePEM(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// nonce fetches one.
func (w *world) nonce(t testing.TB) string {
	t.Helper()
	r, err := w.client.Head(w.url + pathNonce)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK || r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("a nonce comes with %d, %q", r.StatusCode, r.Header.Get("Cache-Control"))
	}
	return r.Header.Get("Replay-Nonce")
}

// sign makes a request by hand.
func sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, options *jose.SignerOptions, payload string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return jws.FullSerialize()
}

func (w *world) options(t testing.TB, path string) *jose.SignerOptions {
	return (&jose.SignerOptions{EmbedJWK: true}).WithHeader("url", w.url+path).WithHeader("nonce", w.nonce(t))
}

// post sends a request and returns the kind of problem that comes back, or the status.
func (w *world) post(t testing.TB, path, kind, body string) string {
	t.Helper()
	r, err := w.client.Post(w.url+path, kind, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Header.Get("Replay-Nonce") == "" {
		t.Errorf("%s: no new nonce", path)
	}
	var p Problem
	if r.StatusCode >= 400 {
		if err := json.Unmarshal(text, &p); err != nil || r.Header.Get("Content-Type") != "application/problem+json" || p.Status != r.StatusCode {
			t.Errorf("%s: %d %s", path, r.StatusCode, text)
		}
		return strings.TrimPrefix(p.Type, problemSpace)
	}
	return http.StatusText(r.StatusCode)
}

const jose0 = "application/jose+json"

func TestSignatures(t *testing.T) {
	w := newWorld(t, nil)
	key := newKey(t)
	good := sign(t, jose.ES256, key, w.options(t, pathNewAccount), "{}")
	if got := w.post(t, pathNewAccount, jose0, good); got != "Created" {
		t.Fatalf("an account: %s", got)
	}
	if got := w.post(t, pathNewAccount, jose0, good); got != "badNonce" {
		t.Errorf("the same once more: %s", got)
	}
	extra := func(member string) string {
		return strings.Replace(sign(t, jose.ES256, key, w.options(t, pathNewAccount), "{}"), "{", `{`+member+`,`, 1)
	}
	compact := func() string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, w.options(t, pathNewAccount))
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign([]byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	noKey := (&jose.SignerOptions{}).WithHeader("url", w.url+pathNewAccount).WithHeader("nonce", w.nonce(t))
	account := (&jose.SignerOptions{}).WithHeader("url", w.url+pathNewOrder).WithHeader("nonce", w.nonce(t)).WithHeader("kid", w.url+pathAccount+"unknown")
	damaged := []byte(sign(t, jose.ES256, key, w.options(t, pathNewAccount), "{}"))
	at := bytes.LastIndex(damaged, []byte(`"signature":"`)) + len(`"signature":"`) + 3
	if other := byte('A'); damaged[at] == other { // one in 64
		damaged[at] = 'B'
	} else {
		damaged[at] = other
	}
	for name, c := range map[string]struct{ path, kind, body, want string }{
		"content type":       {pathNewAccount, "application/json", sign(t, jose.ES256, key, w.options(t, pathNewAccount), "{}"), "malformed"},
		"another address":    {pathNewAccount, jose0, sign(t, jose.ES256, key, w.options(t, pathNewOrder), "{}"), "unauthorized"},
		"no address":         {pathNewAccount, jose0, sign(t, jose.ES256, key, &jose.SignerOptions{EmbedJWK: true}, "{}"), "unauthorized"},
		"no nonce":           {pathNewAccount, jose0, sign(t, jose.ES256, key, (&jose.SignerOptions{EmbedJWK: true}).WithHeader("url", w.url+pathNewAccount), "{}"), "badNonce"},
		"another's nonce":    {pathNewAccount, jose0, sign(t, jose.ES256, key, (&jose.SignerOptions{EmbedJWK: true}).WithHeader("url", w.url+pathNewAccount).WithHeader("nonce", "AAAA"), "{}"), "badNonce"},
		"a damaged one":      {pathNewAccount, jose0, string(damaged), "unauthorized"},
		"unprotected header": {pathNewAccount, jose0, extra(`"header":{"kid":"x"}`), "malformed"},
		"general form":       {pathNewAccount, jose0, extra(`"signatures":[]`), "malformed"},
		"compact form":       {pathNewAccount, jose0, compact(), "malformed"},
		"a MAC":              {pathNewAccount, jose0, sign(t, jose.HS256, []byte("0123456789abcdef0123456789abcdef"), noKey, "{}"), "badSignatureAlgorithm"},
		"no key":             {pathNewAccount, jose0, sign(t, jose.ES256, key, noKey, "{}"), "malformed"},
		"a key for an order": {pathNewOrder, jose0, sign(t, jose.ES256, key, w.options(t, pathNewOrder), "{}"), "malformed"},
		"an unknown account": {pathNewOrder, jose0, sign(t, jose.ES256, key, account, "{}"), "accountDoesNotExist"},
		"nothing":            {pathNewAccount, jose0, "", "malformed"},
		"too large":          {pathNewAccount, jose0, strings.Repeat(" ", maxBody+1), "malformed"},
		"contacts":           {pathNewAccount, jose0, sign(t, jose.ES256, newKey(t), w.options(t, pathNewAccount), `{"contact":["tel:1"]}`), "unsupportedContact"},
		"mail":               {pathNewAccount, jose0, sign(t, jose.ES256, newKey(t), w.options(t, pathNewAccount), `{"contact":["mailto:a b"]}`), "invalidContact"},
	} {
		if got := w.post(t, c.path, c.kind, c.body); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// A request with a wrong signature must not use up somebody's nonce.
func TestNoncesOfOthersStay(t *testing.T) {
	w := newWorld(t, nil)
	options := w.options(t, pathNewAccount)
	body := sign(t, jose.ES256, newKey(t), options, "{}")
	broken := strings.Replace(body, `"payload":"e30"`, `"payload":"e2F9"`, 1)
	if broken == body {
		t.Fatal("nothing was broken")
	}
	if got := w.post(t, pathNewAccount, jose0, broken); got != "unauthorized" {
		t.Errorf("the broken one: %s", got)
	}
	if got := w.post(t, pathNewAccount, jose0, body); got != "Created" {
		t.Errorf("the good one after it: %s", got)
	}
}

func TestNoncesAreForgottenInOrder(t *testing.T) {
	n := newNonces()
	issue := func() string { nonce, _ := n.Issue(t.Context()); return nonce }
	use := func(nonce string) bool { ok, _ := n.Use(t.Context(), nonce); return ok }
	first := issue()
	second := issue()
	for range maxNonces - 1 {
		issue()
	}
	if use(first) || !use(second) || use(second) {
		t.Error("the oldest was to be forgotten, and each counts once")
	}
	if len(n.known) > maxNonces {
		t.Errorf("%d are remembered", len(n.known))
	}
}

func TestRenewalInformationIsNotForGuessing(t *testing.T) {
	w := newWorld(t, nil)
	for _, id := range []string{"AAAA.AQID", "AAAA", ".", "AAAA.", ".AAAA", "AAAA.gAAA", "AAAA.AAAA.AAAA", "=.="} {
		r, err := w.client.Get(w.url + pathRenewal + "/" + id)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != 404 && r.StatusCode != 400 {
			t.Errorf("%s: %d", id, r.StatusCode)
		}
	}
}

func TestEveryKindHasAProblem(t *testing.T) {
	for _, k := range fault.Kinds() {
		if kinds[k].status < 400 || kinds[k].name == "" {
			t.Errorf("%v has none", k)
		}
	}
	if p := problemOf(fault.Wrap(errors.New("x"), fault.Internal, "disk on fire")); p.Status != 500 || strings.Contains(p.Detail, "fire") {
		t.Errorf("an unknown error shows %+v", p)
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Find: func(*door.Request) (*Issuer, error) { return nil, nil }, Validator: new(Validator), Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler)}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"find": func(c *Config) { c.Find = nil }, "validator": func(c *Config) { c.Validator = nil }, "clock": func(c *Config) { c.Clock = nil }, "logger": func(c *Config) { c.Logger = nil },
	} {
		config := good
		change(&config)
		if _, err := New(config); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for _, url := range []string{"http://a.test/acme/shop/ca", "https://a.test/", "https:///x", "https://a.test/x?y"} {
		w := newWorld(t, func(c *settings) { c.URL = url })
		r, err := w.client.Get(w.url + pathDirectory)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusInternalServerError {
			t.Errorf("%s is served: %d", url, r.StatusCode)
		}
	}
}

// What is not there has a problem, too, and says no more.
func TestNothingElseIsThere(t *testing.T) {
	w := newWorld(t, nil)
	elsewhere := strings.TrimSuffix(w.url, "ca") + "other"
	for _, c := range []struct {
		method, url string
		want        int
	}{{"GET", elsewhere + pathDirectory, 404}, {"POST", elsewhere + pathNewOrder, 404}, {"GET", w.url, 404}, {"GET", w.url + "/x", 404}, {"GET", w.url + pathNewOrder, 405}, {"DELETE", w.url + pathDirectory, 405}} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, c.url, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := w.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != c.want || answer.Header.Get("Content-Type") != problemMedia {
			t.Errorf("%s %s: %d %s", c.method, c.url, answer.StatusCode, answer.Header.Get("Content-Type"))
		}
	}
}

// Whatever is sent, the answer is one of the protocol and nothing is created.
func FuzzRequest(f *testing.F) {
	w := newWorld(f, nil)
	f.Add(sign(f, jose.ES256, newKey(f), w.options(f, pathNewAccount), "{}"))
	f.Add(`{"protected":"e30","payload":"","signature":"AAAA"}`)
	host, _, _ := strings.Cut(strings.TrimPrefix(w.url, "https://"), "/")
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest(http.MethodPost, strings.TrimPrefix(w.url, "https://"+host)+pathNewOrder, strings.NewReader(body))
		r.Header.Set("Content-Type", jose0)
		answer := httptest.NewRecorder()
		w.server.ServeHTTP(answer, r)
		if answer.Code < 400 || answer.Code >= 500 || answer.Header().Get("Replay-Nonce") == "" {
			t.Errorf("%q: %d %s", body, answer.Code, answer.Body)
		}
	})
}

// Names of certificates are read as they are written.
func FuzzCertificateID(f *testing.F) {
	f.Add("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
	f.Fuzz(func(t *testing.T, id string) {
		authority, serial, err := parseCertificateID(id)
		if (err == nil) != (authority != nil && serial != nil) {
			t.Errorf("%x %v %v", authority, serial, err)
		}
		if err == nil && (len(authority) > 64 || serial.Sign() < 0 || serial.BitLen() > 168) {
			t.Errorf("%x %v", authority, serial)
		}
	})
}
