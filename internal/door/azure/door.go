package azure

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/backup"
	"github.com/keywright/keywright/internal/cert"
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

// Authenticator turns a bearer token into a caller. accept reports whether a token's audience is meant for this door.
type Authenticator interface {
	Authenticate(ctx context.Context, token string, audiences identity.Audiences) (*guard.Caller, error)
}

// Config makes the door.
type Config struct {
	Hosts        Hosts
	Guard        *guard.Guard
	Callers      Authenticator
	Secrets      *secret.Service
	Keys         *key.Service
	Certificates *cert.Service
	// Access, Tenancy and Backups serve the administration of a vault at its own address.
	Access  *access.Service
	Tenancy *tenancy.Service
	Backups *backup.Service
	Clock   clock.Clock
	Logger  *slog.Logger
	Observe func(door string, r *door.Request, status int, took time.Duration)
	// Enter says when a request may go on: see door.Config.
	Enter func(*door.Request) (*admission.Pass, error)
	// DefaultTenant is named by challenges of hosts that are no vault's.
	DefaultTenant vault.TenantID
	// Region is what x-ms-keyvault-region says.
	Region string
	// ClientAddress finds the address of the client; nil takes the connection's.
	ClientAddress func(*http.Request) netip.Addr
}

// New returns the handler.
func New(c Config) (*door.Door, error) {
	if c.Guard == nil || c.Callers == nil || c.Secrets == nil || c.Keys == nil || c.Certificates == nil || c.Access == nil ||
		c.Tenancy == nil || c.Backups == nil {
		return nil, errors.New("the azure door needs a guard, an authenticator and the services of secrets, keys, certificates, access, vaults and backups")
	}
	if c.ClientAddress == nil {
		c.ClientAddress = door.ConnectionAddress
	}
	h := &handler{Config: c, headers: standardHeaders(c.Region)}
	return door.New(door.Config{Name: "azure", Routes: h.routes(), Clock: c.Clock, Prepare: h.prepare, Fail: fail, Status: status, Enter: c.Enter, Observe: c.Observe,
		Logger: c.Logger})
}

type handler struct {
	Config
	headers  []header
	places   places
	networks networks
}

type header struct {
	name  string
	value []string
}

// standardHeaders are on every answer. Their values are shared: assigning them costs no allocation.
func standardHeaders(region string) []header {
	return []header{
		{"Cache-Control", []string{"no-cache"}},
		{"Pragma", []string{"no-cache"}},
		{"Expires", []string{"-1"}},
		{"X-Content-Type-Options", []string{"nosniff"}},
		{"Strict-Transport-Security", []string{"max-age=31536000;includeSubDomains"}},
		{"X-Ms-Keyvault-Region", []string{region}},
		{"X-Ms-Keyvault-Service-Version", []string{serviceVersion}},
	}
}

// prepare finds the vault, authenticates and applies network rules, in this order, before anything of the request is
// judged.
func (h *handler) prepare(r *door.Request) error {
	h.Guard.Begin(&r.Call)
	r.Call.Address = h.ClientAddress(r.HTTP)
	h.setHeaders(r)
	where := h.Hosts.find(&h.places, r.HTTP.Host)
	r.Base = where.base
	view, err := h.view(r.HTTP.Context(), where.vault)
	if err != nil {
		return err
	}
	if err := h.authenticate(r, where, view); err != nil {
		h.challenge(r, where, view)
		return h.Guard.Unauthenticated(&r.Call, where.vault, err)
	}
	r.Call.Vault = view
	if err := h.Guard.Admit(r.HTTP.Context(), &r.Call); err != nil {
		return err
	}
	r.Call.APIVersion = r.Query("api-version")
	_, err = parseVersion(r.Call.APIVersion)
	return err
}

// view finds the vault's view; a vault that does not exist, or is deleted, has none.
func (h *handler) view(ctx context.Context, name string) (*guard.View, error) {
	if name == "" {
		return nil, nil
	}
	view, err := h.Guard.View(ctx, name)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	return view, err
}

func (h *handler) setHeaders(r *door.Request) {
	head := r.Header()
	for i := range h.headers {
		head[h.headers[i].name] = h.headers[i].value
	}
	r.Call.Correlation = vault.NewGUID()
	r.Call.UserAgent = r.HTTP.UserAgent()
	r.Call.Path = r.HTTP.URL.Path
	r.SetHeader("X-Ms-Request-Id", r.Call.Correlation)
	if id := r.HTTP.Header["X-Ms-Client-Request-Id"]; len(id) == 1 && len(id[0]) <= maxClientRequestID {
		r.Call.ClientRequest = id[0]
		head["X-Ms-Client-Request-Id"] = id
	}
	head["X-Ms-Keyvault-Network-Info"] = h.networks.info(r.Call.Address)
}

// maxClientRequestID bounds the client's own id that is echoed and audited, in bytes.
const maxClientRequestID = 128

// networks remembers the network header of recent addresses. An entry that is taken by another address is made again.
type networks [256]atomic.Pointer[network]

type network struct {
	address netip.Addr
	value   []string
}

func (n *networks) info(a netip.Addr) []string {
	bytes := a.As16()
	slot := &n[bytes[15]^bytes[14]^bytes[13]^bytes[12]]
	if e := slot.Load(); e != nil && e.address == a {
		return e.value
	}
	e := &network{a, []string{networkInfo(a)}}
	slot.Store(e)
	return e.value
}

func networkInfo(a netip.Addr) string {
	family, kind := "InterNetwork", "Ipv4"
	if a.Is6() {
		family, kind = "InterNetworkV6", "Ipv6"
	}
	return "conn_type=" + kind + ";addr=" + a.String() + ";act_addr_fam=" + family + ";"
}
