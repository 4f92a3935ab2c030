package webhook_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/e2e/testca"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/contract"
	"github.com/keywright/keywright/internal/rotator/contract/contracttest"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
	"github.com/keywright/keywright/internal/rotator/webhook"
)

// receiver is the reference receiver as a web service. It takes orders that are signed with a key that it knows, or that come with a client
// certificate, and logs what it is sent.
type receiver struct {
	ca     string
	server *httptest.Server
	values *http.Client
	keys   map[string]string
	mtls   bool
	// answer replaces the site's, where it is set.
	answer atomic.Pointer[http.HandlerFunc]

	mu   sync.Mutex
	site *contracttest.Site
	log  strings.Builder
}

// world is a receiver and a rotator whose values it can fetch.
type world struct {
	*receiver
	rotator *webhook.Rotator
	pair    *testca.Pair
}

func newWorld(t *testing.T, mtls bool) *world {
	t.Helper()
	pair, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pair.CA)
	start := func(h http.Handler, clients bool) *httptest.Server {
		server := httptest.NewUnstartedServer(h)
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // the suite breaks handshakes
		server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
		if clients {
			server.TLS.ClientAuth = tls.RequestClientCert // who verifies it
		}
		server.StartTLS()
		t.Cleanup(server.Close)
		return server
	}
	values := webhook.NewValues(clock.System{})
	handing := start(values, false)
	r := &receiver{ca: string(pair.CA), mtls: mtls, site: contracttest.NewSite(), keys: map[string]string{"keywright": "the key that both sides know", "guest": "the key of a mere guest"},
		values: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}}
	t.Cleanup(r.values.CloseIdleConnections)
	r.server = start(r, true)
	hook, err := webhook.New(webhook.Config{Values: values, URL: handing.URL + "/values", Clock: clock.System{}})
	if err != nil {
		t.Fatal(err)
	}
	return &world{r, hook, pair}
}

func (r *receiver) address() string { return strings.TrimPrefix(r.server.URL, "https://") }

func (r *receiver) with(f func(*contracttest.Site)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.site)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, request.Body, 1<<20))
	if err != nil {
		return
	}
	if canned := r.answer.Load(); canned != nil {
		(*canned)(w, request)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.log, "%s %s %v %s\n", request.Method, request.URL, request.Header, body)
	who, ok := r.who(request, body)
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	var o contract.Order
	if err := json.Unmarshal(body, &o); err != nil || request.Header.Get("Idempotency-Key") != o.Key() {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	reply := contract.Reply{Answer: contract.NotApplied, Reason: contract.Denied, Message: "guests change nothing"}
	if who != "guest" {
		reply = r.site.Obey(&o, time.Now(), func(p *contract.Part) (string, error) { return r.fetch(request.Context(), o.Values, p.Token) })
	}
	fmt.Fprintf(&r.log, "%+v\n", reply)
	_ = json.NewEncoder(w).Encode(reply)
}

// who checks who asks, as the page for operators tells receivers to.
func (r *receiver) who(request *http.Request, body []byte) (who string, ok bool) {
	if r.mtls {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(r.ca))
		if len(request.TLS.PeerCertificates) == 0 {
			return "", false
		}
		// The test's CA makes certificates of servers alone.
		_, err := request.TLS.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		return "keywright", err == nil
	}
	who = request.Header.Get("Keywright-Key")
	key, known := r.keys[who]
	sent, err := strconv.ParseInt(request.Header.Get("Keywright-Timestamp"), 10, 64)
	if !known || err != nil || time.Since(time.Unix(sent, 0)).Abs() > 5*time.Minute {
		return "", false
	}
	m := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(m, "%d\n%s\n%s", sent, request.Header.Get("Idempotency-Key"), body)
	return who, hmac.Equal([]byte("v1="+hex.EncodeToString(m.Sum(nil))), []byte(request.Header.Get("Keywright-Signature")))
}

func (r *receiver) fetch(ctx context.Context, address, token string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := r.values.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	var answer struct{ Value string }
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("fetching the value: status %d", response.StatusCode)
	}
	err = json.NewDecoder(response.Body).Decode(&answer)
	return answer.Value, err
}

