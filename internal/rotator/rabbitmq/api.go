package rabbitmq

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// maxAnswerBytes bounds an answer of the management API. A user's list of ten thousand connections is about 20 MiB.
const maxAnswerBytes = 64 << 20

// errAbsent says that the API does not know the thing.
var errAbsent = errors.New("not found")

// api is the management API, as the administrator, for one verb.
type api struct {
	config *config
	admin  rotator.Credential
	tls    *tls.Config
	scheme string
	client *http.Client
}

// open reads the configuration and prepares the calls of one verb, whose connections end with its context. The caller calls close.
func open(ctx context.Context, t *rotator.Target) (*api, error) {
	c, err := parse(t.Config)
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
	}
	a := &api{config: c, admin: t.Admin, scheme: "http"}
	if !c.Plaintext {
		a.scheme = "https"
		if a.tls, err = c.TLS.Config(); err != nil {
			return nil, rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
		}
	}
	dial := func(settings *tls.Config) func(context.Context, string, string) (net.Conn, error) {
		return func(_ context.Context, _, address string) (net.Conn, error) {
			return endpoint.Dial(ctx, address, settings)
		}
	}
	a.client = &http.Client{
		Transport: &http.Transport{DialContext: dial(nil), DialTLSContext: dial(a.tls), Proxy: nil},
		// A redirect could carry the administrator's password elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return a, nil
}

func (a *api) close() { a.client.CloseIdleConnections() }

// path joins segments, which may contain anything.
func path(segments ...string) string {
	escaped := make([]string, len(segments))
	for i, s := range segments {
		escaped[i] = url.PathEscape(s)
	}
	return strings.Join(escaped, "/")
}

// get decodes what is at the path. What is not there is errAbsent.
func (a *api) get(ctx context.Context, into any, segments ...string) error {
	_, err := a.call(ctx, http.MethodGet, path(segments...), nil, into)
	return err
}

// call makes one request and decodes the answer, if it is wanted. Errors say what is known: nothing was sent, the API refused, or doubt.
func (a *api) call(ctx context.Context, method, path string, body, into any) (status int, err error) {
	if a.admin.IsZero() {
		return 0, rotator.Fail(rotator.Denied, nil, "RabbitMQ's users cannot change their own passwords: the policy needs an administrator's credential")
	}
	text := []byte{}
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return 0, rotator.Fail(rotator.NotApplied, err, "encoding a request to the management API")
		}
	}
	var connected atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	request, err := http.NewRequestWithContext(traced, method, a.scheme+"://"+a.config.ManagementEndpoint+"/api/"+path, bytes.NewReader(text))
	if err != nil {
		return 0, rotator.Fail(rotator.Misconfigured, err, "the address of the management API cannot be used")
	}
	request.SetBasicAuth(a.admin.Account, string(a.admin.Value.Reveal()))
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil && !connected.Load() {
		return 0, rotator.Fail(rotator.NotApplied, err, "the management API at %s was not reached: see that it is up and its certificate is trusted", a.config.ManagementEndpoint)
	}
	if err != nil {
		return 0, fmt.Errorf("waiting for the management API at %s: %w", a.config.ManagementEndpoint, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return 0, fmt.Errorf("reading the answer of the management API at %s: %w", a.config.ManagementEndpoint, err)
	}
	if err := a.refusal(response.StatusCode, method, path, answer); err != nil {
		return response.StatusCode, err
	}
	if into == nil {
		return response.StatusCode, nil
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return 0, fmt.Errorf("the management API at %s answered %s %s with something else than its JSON: %w", a.config.ManagementEndpoint, method, path, err)
	}
	return response.StatusCode, nil
}

// refusal turns a status into what it means. The API's own reasons hold no values: it never repeats a body.
func (a *api) refusal(status int, method, path string, answer []byte) error {
	if status >= 200 && status < 300 {
		return nil
	}
	var said struct {
		Reason json.RawMessage `json:"reason"`
	}
	_ = json.Unmarshal(answer, &said) // anything else has no reason to repeat
	reason := fmt.Errorf("status %d %.200s", status, said.Reason)
	at := a.config.ManagementEndpoint
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return rotator.Fail(rotator.Denied, reason, "the management API at %s refuses %s %s to %q: check its password and that it has the tag administrator", at, method, path, a.admin.Account)
	case http.StatusNotFound:
		return errAbsent
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusRequestEntityTooLarge:
		return rotator.Fail(rotator.Refused, reason, "the management API at %s refuses %s %s", at, method, path)
	case http.StatusTooManyRequests:
		return rotator.Fail(rotator.Busy, reason, "the management API at %s asks to wait", at)
	default:
		return fmt.Errorf("the management API at %s answered %s %s with an unexpected status: %w", at, method, path, reason)
	}
}
