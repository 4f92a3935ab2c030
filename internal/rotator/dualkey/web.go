package dualkey

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// maxAnswerBytes bounds an answer.
const maxAnswerBytes = 1 << 20

// errAbsent says that the service does not know the account.
var errAbsent = errors.New("not found")

func isAbsent(err error) bool { return errors.Is(err, errAbsent) }

// web makes the requests of one verb.
type web struct {
	admin rotator.Credential
	tls   *tls.Config
}

// request is one request of a service.
type request struct {
	method, url string
	header      http.Header
	body        []byte
	// effect is true when it may change something, so that no answer is doubt.
	effect bool
	// what it does, for errors.
	what string
}

// do makes a request and returns the answer, whatever its status.
func (w *web) do(ctx context.Context, r *request) (*endpoint.Answer, error) {
	if err := ctx.Err(); err != nil {
		return nil, rotator.Fail(rotator.NotApplied, err, "the time was over before %s", r.what)
	}
	q, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the address for %s cannot be used: correct the policy", r.what)
	}
	if r.header != nil {
		q.Header = r.header
	}
	answer, sent, err := endpoint.Exchange(q, w.tls, maxAnswerBytes)
	switch {
	case err != nil && sent && r.effect:
		return nil, rotator.Fail(rotator.Doubt, err, "waiting for %s while %s", q.URL.Host, r.what)
	case err != nil:
		return nil, rotator.Fail(rotator.NotApplied, err, "%s did not answer while %s: see that it is up and its certificate is trusted", q.URL.Host, r.what)
	}
	return answer, nil
}

// good is do for requests of the administrator: an answer that is no success becomes an error of a class. Bodies are not repeated: they may hold keys.
func (w *web) good(ctx context.Context, r *request) (*endpoint.Answer, error) {
	a, err := w.do(ctx, r)
	if err != nil {
		return nil, err
	}
	host := ""
	if u, err := url.Parse(r.url); err == nil {
		host = u.Host
	}
	switch {
	case a.Status >= 200 && a.Status < 300 && a.Status != http.StatusAccepted:
		return a, nil
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
		return nil, rotator.Fail(rotator.Denied, nil, "%s refuses the administrator %q while %s (status %d): check its value and its rights", host, w.admin.Account, r.what, a.Status)
	case a.Status == http.StatusNotFound:
		return nil, rotator.Fail(rotator.Misconfigured, errAbsent, "%s knows no such account while %s: correct the policy", host, r.what)
	case a.Status == http.StatusConflict, a.Status == http.StatusTooManyRequests:
		return nil, rotator.Fail(rotator.Busy, nil, "%s asks to wait while %s (status %d)", host, r.what, a.Status)
	case a.Status >= 300 && a.Status < 500 && a.Status != http.StatusRequestTimeout:
		return nil, rotator.Fail(rotator.Misconfigured, nil, "%s does not understand %s (status %d): correct the policy", host, r.what, a.Status)
	case r.effect: // 202 too: it is under way
		return nil, rotator.Fail(rotator.Doubt, nil, "%s answered with status %d while %s", host, a.Status, r.what)
	default:
		return nil, rotator.Fail(rotator.NotApplied, nil, "%s answered with status %d while %s", host, a.Status, r.what)
	}
}

// at is host:port of an address.
func at(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	if u.Port() == "" {
		return u.Host + ":443"
	}
	return u.Host
}
