package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keywright/keywright/client/api"
)

// fake answers each request with the next of the answers, and the last one from then on.
func fake(t *testing.T, answers ...http.HandlerFunc) (*Client, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answers[min(int(n.Add(1)), len(answers))-1](w, r)
	}))
	t.Cleanup(s.Close)
	c, err := New(Config{URL: s.URL, HTTP: s.Client(), Tokens: StaticToken("token")})
	if err != nil {
		t.Fatal(err)
	}
	return c, &n
}

func problem(status int, kind Kind, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.Header().Set("Content-Type", api.ProblemContentType)
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(api.Problem{Status: status, Kind: kind, Reason: "Because", Detail: "it does not work", Correlation: "c-1"})
	}
}

func ok(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"name":"s","value":"v"}`) }

func TestRetries(t *testing.T) {
	get := func(c *Client) error { _, err := c.Vault("v").Get(t.Context(), "s"); return err }
	set := func(c *Client) error { _, err := c.Vault("v").Set(t.Context(), "s", []byte("x")); return err }
	tests := []struct {
		name    string
		call    func(*Client) error
		answers []http.HandlerFunc
		want    int64
		kind    Kind
	}{
		{"a read waits for a server that is down", get, []http.HandlerFunc{problem(503, Unavailable), ok}, 2, ""},
		{"a change is not repeated when it may have happened", set, []http.HandlerFunc{problem(503, Unavailable), ok}, 1, Unavailable},
		{"a change that was refused for its rate is", set, []http.HandlerFunc{problem(429, Throttled, "Retry-After", "1"), ok}, 2, ""},
		{"a wait of more than a minute is told", get, []http.HandlerFunc{problem(429, Throttled, "Retry-After", "61"), ok}, 1, Throttled},
		{"a refusal is final", get, []http.HandlerFunc{problem(403, Forbidden), ok}, 1, Forbidden},
		{"a missing secret is missing", get, []http.HandlerFunc{problem(404, NotFound), ok}, 1, NotFound},
		{"a fault of the server is told", get, []http.HandlerFunc{problem(500, Internal), ok}, 1, Internal},
		{"a proxy's 502 is worth another read", get, []http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502) }, ok}, 2, ""},
		{"patience ends", get, []http.HandlerFunc{problem(503, Unavailable)}, DefaultRetries + 1, Unavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, n := fake(t, tt.answers...)
			if err := tt.call(c); KindOf(err) != tt.kind || (err == nil) != (tt.kind == "") {
				t.Errorf("got %v, want the kind %q", err, tt.kind)
			}
			if n.Load() != tt.want {
				t.Errorf("%d requests were sent, want %d", n.Load(), tt.want)
			}
		})
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	c, _ := fake(t, problem(429, Throttled, "Retry-After", "1"), ok)
	began := time.Now()
	if _, err := c.Vault("v").Get(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("tried again after %v; the server asked for a second", took)
	}
}

// TestContextEndsTheWait gives the server time to answer on a busy machine, and the client far less than it was asked to wait.
func TestContextEndsTheWait(t *testing.T) {
	t.Parallel()
	c, _ := fake(t, problem(503, Unavailable, "Retry-After", "60"))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	began := time.Now()
	_, err := c.Vault("v").Get(ctx, "s")
	if !errors.Is(err, context.DeadlineExceeded) || KindOf(err) != Unavailable {
		t.Errorf("got %v, want the end of the context and the server's error", err)
	}
	if time.Since(began) > 40*time.Second {
		t.Error("the wait outlived its context")
	}
}

func TestErrorHoldsWhatTheServerSaid(t *testing.T) {
	c, _ := fake(t, problem(409, Conflict))
	_, err := c.Vault("v").Set(t.Context(), "s", nil)
	var e *Error
	if !errors.As(err, &e) || e.Kind != Conflict || e.Reason != "Because" || e.Message != "it does not work" || e.Correlation != "c-1" || e.Status != 409 {
		t.Errorf("got %#v", err)
	}
}

func TestRenewedOnceForATokenThatIsNotBelieved(t *testing.T) {
	var fetched atomic.Int64
	c, n := fake(t, problem(401, Unauthenticated), ok)
	c.tokens = newRemembered(func(context.Context) (Token, error) {
		return Token{Access: fmt.Sprint("t", fetched.Add(1)), Expires: time.Now().Add(time.Hour)}, nil
	})
	if _, err := c.Vault("v").Get(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if fetched.Load() != 2 || n.Load() != 2 {
		t.Errorf("%d tokens were fetched for %d requests, want 2 for 2", fetched.Load(), n.Load())
	}
}

// While a token can be used, nobody waits for the next one, and a service that gives none is no failure. Whoever has none can give up waiting for it.
func TestTokenService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, slow, failing := 0, time.Duration(0), false
		r := newRemembered(func(ctx context.Context) (Token, error) {
			asked++
			time.Sleep(slow)
			if failing {
				return Token{}, errors.New("no")
			}
			return Token{Access: fmt.Sprint("t", asked), Expires: time.Now().Add(time.Hour)}, nil
		})
		token := func(ctx context.Context, want string) {
			t.Helper()
			got, err := r.Token(ctx)
			if got.Access != want || (err == nil) == (want == "") {
				t.Errorf("got %q, %v, want %q", got.Access, err, want)
			}
		}
		token(t.Context(), "t1")
		token(t.Context(), "t1")
		time.Sleep(56 * time.Minute) // it is to be renewed, and can be used for four minutes
		failing, slow = true, time.Minute
		go r.Token(t.Context())
		synctest.Wait()
		began := time.Now()
		token(t.Context(), "t1")
		if d := time.Since(began); d > 0 {
			t.Errorf("waited %v for a token although there was one", d)
		}
		time.Sleep(2 * time.Minute)
		token(t.Context(), "t1")
		time.Sleep(5 * time.Minute) // it has ended
		token(t.Context(), "")
		go r.Token(t.Context())
		synctest.Wait()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		token(short, "")
		if d := time.Since(began); d > time.Second {
			t.Errorf("gave up after %v, want 1s", d)
		}
		time.Sleep(time.Minute)
	})
}

func TestTokenDoesNotFollowARedirect(t *testing.T) {
	other := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another host was sent %q", r.Header.Get("Authorization"))
	}))
	defer other.Close()
	s := httptest.NewTLSServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer s.Close()
	pool := s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	c, err := New(Config{URL: s.URL, RootCAs: pool, Tokens: StaticToken("token")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Status(t.Context()); err == nil {
		t.Error("a redirect is no answer")
	}
}

func TestAddressesWithoutTLSAreRefused(t *testing.T) {
	for _, u := range []string{"", "http://127.0.0.1", "https://", "ftp://x", "https://u:p@x", "https://x?q", "x"} {
		if _, err := New(Config{URL: u}); err == nil {
			t.Errorf("%q was taken", u)
		}
	}
}

func TestValuesPrintAsRedacted(t *testing.T) {
	text := api.Text("canary")
	all := fmt.Sprintf("%v %+v %#v %s %v %+v", text, Secret{Value: &text, ValueBase64: []byte("canary")}, api.Binary("canary"), Token{Access: "canary"},
		Token{Access: "canary"}, NewSecret([]byte("canary")))
	if strings.Contains(all, "canary") || strings.Contains(all, "99 97 110") {
		t.Errorf("a value is printed: %s", all)
	}
}

func TestEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "federated")
	tests := []struct {
		name string
		env  map[string]string
		want string
	}{
		{"nothing", map[string]string{}, "client.ErrNoCredential"},
		{"token first", map[string]string{"KEYWRIGHT_TOKEN": "t", "AZURE_CLIENT_ID": "i", "AZURE_CLIENT_SECRET": "s"}, "client.StaticToken"},
		{"secret", map[string]string{"AZURE_CLIENT_ID": "i", "AZURE_CLIENT_SECRET": "s"}, "*client.remembered"},
		{"federated", map[string]string{"AZURE_CLIENT_ID": "i", "AZURE_FEDERATED_TOKEN_FILE": file}, "*client.remembered"},
		{"managed", map[string]string{"IDENTITY_ENDPOINT": "http://127.0.0.1/msi", "IDENTITY_HEADER": "h"}, "*client.remembered"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.env["KEYWRIGHT_URL"], tt.env["KEYWRIGHT_CONFIG_DIR"] = "https://keywright.example.org", t.TempDir()
			c, err := ConfigFromEnv(func(name string) string { return tt.env[name] })
			got := fmt.Sprintf("%T", c.Tokens)
			if errors.Is(err, ErrNoCredential) {
				got = "client.ErrNoCredential"
			}
			if got != tt.want {
				t.Errorf("got %s and %v, want %s", got, err, tt.want)
			}
		})
	}
}

// TestLogin signs in against a token service that asks for patience twice.
func TestLogin(t *testing.T) {
	var polls, refreshes atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /adfs/oauth2/v2.0/devicecode", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("client_id") != CLIClientID || !strings.Contains(r.FormValue("scope"), "offline_access") {
			t.Errorf("the request is for %q with %q", r.FormValue("client_id"), r.FormValue("scope"))
		}
		fmt.Fprint(w, `{"device_code":"d","user_code":"ABCD","verification_uri":"https://login.example.org/device","expires_in":60,"interval":1}`)
	})
	mux.HandleFunc("POST /adfs/oauth2/v2.0/token", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.FormValue("grant_type") == "refresh_token":
			refreshes.Add(1)
			fmt.Fprint(w, `{"access_token":"second","refresh_token":"r2","expires_in":"3600"}`)
		case polls.Add(1) == 1:
			w.WriteHeader(400)
			fmt.Fprint(w, `{"error":"authorization_pending","error_description":"wait"}`)
		default:
			fmt.Fprint(w, `{"access_token":"first","refresh_token":"r1","expires_in":60}`)
		}
	})
	s := httptest.NewTLSServer(mux)
	defer s.Close()
	l := Login{Authority: Authority{URL: s.URL, HTTP: s.Client()}, Resource: "https://keywright.example.org", Dir: filepath.Join(t.TempDir(), "config")}
	if _, err := l.Tokens(); !errors.Is(err, ErrNoCredential) {
		t.Errorf("before the sign-in: %v", err)
	}
	var shown DeviceCode
	if err := l.SignIn(t.Context(), func(d DeviceCode) { shown = d }); err != nil {
		t.Fatal(err)
	}
	if shown.Code != "ABCD" || polls.Load() != 2 {
		t.Errorf("the code %q was shown, and %d polls made", shown.Code, polls.Load())
	}
	if info, err := os.Stat(l.path()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the sign-in is kept as %v, %v", info.Mode(), err)
	}
	source, err := l.Tokens()
	if err != nil {
		t.Fatal(err)
	}
	// The first token lives for a minute, which is too short to be used: it is renewed at once, and kept.
	for range 2 {
		token, err := source.Token(t.Context())
		if err != nil || token.Access != "second" {
			t.Errorf("got %q, %v", token.Access, err)
		}
	}
	if refreshes.Load() != 1 {
		t.Errorf("%d refreshes, want 1", refreshes.Load())
	}
	if kept, err := l.read(); err != nil || kept.Refresh != "r2" {
		t.Errorf("the refresh token that is kept is not the newest: %v", err)
	}
	if was, err := l.SignOut(); err != nil || !was {
		t.Errorf("signing out: %t, %v", was, err)
	}
	if was, err := l.SignOut(); err != nil || was {
		t.Errorf("signing out again: %t, %v", was, err)
	}
}

func FuzzReadError(f *testing.F) {
	f.Add(400, api.ProblemContentType, `{"kind":"invalid","detail":"x"}`)
	f.Add(503, "text/html", "<html>")
	f.Add(0, "application/problem+json;x", "{")
	f.Fuzz(func(t *testing.T, status int, contentType, body string) {
		rec := httptest.NewRecorder()
		rec.Header().Set("Content-Type", contentType)
		rec.Body.WriteString(body)
		resp := rec.Result()
		resp.StatusCode = status
		if e := readError(resp); e == nil || e.Message == "" || e.Kind == "" {
			t.Errorf("an error without a message or a kind: %#v", e)
		}
	})
}