func (w *world) target(address string) *rotator.Target {
	auth, admin := "hmac", rotator.Credential{Account: "keywright", Value: redact.Bytes("the key that both sides know")}
	if w.mtls {
		auth, admin.Value = "mtls", append(bytes.Clone(w.pair.Certificate), w.pair.Key...)
	}
	config, err := json.Marshal(map[string]any{"url": "https://" + address + "/rotate", "auth": auth, "tls": map[string]string{"ca": w.ca}})
	if err != nil {
		panic(err) // strings always encode
	}
	return &rotator.Target{Config: config, Admin: admin, Attempt: "attempt"}
}

func (w *world) make(t *testing.T, n int) []rotator.Credential {
	return contracttest.With(w.with).NewAccounts(t, n)
}

func TestConformance(t *testing.T) {
	w := newWorld(t, false)
	s := contracttest.With(w.with).Subject(w.rotator)
	s.Endpoints = []string{w.address()}
	s.Target = func(_ *testing.T, addresses []string) *rotator.Target { return w.target(addresses[0]) }
	s.Log = func(*testing.T) string {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.log.String()
	}
	s.Powerless = func(*testing.T) rotator.Credential {
		return rotator.Credential{Account: "guest", Value: redact.Bytes("the key of a mere guest")}
	}
	s.Broken = json.RawMessage(`{"url":"http://x/","auth":"trust","tls":{"ca":"none"}}`)
	s.Complaints = []string{"https", "auth", "PEM"}
	rotatortest.Run(t, s)
}

// With a client certificate the same orders need no signature, and without one nobody gives orders.
func TestMutualTLS(t *testing.T) {
	w := newWorld(t, true)
	c := w.make(t, 1)[0]
	target := w.target(w.address())
	next := rotator.Credential{Account: c.Account, Value: redact.Bytes("the second value")}
	if err := w.rotator.Set(t.Context(), target, rotator.Change{Credential: next}); err != nil {
		t.Fatal(err)
	}
	if logins, err := w.rotator.Probe(t.Context(), target, next); err != nil || logins.Verdict() != rotator.Accepted {
		t.Errorf("%+v, %v", logins, err)
	}
	stranger, err := testca.New()
	if err != nil {
		t.Fatal(err)
	}
	target.Admin.Value = append(stranger.Certificate, stranger.Key...)
	if err := w.rotator.Set(t.Context(), target, rotator.Change{Credential: next}); rotator.ClassOf(err) != rotator.Denied {
		t.Errorf("a certificate of another CA gave an order: %v", err)
	}
	target.Admin.Value = redact.Bytes("no certificate at all")
	if err := w.rotator.Set(t.Context(), target, rotator.Change{Credential: next}); rotator.ClassOf(err) != rotator.Denied {
		t.Errorf("no certificate: %v", err)
	}
}

// What statuses mean: they come from whatever stands on the way, and only some prove that nothing happened.
func TestStatuses(t *testing.T) {
	w := newWorld(t, false)
	c := rotator.Change{Credential: rotator.Credential{Account: "a", Value: redact.Bytes("a value of some length")}}
	for status, want := range map[int]rotator.Class{
		http.StatusUnauthorized: rotator.Denied, http.StatusForbidden: rotator.Denied, http.StatusNotFound: rotator.Misconfigured,
		http.StatusFound: rotator.Misconfigured, http.StatusTooManyRequests: rotator.Busy, http.StatusInternalServerError: rotator.Doubt,
		http.StatusBadGateway: rotator.Doubt, http.StatusServiceUnavailable: rotator.Doubt, http.StatusGatewayTimeout: rotator.Doubt, http.StatusRequestTimeout: rotator.Doubt,
	} {
		canned := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Location", "https://elsewhere.example/")
			rw.WriteHeader(status)
			_, _ = io.WriteString(rw, `{"answer":"done"}`)
		})
		w.answer.Store(&canned)
		if err := w.rotator.Set(t.Context(), w.target(w.address()), c); err == nil || rotator.ClassOf(err) != want {
			t.Errorf("status %d: %v of class %v, want %v", status, err, rotator.ClassOf(err), want)
		}
	}
	for _, body := range []string{"", "ok", `{"answer":"Done"}`, `{"answer":"done"} `, `{"answer":"done","message":"` + strings.Repeat("x", contract.MaxReplyBytes) + `"}`} {
		canned := http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, body) })
		w.answer.Store(&canned)
		err := w.rotator.Set(t.Context(), w.target(w.address()), c)
		if good := strings.HasPrefix(body, `{"answer":"done"} `); good != (err == nil) || err != nil && rotator.ClassOf(err) != rotator.Doubt {
			t.Errorf("the body %.40q: %v", body, err)
		}
	}
}

