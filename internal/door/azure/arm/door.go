package arm

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

// Authenticator turns a bearer token into a caller.
type Authenticator interface {
	Authenticate(ctx context.Context, token string, audiences identity.Audiences) (*guard.Caller, error)
}

// Config makes the door. All but Observe, Enter, ClientAddress and Locations is required.
type Config struct {
	Guard   *guard.Guard
	Callers Authenticator
	Tenancy *tenancy.Service
	Access  *access.Service
	Secrets *secret.Service
	Keys    *key.Service
	Clock   clock.Clock
	Logger  *slog.Logger
	Observe func(door string, r *door.Request, status int, took time.Duration)
	// Enter says when a request may go on: see door.Config.
	Enter func(*door.Request) (*admission.Pass, error)

	// Audiences are the resources for which tokens are taken, besides Resource Manager's public ones.
	Audiences []string
	// Authority returns the URL at which clients that called the host get tokens, such as https://login.example.org/TENANT.
	Authority func(host string) string
	// Endpoints describes the installation to clients that called the host.
	Endpoints func(host string) Endpoints
	// VaultURL returns the address of a vault for clients that called the host, with a trailing slash.
	VaultURL func(name, host string) string
	// Locations names the locations of the installation; nil means DefaultLocation alone.
	Locations []string
	// ClientAddress finds the address of the client; nil takes the connection's.
	ClientAddress func(*http.Request) netip.Addr
}

// DefaultLocation is the name of the only location of an installation that names none.
const DefaultLocation = "local"

// Endpoints are the addresses of an installation's services. VaultSuffix begins with a dot and may hold a port.
type Endpoints struct {
	Login, Audience, Graph, VaultSuffix string
}

// The audiences of Resource Manager in the public cloud, which some clients ask for whatever their configuration says.
const (
	publicResource  = "https://management.azure.com"
	classicResource = "https://management.core.windows.net"
)

// Door is the handler.
type Door struct {
	*door.Door
}

// New checks the configuration and returns the handler.
func New(c Config) (*Door, error) {
	if c.Guard == nil || c.Callers == nil || c.Tenancy == nil || c.Access == nil || c.Secrets == nil || c.Keys == nil || c.Authority == nil || c.VaultURL == nil ||
		c.Endpoints == nil {
		return nil, errors.New("the arm door needs a guard, an authenticator, the services, Authority, Endpoints and VaultURL")
	}
	if c.ClientAddress == nil {
		c.ClientAddress = door.ConnectionAddress
	}
	if len(c.Locations) == 0 {
		c.Locations = []string{DefaultLocation}
	}
	h := &handler{Config: c, audiences: identity.NewAudiences(append([]string{publicResource, classicResource}, c.Audiences...)...)}
	d, err := door.New(door.Config{Name: "arm", Routes: h.routes(), Clock: c.Clock, Prepare: h.prepare, Fail: h.fail, Status: status, Enter: c.Enter, Observe: c.Observe, Logger: c.Logger})
	return &Door{d}, err
}

// ServeHTTP answers one request. Clients that put a scope into a path write its leading slash twice.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "//") {
		c := *r
		c.URL = new(url.URL)
		*c.URL = *r.URL
		c.URL.Path = "/" + strings.TrimLeft(r.URL.Path, "/")
		if r.URL.RawPath != "" {
			c.URL.RawPath = "/" + strings.TrimLeft(r.URL.RawPath, "/")
		}
		r = &c
	}
	d.Door.ServeHTTP(w, r)
}

type handler struct {
	Config
	audiences *identity.AudienceSet
}

// maxClientRequestID bounds the client's own ids that are echoed and audited, in bytes.
const maxClientRequestID = 128

// prepare authenticates and checks the version, in this order, before anything of the request is judged.
func (h *handler) prepare(r *door.Request) error {
	h.Guard.Begin(&r.Call)
	r.Call.Address = h.ClientAddress(r.HTTP)
	h.setHeaders(r)
	if r.Route != nil && r.Route.Public {
		return nil
	}
	if err := h.authenticate(r); err != nil {
		return h.Guard.Unauthenticated(&r.Call, "", err)
	}
	if err := h.Guard.Throttle(&r.Call); err != nil {
		return err
	}
	r.Call.APIVersion = r.Query("api-version")
	return checkVersion(r.Call.APIVersion)
}

func (h *handler) setHeaders(r *door.Request) {
	r.Call.Correlation = vault.NewGUID()
	r.Call.UserAgent = r.HTTP.UserAgent()
	r.Call.Path = r.HTTP.URL.Path
	head := r.Header()
	head.Set("Cache-Control", "no-cache")
	head.Set("Pragma", "no-cache")
	head.Set("Expires", "-1")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Strict-Transport-Security", "max-age=31536000;includeSubDomains")
	head.Set("X-Ms-Request-Id", r.Call.Correlation)
	head.Set("X-Ms-Correlation-Request-Id", r.Call.Correlation)
	if id := r.HTTP.Header.Get("X-Ms-Client-Request-Id"); id != "" && len(id) <= maxClientRequestID {
		r.Call.ClientRequest = id
		head.Set("X-Ms-Client-Request-Id", id)
	}
}

func (h *handler) authenticate(r *door.Request) error {
	token, ok := r.Bearer()
	if !ok {
		return fault.New(fault.Unauthenticated, "Authentication failed. The 'Authorization' header is missing or not a bearer token: sign in first.").
			Because(authenticationFailed)
	}
	caller, err := h.Callers.Authenticate(r.HTTP.Context(), token, h.audiences)
	r.Call.Caller = caller
	return err
}

// challenge tells the client where tokens are had (RFC 6750, section 3). Clients look for authorization_uri.
func (h *handler) challenge(r *door.Request) {
	r.Header().Set("Www-Authenticate", `Bearer authorization_uri="`+h.Authority(r.HTTP.Host)+
		`", error="invalid_token", error_description="The access token is missing or not valid."`)
}

// checkVersion accepts every version that looks like one: the shapes here are those that all clients understand, and
// clients of one installation send many versions.
func checkVersion(v string) error {
	if v == "" {
		return fault.New(fault.Invalid, "The api-version query parameter (?api-version=) is required for all requests.").Because("MissingApiVersionParameter")
	}
	date, rest, _ := strings.Cut(v, "-preview")
	_, err := time.Parse(time.DateOnly, date)
	if err != nil || strings.Trim(rest, ".0123456789") != "" {
		return fault.New(fault.Invalid, "The api-version '%.40s' is invalid: use a version that has the form YYYY-MM-DD or YYYY-MM-DD-preview.", v).
			Because("InvalidApiVersionParameter")
	}
	return nil
}
