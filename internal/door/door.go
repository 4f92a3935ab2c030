package door

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
)

// Config makes a door.
type Config struct {
	// Name is the door's word in audit records and metrics: azure, oauth, native.
	Name   string
	Routes []Route
	Clock  clock.Clock
	// Prepare authenticates and fills the call. It runs before the answer to an unknown route and before the body is read, so that an
	// unauthenticated caller learns nothing. Public routes are prepared too: see Request.Route.
	Prepare func(*Request) error
	// Enter, when set, returns when the request may go on, with a pass that the door leaves behind it, or says why it may not. It is asked once the caller
	// is known, before the body is read, and again behind a body that took long.
	Enter func(*Request) (*admission.Pass, error)
	// Fail answers with an error, from the door's table. The error has a kind.
	Fail func(*Request, *fault.Error)
	// Status finds the status with which Fail answers, for audit records; nil leaves it out of them.
	Status func(*fault.Error) int
	// Observe is told of each answered request. It may be nil.
	Observe func(door string, r *Request, status int, took time.Duration)
	// Logger takes what must not be told to the caller.
	Logger *slog.Logger
}

// Door serves one protocol.
type Door struct {
	Config
	mux *Mux
}

// New checks the route table and returns the door.
func New(c Config) (*Door, error) {
	if c.Name == "" || c.Prepare == nil || c.Fail == nil || c.Clock == nil || c.Logger == nil {
		return nil, errors.New("a door needs a name, a clock, a logger, Prepare and Fail")
	}
	for i := range c.Routes {
		c.Routes[i].Class = c.Routes[i].class()
	}
	mux, err := NewMux(c.Routes)
	if err != nil {
		return nil, err
	}
	return &Door{Config: c, mux: mux}, nil
}

// Table returns the door's name and its routes, for what is made from all tables of a server.
func (d *Door) Table() (name string, routes []Route) { return d.Name, d.Routes }

// methodOverride is the header by which a POST stands in for another method (Key Vault REST protocol).
const methodOverride = "X-Http-Method"

// ServeHTTP answers one request.
func (d *Door) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	r := newRequest(w, hr)
	defer r.release()
	r.Call.Started = d.Clock.Now()
	r.Call.Door, r.Call.Status = d.Name, d.Status
	r.Call.Private = ListenerOf(hr.Context()).Private
	r.Call.Instance, r.Call.Region = declared(hr.Header[instanceHeader]), declared(hr.Header[regionHeader])
	defer d.recover(r)

	method := hr.Method
	if method == http.MethodPost {
		if m := hr.Header[methodOverride]; len(m) == 1 {
			method = strings.ToUpper(m[0])
		}
	}
	var allowed []string
	r.Route, allowed = d.mux.Match(method, hr.URL, &r.Params)
	if err := d.serve(r, allowed); err != nil {
		d.fail(r, err)
	}
	d.observe(r)
}

// Headers in which a caller says which of several like it is, and where it runs. They are claims: for the record, for the ledger and for the rings
// of a rollout, never for a decision about access.
const (
	instanceHeader = "X-Keywright-Instance"
	regionHeader   = "X-Keywright-Region"
)

// maxDeclared bounds what a caller declares, in bytes: the name of a pod or of a machine has at most 253 (RFC 1123).
const maxDeclared = 256

// declared is what the header says. One that is too long, or comes more than once, declares nothing.
func declared(header []string) string {
	if len(header) != 1 || len(header[0]) > maxDeclared {
		return ""
	}
	return header[0]
}

func (d *Door) serve(r *Request, allowed []string) error {
	if r.Route != nil {
		r.Call.Operation = r.Route.Operation
		switch r.Route.Success {
		case Varies:
		case 0:
			r.Call.Success = http.StatusOK
		default:
			r.Call.Success = r.Route.Success
		}
	}
	if err := d.Prepare(r); err != nil {
		return err
	}
	if r.Route == nil {
		return noRoute(r, allowed)
	}
	if err := d.enter(r); err != nil {
		return err
	}
	defer r.Leave()
	if r.Route.Admit != nil {
		if err := r.Route.Admit(r); err != nil {
			return err
		}
	}
	if r.Route.MaxBody > 0 {
		if err := d.read(r); err != nil {
			return err
		}
	}
	return r.Route.Serve(r)
}