// A token is good once, for its value, until the deadline, and only while the order is open.
func TestTokens(t *testing.T) {
	w := newWorld(t, false)
	var kept contract.Order
	// The receiver's own copy of the order: the middle of the exchange.
	mid := http.HandlerFunc(func(rw http.ResponseWriter, request *http.Request) {
		if err := json.Unmarshal(bodyOf(request), &kept); err != nil {
			t.Error(err)
		}
		got, err := w.fetch(request.Context(), kept.Values, kept.Credential.Token)
		if err != nil || got != "the value of the token" {
			t.Errorf("the first use: %q, %v", got, err)
		}
		if _, err := w.fetch(request.Context(), kept.Values, kept.Credential.Token); err == nil {
			t.Error("a token was good twice")
		}
		_ = json.NewEncoder(rw).Encode(contract.Reply{Answer: contract.Unknown})
	})
	w.server.Config.Handler = withBody(mid)
	change := rotator.Change{Credential: rotator.Credential{Account: "a", Value: redact.Bytes("the value of the token")},
		Keep: &rotator.Credential{Account: "a", Value: redact.Bytes("the value to keep")}}
	_ = w.rotator.Set(t.Context(), w.target(w.address()), change)
	if kept.Keep == nil || kept.Keep.Token == "" || kept.Keep.Token == kept.Credential.Token {
		t.Fatalf("the order has no token of its own for the value to keep: %+v", kept)
	}
	if _, err := w.fetch(t.Context(), kept.Values, kept.Keep.Token); err == nil {
		t.Error("a token outlived its order")
	}
	get, err := w.values.Get(kept.Values)
	if err != nil {
		t.Fatal(err)
	}
	get.Body.Close()
	if get.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", get.StatusCode)
	}
}

type bodyKey struct{}

// withBody reads the request's body beforehand.
func withBody(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), bodyKey{}, body)))
	})
}

func bodyOf(r *http.Request) []byte {
	body, _ := r.Context().Value(bodyKey{}).([]byte)
	return body
}

// A slow receiver answers pending, and is asked again.
func TestPending(t *testing.T) {
	w := newWorld(t, false)
	c := w.make(t, 1)[0]
	w.with(func(s *contracttest.Site) { s.Patience = 2 })
	next := rotator.Credential{Account: c.Account, Value: redact.Bytes("the second value")}
	if err := w.rotator.Set(t.Context(), w.target(w.address()), rotator.Change{Credential: next}); err != nil {
		t.Fatal(err)
	}
	w.with(func(s *contracttest.Site) {
		if ok, err := s.Accepts(c.Account, "the second value"); !ok || err != nil {
			t.Errorf("%v, %v", ok, err)
		}
	})
}

func TestProbesByConfiguration(t *testing.T) {
	w := newWorld(t, false)
	for text, want := range map[string]bool{`{"url":"https://x/"}`: true, `{"url":"https://x/","probe":true}`: true, `{"url":"https://x/","probe":false}`: false, `[]`: false} {
		if got := w.rotator.Probes(json.RawMessage(text)); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	values := webhook.NewValues(clock.System{})
	for _, c := range []webhook.Config{
		{}, {Values: values, URL: "https://x/values"}, {Values: values, Clock: clock.System{}}, {Values: values, Clock: clock.System{}, URL: "http://x/values"},
		{Values: values, Clock: clock.System{}, URL: "https://user@x/values"}, {Values: values, Clock: clock.System{}, URL: "https://x/values?token=1"},
	} {
		if _, err := webhook.New(c); !fault.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A short key could be found by trying: it signs nothing.
func TestShortKey(t *testing.T) {
	w := newWorld(t, false)
	target := w.target(w.address())
	target.Admin.Value = redact.Bytes("short")
	err := w.rotator.Set(t.Context(), target, rotator.Change{Credential: w.make(t, 1)[0]})
	var known *rotator.Error
	if !errors.As(err, &known) || known.Class != rotator.Denied {
		t.Error(err)
	}
}
