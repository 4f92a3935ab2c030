package graph

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/vault"
)

// Authenticator turns a bearer token into a caller.
type Authenticator interface {
	Authenticate(ctx context.Context, token string, audiences identity.Audiences) (*guard.Caller, error)
}

// Config makes the door. All but Observe, Enter and ClientAddress is required.
type Config struct {
	Guard   *guard.Guard
	Callers Authenticator
	Access  *access.Service
	Clock   clock.Clock
	Logger  *slog.Logger
	Observe func(door string, r *door.Request, status int, took time.Duration)
	// Enter says when a request may go on: see door.Config.
	Enter func(*door.Request) (*admission.Pass, error)
	// Audiences are the resources for which tokens are taken, besides Microsoft Graph's public ones.
	Audiences []string
	// Authority returns the URL at which clients that called the host get tokens.
	Authority func(host string) string
	// ClientAddress finds the address of the client; nil takes the connection's.
	ClientAddress func(*http.Request) netip.Addr
}

// The audiences of Microsoft Graph in the public cloud: its resource and its application id.
const (
	publicResource = "https://graph.microsoft.com"
	publicAppID    = "00000003-0000-0000-c000-000000000000"
)

// New checks the configuration and returns the handler.
func New(c Config) (*door.Door, error) {
	if c.Guard == nil || c.Callers == nil || c.Access == nil || c.Authority == nil {
		return nil, errors.New("the graph door needs a guard, an authenticator, the access service and Authority")
	}
	if c.ClientAddress == nil {
		c.ClientAddress = door.ConnectionAddress
	}
	h := &handler{Config: c, audiences: identity.NewAudiences(append([]string{publicResource, publicAppID}, c.Audiences...)...)}
	return door.New(door.Config{Name: "graph", Routes: h.routes(), Clock: c.Clock, Prepare: h.prepare, Fail: h.fail, Status: status, Enter: c.Enter, Observe: c.Observe, Logger: c.Logger})
}

type handler struct {
	Config
	audiences *identity.AudienceSet
}

// maxIDsBody holds the 1,000 ids that getByIds takes, in bytes.
const maxIDsBody = 64 << 10

func (h *handler) routes() []door.Route {
	filter := []door.Param{{Name: "$filter", Summary: "Whom to find, as an OData expression."}, {Name: "$top", Summary: "The most entries."}}
	var all []door.Route
	add := func(method, pattern, operation string, serve func(*door.Request) error) {
		r := door.Route{Method: method, Pattern: "/v1.0" + pattern, Operation: operation, Action: authz.PrincipalRead.String(), Serve: serve}
		if method == "POST" {
			r.MaxBody = maxIDsBody
		} else if !strings.HasSuffix(pattern, "}") {
			r.Query = filter
		}
		all = append(all, r)
	}
	add("GET", "/me", "MeGet", h.me)
	for _, c := range collections {
		c := served{h, c}
		add("GET", "/"+c.name, c.operation+"List", c.list)
		add("GET", "/"+c.name+"/{id}", c.operation+"Get", c.get)
	}
	add("POST", "/directoryObjects/getByIds", "DirectoryObjectGetByIds", h.getByIDs)
	return all
}

func (h *handler) prepare(r *door.Request) error {
	h.Guard.Begin(&r.Call)
	r.Call.Address = h.ClientAddress(r.HTTP)
	r.Call.Correlation = vault.NewGUID()
	r.Call.UserAgent = r.HTTP.UserAgent()
	r.Call.Path = r.HTTP.URL.Path
	r.Call.APIVersion = "v1.0"
	head := r.Header()
	head.Set("Cache-Control", "no-cache")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Strict-Transport-Security", "max-age=31536000;includeSubDomains")
	head.Set("Request-Id", r.Call.Correlation)
	token, ok := r.Bearer()
	if !ok {
		return h.Guard.Unauthenticated(&r.Call, "", fault.New(fault.Unauthenticated, "Access token is empty: sign in first."))
	}
	caller, err := h.Callers.Authenticate(r.HTTP.Context(), token, h.audiences)
	if err != nil {
		return h.Guard.Unauthenticated(&r.Call, "", err)
	}
	r.Call.Caller = caller
	return h.Guard.Throttle(&r.Call)
}

type wireError struct {
	status int
	code   string
}

// wireErrors maps every kind of error to what Microsoft Graph answers. A test proves that every kind is here.
var wireErrors = map[fault.Kind]wireError{
	fault.Internal:        {http.StatusInternalServerError, "generalException"},
	fault.Invalid:         {http.StatusBadRequest, "Request_BadRequest"},
	fault.Unauthenticated: {http.StatusUnauthorized, "InvalidAuthenticationToken"},
	fault.Forbidden:       {http.StatusForbidden, "Authorization_RequestDenied"},
	fault.NotFound:        {http.StatusNotFound, "Request_ResourceNotFound"},
	fault.Conflict:        {http.StatusConflict, "Request_MultipleObjectsWithSameKeyValue"},
	fault.Gone:            {http.StatusGone, "Request_ResourceNotFound"},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, "Request_BadRequest"},
	fault.Throttled:       {http.StatusTooManyRequests, "TooManyRequests"},
	fault.Unavailable:     {http.StatusServiceUnavailable, "ServiceUnavailable"},
	fault.Unsupported:     {http.StatusNotImplemented, "NotImplemented"},
}

// status is what fail answers with.
func status(e *fault.Error) int {
	if e.Reason == door.UnknownMethod {
		return http.StatusMethodNotAllowed
	}
	return wireErrors[e.Kind].status
}

func (h *handler) fail(r *door.Request, e *fault.Error) {
	wire := wireErrors[e.Kind]
	if e.Kind == fault.Unauthenticated {
		r.Header().Set("Www-Authenticate", `Bearer authorization_uri="`+h.Authority(r.HTTP.Host)+`"`)
	}
	r.RetryAfter(e.RetryAfter)
	r.JSON(status(e), map[string]any{"error": map[string]any{"code": wire.code, "message": e.Message,
		"innerError": map[string]string{"request-id": r.Call.Correlation, "date": r.Call.Started.UTC().Format("2006-01-02T15:04:05")}}})
}
