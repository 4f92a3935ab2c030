package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// Token is an access token. It prints as a fixed word.
type Token struct {
	Access  string
	Expires time.Time
}

// String returns a fixed word.
func (Token) String() string { return "[redacted]" }

// GoString returns a fixed word.
func (Token) GoString() string { return "[redacted]" }

// TokenSource gives tokens for the server's API.
type TokenSource interface {
	// Token returns a token that is valid now. It is called for every request, so it remembers its token.
	Token(ctx context.Context) (Token, error)
}

// StaticToken is a token that never changes.
type StaticToken string

// Token implements TokenSource.
func (s StaticToken) Token(context.Context) (Token, error) { return Token{Access: string(s)}, nil }

// remembered keeps a token until it is close to its end.
type remembered struct {
	fetch func(context.Context) (Token, error)
	// turn is taken by who fetches: one at a time, and whoever waits can give up.
	turn chan struct{}

	mu    sync.Mutex
	token Token
	renew time.Time
}

func newRemembered(fetch func(context.Context) (Token, error)) *remembered {
	return &remembered{fetch: fetch, turn: make(chan struct{}, 1)}
}

// renewBefore is how long before its end a token is replaced, or a tenth of its life if that is shorter.
const renewBefore = 5 * time.Minute

// usableBefore is how long before its end a token is used no more: a request takes a moment, and clocks differ.
const usableBefore = 10 * time.Second

// Token implements TokenSource. Until a token ends, a service that gives no new one, or is slow to, keeps nobody waiting.
func (r *remembered) Token(ctx context.Context) (Token, error) {
	t, due := r.known()
	if !due {
		return t, nil
	}
	select {
	case r.turn <- struct{}{}:
	default:
		if t.Access != "" {
			return t, nil
		}
		select {
		case r.turn <- struct{}{}:
		case <-ctx.Done():
			return Token{}, ctx.Err()
		}
	}
	defer func() { <-r.turn }()
	if t, due = r.known(); !due { // somebody fetched it meanwhile
		return t, nil
	}
	fresh, err := r.fetch(ctx)
	if err != nil {
		if t.Access != "" && ctx.Err() == nil {
			return t, nil
		}
		return Token{}, err
	}
	r.remember(fresh)
	return fresh, nil
}

// known returns the token while it can be used, and whether it is time for another.
func (r *remembered) known() (t Token, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.token.Access == "" || !now.Before(r.token.Expires.Add(-usableBefore)) && !now.Before(r.renew) {
		return Token{}, true
	}
	return r.token, !now.Before(r.renew)
}

func (r *remembered) remember(t Token) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token, r.renew = t, t.Expires.Add(-min(renewBefore, time.Until(t.Expires)/10))
}

// Forget drops the token, because it was not believed.
func (r *remembered) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.token = Token{}
}

// Authority is where tokens are had.
type Authority struct {
	// URL is the token service's, such as https://login.example.org.
	URL string
	// Tenant is the tenant's id, or "adfs" for the installation's default one, which it is when empty.
	Tenant string
	// HTTP reaches it; nil takes a plain client.
	HTTP *http.Client
}

func (a Authority) endpoint(name string) (string, error) {
	base, err := checkURL(a.URL)
	if err != nil {
		return "", fmt.Errorf("the token service: %w", err)
	}
	tenant := a.Tenant
	if tenant == "" {
		tenant = "adfs"
	}
	return base + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/" + name, nil
}

func (a Authority) client() *http.Client {
	if a.HTTP != nil {
		return a.HTTP
	}
	return newHTTP(nil)
}

// NewClientSecret returns the tokens of an application that has a client secret. resource is the server's address.
func NewClientSecret(a Authority, clientID, secret, resource string) TokenSource {
	return newRemembered(func(ctx context.Context) (Token, error) {
		return a.grant(ctx, url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {secret},
			"scope": {scope(resource)}})
	})
}

// NewFederated returns the tokens of an application that another issuer vouches for, by the assertion in a file. The file is
// read for every new token: whoever writes it replaces it before it expires.
func NewFederated(a Authority, clientID, file, resource string) TokenSource {
	return newRemembered(func(ctx context.Context) (Token, error) {
		assertion, err := os.ReadFile(file)
		if err != nil {
			return Token{}, fmt.Errorf("reading the federated token: %w", err)
		}
		return a.grant(ctx, url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}, "scope": {scope(resource)},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {strings.TrimSpace(string(assertion))}})
	})
}

func scope(resource string) string { return strings.TrimRight(resource, "/") + "/.default" }

// NewManagedIdentity returns the tokens of this machine's managed identity, from the endpoint that IDENTITY_ENDPOINT and
// IDENTITY_HEADER name (App Service, version 2019-08-01).
func NewManagedIdentity(endpoint, header, resource string) TokenSource {
	return newRemembered(func(ctx context.Context) (Token, error) {
		u, err := url.Parse(endpoint)
		if err != nil {
			return Token{}, fmt.Errorf("IDENTITY_ENDPOINT is not a URL: %w", err)
		}
		u.RawQuery = url.Values{"api-version": {"2019-08-01"}, "resource": {resource}}.Encode()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return Token{}, err
		}
		req.Header.Set("X-Identity-Header", header)
		t, err := requestToken(&http.Client{Timeout: 30 * time.Second}, req)
		return t.token(), err
	})
}

// tokenAnswer is a token service's answer. Some services write numbers as strings.
type tokenAnswer struct {
	AccessToken  string      `json:"access_token"`
	RefreshToken string      `json:"refresh_token"`
	ExpiresIn    json.Number `json:"expires_in"`

	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func (t *tokenAnswer) token() Token {
	seconds, err := t.ExpiresIn.Int64()
	if err != nil {
		seconds = 0
	}
	return Token{Access: t.AccessToken, Expires: time.Now().Add(time.Duration(seconds) * time.Second)}
}

func (a Authority) grant(ctx context.Context, form url.Values) (Token, error) {
	t, err := a.post(ctx, "token", form)
	return t.token(), err
}

func (a Authority) post(ctx context.Context, endpoint string, form url.Values) (tokenAnswer, error) {
	target, err := a.endpoint(endpoint)
	if err != nil {
		return tokenAnswer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, strings.NewReader(form.Encode()))
	if err != nil {
		return tokenAnswer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return requestToken(a.client(), req)
}

func requestToken(h *http.Client, req *http.Request) (tokenAnswer, error) {
	var t tokenAnswer
	resp, err := h.Do(req)
	if err != nil {
		return t, connectionError(req.URL.Scheme+"://"+req.URL.Host, err)
	}
	defer resp.Body.Close()
	err = json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(&t)
	if resp.StatusCode == http.StatusOK && err == nil && t.AccessToken != "" {
		return t, nil
	}
	e := readError(resp)
	e.Reason, e.Message = t.Error, "signing in failed: "+t.Description
	if t.Description == "" {
		e.Message = fmt.Sprintf("signing in at %s failed: the token service answered %s", req.URL.Host, resp.Status)
	}
	if resp.StatusCode < 500 && resp.StatusCode != http.StatusTooManyRequests {
		e.Kind = Unauthenticated
	}
	return t, e
}
