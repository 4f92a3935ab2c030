package acme

import (
	"net/http"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

// problemSpace is the namespace of RFC 8555, section 6.7.
const problemSpace = "urn:ietf:params:acme:error:"

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

// problemMedia is the media type of RFC 7807.
const problemMedia = "application/problem+json"

// sendProblem answers with a problem.
func sendProblem(r *door.Request, p *Problem) {
	(&reply{status: p.Status, body: p}).send(r)
}

// fail answers with an error that is no problem yet.
func (h *handler) fail(r *door.Request, e *fault.Error) {
	r.RetryAfter(e.RetryAfter)
	sendProblem(r, problemOf(e))
}

// problemOf turns a fault into what the client sees.
func problemOf(err error) *Problem {
	e := fault.As(err)
	if e == nil {
		e = fault.New(fault.Internal, "")
	}
	wire := kinds[e.Kind]
	if e.Reason == door.UnknownMethod {
		wire.status = http.StatusMethodNotAllowed
	}
	detail := e.Message
	if e.Kind == fault.Internal {
		detail = "The server failed. Try again later."
	}
	return problem(wire.status, wire.name, detail)
}
