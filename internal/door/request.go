package door

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"unicode/utf8"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
)

// Request is one request on its way through a door. It is valid until Serve returns.
type Request struct {
	HTTP   *http.Request
	Params Params
	Route  *Route
	// Call is what the services need to know; Prepare fills it.
	Call guard.Call

	// Scratch is a buffer that an encoder may grow and use for its answer.
	Scratch []byte

	w       http.ResponseWriter
	body    []byte
	status  int
	written bool
	query   map[string][]string
}

var requests = sync.Pool{New: func() any { return &Request{Scratch: make([]byte, 0, 1024)} }}

// maxKeptBuffer is the largest scratch buffer that is kept for the next request, in bytes.
const maxKeptBuffer = 64 << 10

func newRequest(w http.ResponseWriter, r *http.Request) *Request {
	req := requests.Get().(*Request)
	req.HTTP, req.w = r, w
	return req
}

func (r *Request) release() {
	scratch := r.Scratch[:0]
	if cap(scratch) > maxKeptBuffer {
		scratch = make([]byte, 0, 1024)
	} else {
		clear(scratch[:cap(scratch)])
	}
	clear(r.body) // it may have held a value
	*r = Request{Scratch: scratch}
	requests.Put(r)
}

// Header returns the header of the answer.
func (r *Request) Header() http.Header { return r.w.Header() }

// Writer returns the writer of the answer, for streams and pages.
func (r *Request) Writer() http.ResponseWriter {
	r.written = true
	return r.w
}

// Body returns the request's body, which is within the route's limit.
func (r *Request) Body() []byte { return r.body }

// Query returns the first value of a query parameter. Names are compared after decoding: some clients escape them.
func (r *Request) Query(name string) string {
	if r.query == nil {
		r.query = r.HTTP.URL.Query()
	}
	if v := r.query[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Decode reads the body as one JSON value. Unknown members are ignored, as both cloud protocols want it.
func (r *Request) Decode(into any) error {
	if len(bytes.TrimSpace(r.body)) == 0 {
		return fault.New(fault.Invalid, "the request has no body: send a JSON object")
	}
	if !utf8.Valid(r.body) {
		return fault.New(fault.Invalid, "the request body is not valid UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(r.body))
	if err := d.Decode(into); err != nil {
		return decodeFault(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fault.New(fault.Invalid, "the request body has text behind its JSON value: send exactly one")
	}
	return nil
}

// decodeFault says what is wrong with a body without repeating any of it: it may hold a secret.
func decodeFault(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fault.New(fault.Invalid, "the request body is not valid JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fault.New(fault.Invalid, "the member %q of the request body has the wrong type: expected %s", kind.Field, kind.Type)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fault.New(fault.Invalid, "the request body ends before its JSON value does")
	default:
		if e := fault.As(err); e != nil {
			return e
		}
		return fault.New(fault.Invalid, "the request body cannot be read as the JSON that this endpoint expects")
	}
}

// JSON answers with the value encoded as JSON.
func (r *Request) JSON(status int, v any) error {
	buf := bytes.NewBuffer(r.Scratch[:0])
	e := json.NewEncoder(buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	r.Scratch = buf.Bytes()
	r.Reply(status, bytes.TrimRight(r.Scratch, "\n"))
	return nil
}

var jsonContentType = []string{"application/json; charset=utf-8"}

// Reply answers with a JSON body that is encoded already.
func (r *Request) Reply(status int, body []byte) {
	h := r.w.Header()
	h["Content-Type"] = jsonContentType
	r.Raw(status, body)
}

// Raw answers with a body whose Content-Type is set already, or with none.
func (r *Request) Raw(status int, body []byte) {
	r.written, r.status = true, status
	if status != http.StatusNoContent {
		r.w.Header()["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	r.w.WriteHeader(status)
	if len(body) > 0 && r.HTTP.Method != http.MethodHead {
		r.w.Write(body)
	}
}
