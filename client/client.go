package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Config makes a Client.
type Config struct {
	// URL is the server's, such as https://keywright.example.org.
	URL string
	// Tokens proves who calls; see NewClientSecret, NewManagedIdentity, StaticToken and Login. Nil calls the few public
	// operations only.
	Tokens TokenSource
	// RootCAs checks the server's certificate; nil takes the system's.
	RootCAs *x509.CertPool
	// HTTP overrides RootCAs and everything about connections.
	HTTP *http.Client
	// Retries is how often one call is tried again: DefaultRetries when zero, never when negative.
	Retries int
	// UserAgent names the program.
	UserAgent string
	// Instance tells this process apart from others of its principal, such as the name of its pod. It is what acknowledgements count for: see Vault.Ack.
	Instance string
	// Region is where this process runs. It decides only which ring of a rollout it is in.
	Region string
}

// DefaultRetries is how often one call is tried again.
const DefaultRetries = 4

// Client calls one server.
type Client struct {
	base      string
	tokens    TokenSource
	http      *http.Client
	retries   int
	userAgent string
	instance  string
	region    string
}

// New checks the configuration. It does not call the server.
func New(c Config) (*Client, error) {
	base, err := checkURL(c.URL)
	if err != nil {
		return nil, err
	}
	h := c.HTTP
	if h == nil {
		h = newHTTP(c.RootCAs)
	}
	switch {
	case c.Retries == 0:
		c.Retries = DefaultRetries
	case c.Retries < 0:
		c.Retries = 0
	}
	if c.UserAgent == "" {
		c.UserAgent = "keywright-go"
	}
	return &Client{base: base, tokens: c.Tokens, http: h, retries: c.Retries, userAgent: c.UserAgent, instance: c.Instance, region: c.Region}, nil
}

// URL returns the server's address.
func (c *Client) URL() string { return c.base }

// checkURL refuses addresses over which a credential would travel in clear.
func checkURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("the server's address %q is not of the form https://HOST[:PORT]: set KEYWRIGHT_URL", text)
	}
	return strings.TrimRight(text, "/"), nil
}

func newHTTP(roots *x509.CertPool) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	t.MaxIdleConnsPerHost = 16
	return &http.Client{Transport: t, Timeout: 2 * time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a token must not follow a redirect to another host
	}}
}

// ReadCAFile reads a PEM bundle.
func ReadCAFile(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the CA bundle: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("the CA bundle %s holds no PEM certificate", path)
	}
	return pool, nil
}

// maxAnswer bounds what is read of one answer, in bytes: a backup is the largest.
const maxAnswer = 96 << 20

// call sends one request and decodes the answer into out, unless that is nil. in, unless nil, is sent as JSON.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, in, out any) error {
	resp, err := c.send(ctx, method, path, query, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer))
		return err
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("reading the answer of %s %s: %w", method, path, err)
	}
	return nil
}

// send sends one request until it is answered with success, which the caller reads and closes, or cannot be.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, in any) (*http.Response, error) {
	var sent *body
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		sent = &body{text: text}
		defer sent.wipe()
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	renewed := false
	for try := 0; ; try++ {
		resp, err := c.once(ctx, method, target, sent)
		if err == nil {
			return resp, nil
		}
		var e *Error
		if errors.As(err, &e) && e.Kind == Unauthenticated && !renewed && c.renew() {
			renewed = true
			continue
		}
		if try >= c.retries || !again(method, err) {
			return nil, err
		}
		if werr := wait(ctx, try, e); werr != nil {
			return nil, errors.Join(err, werr)
		}
	}
}

func (c *Client) once(ctx context.Context, method, target string, sent *body) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return nil, err
	}
	if sent != nil {
		sent.attach(req)
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", c.userAgent)
	if c.instance != "" {
		req.Header.Set(instanceHeader, c.instance)
	}
	if c.region != "" {
		req.Header.Set(regionHeader, c.region)
	}
	if c.tokens != nil {
		token, err := c.tokens.Token(ctx)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token.Access)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, connectionError(c.base, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, readError(resp)
}

// patient returns a client whose calls take as long as they take: HTTP.Timeout bounds a whole answer, and some are long or do not end.
func (c *Client) patient() *Client {
	other, h := *c, *c.http
	h.Timeout = 0
	other.http = &h
	return &other
}

// renew drops a remembered token that the server did not believe, so that the next one is fresh.
func (c *Client) renew() bool {
	r, ok := c.tokens.(interface{ Forget() })
	if ok {
		r.Forget()
	}
	return ok
}
