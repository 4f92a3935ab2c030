package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/keywright/keywright/client/api"
)

// Kind says what a caller can do about an error.
type Kind = api.Kind

// The kinds of errors.
const (
	Internal        = api.Internal
	Invalid         = api.Invalid
	Unauthenticated = api.Unauthenticated
	Forbidden       = api.Forbidden
	NotFound        = api.NotFound
	Conflict        = api.Conflict
	Gone            = api.Gone
	TooLarge        = api.TooLarge
	Throttled       = api.Throttled
	Unavailable     = api.Unavailable
	Unsupported     = api.Unsupported
)

// Error is an answer of the server that is no success.
type Error struct {
	Kind Kind
	// Reason refines the kind; it may be empty.
	Reason string
	// Message is a sentence for people.
	Message string
	// Status is the HTTP status.
	Status int
	// Correlation names the request in the server's records.
	Correlation string
	// RetryAfter is how long the server asks to wait; zero when it does not.
	RetryAfter time.Duration
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// KindOf returns the kind of the server's error in err's chain; the empty kind when there is none.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// maxProblem bounds what is read of an error's body, in bytes.
const maxProblem = 64 << 10

// kinds are what statuses mean where the body does not say, as with a proxy in between.
var kinds = map[int]Kind{400: Invalid, 401: Unauthenticated, 403: Forbidden, 404: NotFound, 405: Invalid, 409: Conflict, 410: Gone, 413: TooLarge,
	429: Throttled, 501: Unsupported, 502: Unavailable, 503: Unavailable, 504: Unavailable}

func readError(resp *http.Response) *Error {
	e := &Error{Kind: kinds[resp.StatusCode], Status: resp.StatusCode}
	if e.Kind == "" {
		e.Kind = Internal
	}
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	var p api.Problem
	t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if t == api.ProblemContentType && json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(&p) == nil {
		e.Reason, e.Message, e.Correlation = p.Reason, p.Detail, p.Correlation
		if p.Kind != "" {
			e.Kind = p.Kind
		}
	}
	if e.Message == "" {
		e.Message = fmt.Sprintf("the server answered %s without saying why: check that KEYWRIGHT_URL is a Keywright server", resp.Status)
	}
	return e
}

// connectionError says which server could not be reached.
func connectionError(base string, err error) error {
	return fmt.Errorf("reaching the server at %s: %w", base, err)
}
