package native

import (
	"bytes"
	"encoding/json"
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

type wireError struct {
	status int
	kind   api.Kind
	title  string
}

// wireErrors maps every kind of error to its status and its word. A test proves that every kind is here.
var wireErrors = map[fault.Kind]wireError{
	fault.Internal:        {http.StatusInternalServerError, api.Internal, "Internal error"},
	fault.Invalid:         {http.StatusBadRequest, api.Invalid, "Invalid request"},
	fault.Unauthenticated: {http.StatusUnauthorized, api.Unauthenticated, "Not signed in"},
	fault.Forbidden:       {http.StatusForbidden, api.Forbidden, "Not allowed"},
	fault.NotFound:        {http.StatusNotFound, api.NotFound, "Not found"},
	fault.Conflict:        {http.StatusConflict, api.Conflict, "Conflict"},
	fault.Gone:            {http.StatusGone, api.Gone, "Gone"},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, api.TooLarge, "Too large"},
	fault.Throttled:       {http.StatusTooManyRequests, api.Throttled, "Too many requests"},
	fault.Unavailable:     {http.StatusServiceUnavailable, api.Unavailable, "Unavailable"},
	fault.Unsupported:     {http.StatusNotImplemented, api.Unsupported, "Not supported"},
}

// status is what fail answers with.
func status(e *fault.Error) int {
	if e.Reason == door.UnknownMethod {
		return http.StatusMethodNotAllowed
	}
	return wireErrors[e.Kind].status
}

func fail(r *door.Request, e *fault.Error) {
	r.RetryAfter(e.RetryAfter)
	r.Header().Set("Content-Type", api.ProblemContentType)
	r.Raw(status(e), problem(e, r.Call.Correlation))
}

func problem(e *fault.Error, correlation string) []byte {
	wire := wireErrors[e.Kind]
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(api.Problem{Type: "about:blank", Title: wire.title, Status: status(e), Detail: e.Message, Kind: wire.kind,
		Reason: string(e.Reason), Correlation: correlation}); err != nil {
		panic(err) // strings and a number always encode
	}
	return body.Bytes()
}

// Problem answers with an error where there are no routes: on a server that is sealed. An error of no kind tells nothing.
func Problem(w http.ResponseWriter, err error) {
	e := fault.As(err)
	if e == nil {
		e = fault.New(fault.Internal, "something went wrong: the server's log says what")
	}
	w.Header().Set("Content-Type", api.ProblemContentType)
	w.WriteHeader(status(e))
	_, _ = w.Write(problem(e, "")) // whoever hung up does not read it
}
