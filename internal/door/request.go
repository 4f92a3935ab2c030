package door

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/vault"
)

// Request is one request on its way through a door. It is valid until Serve returns.
type Request struct {
	HTTP   *http.Request
	Params Params
	Route  *Route
	// Call is what the services need to know; Prepare fills it.
	Call guard.Call

	// Tenant is whose work this is, where no caller says it: a tenant that exists, not whatever a request names.
	Tenant vault.TenantID

	// Base is the address by which the client reached the door, scheme and host, for doors that answer with absolute ids.
	Base string
	// Scratch is a buffer that an encoder may grow and use for its answer, Value one for a secret value on its way into it. Both
	// are cleared before another request gets them.
	Scratch, Value []byte

	w       http.ResponseWriter
	body    []byte
	status  int
	written bool
	// pass is the request's place among those that run.
	pass *admission.Pass
	// opened is how long it took until a stream began, and 0 for every other answer.
	opened time.Duration
	// broken says that the handler panicked: nobody knows how far its buffers were used.
	broken bool
	// headers holds header values that are made for this request alone. net/http copies them when the answer begins.
	headers [4]string
	used    int
}

var requests = sync.Pool{New: func() any { return &Request{Scratch: make([]byte, 0, 1024), Value: make([]byte, 0, 1024)} }}

// maxKeptBuffer is the largest scratch buffer that is kept for the next request, in bytes.
const maxKeptBuffer = 64 << 10

func newRequest(w http.ResponseWriter, r *http.Request) *Request {
	req := requests.Get().(*Request)
	req.HTTP, req.w = r, w
	return req
}

func (r *Request) release() {
	clear(r.body) // it may have held a value
	if r.broken {
		return
	}
	*r = Request{Scratch: cleared(r.Scratch), Value: cleared(r.Value)}
	requests.Put(r)
}

// cleared empties a buffer for the next request. Only what was used of it is overwritten.
func cleared(b []byte) []byte {
	clear(b)
	if cap(b) > maxKeptBuffer {
		return make([]byte, 0, 1024)
	}
	return b[:0]
}

// Leave makes room for another request. Whoever serves a request calls it before it does nothing but wait; the door does it behind every request.
func (r *Request) Leave() { r.pass.Leave() }

// SetHeader sets a header of the answer to one value. The name is in canonical form. The first few cost no allocation.
func (r *Request) SetHeader(name, value string) {
	if r.used == len(r.headers) {
		r.w.Header()[name] = []string{value}
		return
	}
	r.headers[r.used] = value
	r.used++
	r.w.Header()[name] = r.headers[r.used-1 : r.used : r.used]
}

// Header returns the header of the answer.
func (r *Request) Header() http.Header { return r.w.Header() }

// RetryAfter tells the caller to wait, in whole seconds, of which a part counts as one (RFC 9110, section 10.2.3). It does nothing when d is 0.
func (r *Request) RetryAfter(d time.Duration) {
	if d > 0 {
		r.Header()["Retry-After"] = []string{strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)}
	}
}

// Writer returns the writer of the answer, for streams and pages.
func (r *Request) Writer() http.ResponseWriter {
	r.written = true
	return r.w
}

// Body returns the request's body, which is within the route's limit.
func (r *Request) Body() []byte { return r.body }

// Query returns the first value of a query parameter. Names are compared after decoding: some clients escape them.
func (r *Request) Query(name string) string {
	for rest := r.HTTP.URL.RawQuery; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		key, value, _ := strings.Cut(pair, "=")
		if key = unescape(key); key == name {
			return unescape(value)
		}
	}
	return ""
}

// unescape decodes a part of a query and allocates only where there is something to decode. What cannot be decoded stays
// as it is: it matches nothing.
func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded
	}
	return s
}

// Decode reads the body as one JSON value. Unknown members are ignored, as both cloud protocols want it.
func (r *Request) Decode(into any) error {
	if len(bytes.TrimSpace(r.body)) == 0 {
		return fault.New(fault.Invalid, "the request has no body: send a JSON object")
	}
	if !utf8.Valid(r.body) {
		return fault.New(fault.Invalid, "the request body is not valid UTF-8")
	}
	if loneSurrogate(r.body) {
		return fault.New(fault.Invalid, "the request body escapes half of a character (\\ud800 to \\udfff must come in pairs): send the whole character")
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

// loneSurrogate reports whether JSON text escapes half of a surrogate pair (RFC 8259, section 8.2). encoding/json would
// replace it without a word, and what was stored would not be what was sent.
func loneSurrogate(text []byte) bool {
	for {
		i := bytes.IndexByte(text, '\\')
		if i < 0 || i+1 >= len(text) {
			return false
		}
		if text[i+1] != 'u' {
			text = text[i+2:]
			continue
		}
		first, ok := escaped(text[i:])
		text = text[min(len(text), i+6):]
		if !ok || !utf16.IsSurrogate(first) {
			continue
		}
		if second, ok := escaped(text); !ok || utf16.DecodeRune(first, second) == utf8.RuneError {
			return true
		}
		text = text[6:]
	}
}

// escaped reads an escape, \u and four hexadecimal digits, at the beginning of the text.
func escaped(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n), err == nil
}

// decodeFault says what is wrong with a body without repeating any of it: it may hold a secret.
func decodeFault(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fault.New(fault.Invalid, "the request body is not valid JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fault.New(fault.Invalid, "the member %q of the request body has the wrong type: expected %s", kind.Field, jsonType(kind.Type))
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fault.New(fault.Invalid, "the request body ends before its JSON value does")
	default:
		if e := fault.As(err); e != nil {
			return e
		}
		return fault.New(fault.Invalid, "the request body cannot be read as the JSON that this endpoint expects")
	}
}

// jsonType names a Go type as the sender of JSON knows it.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "a string of base64"
		}
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default:
		return "a whole number"
	}
}

// JSON answers with the value encoded as JSON.
func (r *Request) JSON(status int, v any) error {
	clear(r.Scratch) // the answer may be shorter than what is there
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
	r.Leave() // who reads the answer slowly keeps nobody out
	if status != http.StatusNoContent {
		r.w.Header()["Content-Length"] = contentLength(len(body))
	}
	r.w.WriteHeader(status)
	if len(body) > 0 && r.HTTP.Method != http.MethodHead {
		r.w.Write(body)
	}
}

// lengths keeps the Content-Length values of small bodies, so that they are made once.
var lengths [4096]atomic.Pointer[[]string]

func contentLength(n int) []string {
	if n >= len(lengths) {
		return []string{strconv.Itoa(n)}
	}
	if v := lengths[n].Load(); v != nil {
		return *v
	}
	v := []string{strconv.Itoa(n)}
	lengths[n].Store(&v)
	return v
}
