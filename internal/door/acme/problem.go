package acme

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/keywright/keywright/internal/fault"
)

// problemSpace is the namespace of RFC 8555, section 6.7.
const problemSpace = "urn:ietf:params:acme:error:"

// Problem is an error as clients see it (RFC 7807).
type Problem struct {
	Type       string      `json:"type"`
	Detail     string      `json:"detail"`
	Status     int         `json:"status"`
	Identifier *Identifier `json:"identifier,omitempty"`
}

// Error makes a problem an error within this package.
func (p *Problem) Error() string { return p.Type + ": " + p.Detail }

func problem(status int, kind, detail string) *Problem {
	return &Problem{Type: problemSpace + kind, Detail: detail, Status: status}
}

func malformed(detail string) *Problem { return problem(http.StatusBadRequest, "malformed", detail) }
func unauthorized(detail string) *Problem {
	return problem(http.StatusForbidden, "unauthorized", detail)
}
func notFound() *Problem {
	return problem(http.StatusNotFound, "malformed", "There is no such resource, for this account.")
}

// kinds translates what services say. Internal says nothing of its cause.
var kinds = map[fault.Kind]struct {
	status int
	name   string
}{
	fault.Internal: {500, "serverInternal"}, fault.Invalid: {400, "malformed"}, fault.Unauthenticated: {401, "unauthorized"}, fault.Forbidden: {403, "unauthorized"},
	fault.NotFound: {404, "malformed"}, fault.Conflict: {409, "malformed"}, fault.Gone: {404, "malformed"}, fault.TooLarge: {413, "malformed"},
	fault.Throttled: {429, "rateLimited"}, fault.Unavailable: {503, "serverInternal"}, fault.Unsupported: {400, "malformed"},
}

// problemOf turns any error into what the client sees.
func problemOf(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	wire := kinds[fault.Of(err)]
	detail := "The server failed. Try again later."
	if e := fault.As(err); e != nil && e.Kind != fault.Internal {
		detail = e.Message
	}
	return problem(wire.status, wire.name, detail)
}

// fail answers with a problem.
func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p.Status >= 500 {
		s.config.Log.LogAttrs(r.Context(), slog.LevelError, "an ACME request failed", slog.String("path", r.URL.Path), slog.Any("error", err))
	}
	if e := fault.As(err); e != nil && e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())+1))
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // the client has gone away
}