func (d *Door) enter(r *Request) (err error) {
	if d.Enter != nil {
		r.pass, err = d.Enter(r)
	}
	return err
}

// slowBody is how long a body may take without a second look at who sends it. It is below the second within which a
// withdrawal of access has to take effect.
const slowBody = 500 * time.Millisecond

// read reads the body. Who sends it slowly was admitted long ago by the time it is whole, and may have lost the right since: the
// request is prepared again then, and counts from that instant. Nor does it keep others out meanwhile: it enters anew.
func (d *Door) read(r *Request) error {
	var lent *time.Timer
	if r.pass != nil {
		lent = time.AfterFunc(slowBody, r.pass.Leave)
	}
	err := r.readBody()
	left := lent != nil && !lent.Stop()
	if err != nil {
		return err
	}
	now := d.Clock.Now()
	if now.Sub(r.Call.Started) >= slowBody {
		r.Call.Started = now
		if err := d.Prepare(r); err != nil {
			return err
		}
	}
	if left {
		return d.enter(r)
	}
	return nil
}

// Reasons for which no route serves a request.
const (
	UnknownPath   fault.Reason = "UnknownPath"
	UnknownMethod fault.Reason = "UnknownMethod"
)

func noRoute(r *Request, allowed []string) error {
	if len(allowed) == 0 {
		return fault.New(fault.NotFound, "there is nothing at this path: check it against the API's documentation").Because(UnknownPath)
	}
	methods := strings.Join(allowed, ", ")
	r.Header().Set("Allow", methods)
	return fault.New(fault.Invalid, "this path does not take %s: use %s", r.HTTP.Method, methods).Because(UnknownMethod)
}

// readBody reads the body within the route's limit. A body that is longer is refused without reading on.
func (r *Request) readBody() error {
	limit := r.Route.MaxBody
	tooLarge := fault.New(fault.TooLarge, "the request body is larger than the %d bytes that this endpoint takes", limit)
	if r.HTTP.ContentLength > limit {
		return tooLarge
	}
	body, err := io.ReadAll(io.LimitReader(r.HTTP.Body, limit+1))
	if e := fault.As(err); e != nil {
		return e // whoever handed over the body says what is wrong
	}
	if err != nil {
		return fault.New(fault.Invalid, "the request body ended early: send it again")
	}
	if int64(len(body)) > limit {
		return tooLarge
	}
	r.body = body
	return nil
}

// fail answers with err. An error without a kind is logged and told as internal, without its text.
func (d *Door) fail(r *Request, err error) {
	e := fault.As(err)
	if e != nil && e.Kind == fault.Unavailable && e.Err != nil {
		d.log(r, slog.LevelWarn, "request failed for now", err)
	}
	if e == nil || e.Kind == fault.Internal {
		d.log(r, slog.LevelError, "request failed", err)
		e = fault.New(fault.Internal, "an internal error occurred; quote the request id %s to the operator", r.Call.Correlation)
	}
	if r.written {
		return
	}
	d.Fail(r, e)
}

// log tells of a failure. A client that hung up made its request fail by itself, and must not wake anybody.
func (d *Door) log(r *Request, level slog.Level, what string, err error) {
	ctx := r.HTTP.Context()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		level = slog.LevelDebug
	}
	d.Logger.Log(ctx, level, what, "door", d.Name, "operation", r.Call.Operation, "correlation", r.Call.Correlation, "error", err)
}

func (d *Door) observe(r *Request) {
	if d.Observe != nil {
		took := r.opened
		if took == 0 {
			took = d.Clock.Now().Sub(r.Call.Started)
		}
		d.Observe(d.Name, r, r.status, took)
	}
}

// recover turns a panic into an internal error, so that one broken request does not end the others. What the panic says is
// logged only where the runtime said it: any other text may hold a value.
func (d *Door) recover(r *Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // the sentinel is compared by identity, as net/http documents
		panic(v)
	}
	said := fmt.Sprintf("a panic of type %T", v)
	if e, ok := v.(runtime.Error); ok {
		said = e.Error()
	}
	d.Logger.Error("request panicked", "door", d.Name, "operation", r.Call.Operation, "correlation", r.Call.Correlation,
		"panic", said, "stack", string(debug.Stack()))
	r.broken = true
	if !r.written {
		d.Fail(r, fault.New(fault.Internal, "an internal error occurred; quote the request id %s to the operator", r.Call.Correlation))
	}
	d.observe(r)
}
