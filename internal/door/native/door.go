package native

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/auditing"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/backup"
	"github.com/keywright/keywright/internal/backup/full"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/composition"
	"github.com/keywright/keywright/internal/consumer"
	"github.com/keywright/keywright/internal/directory"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/enrolment"
	"github.com/keywright/keywright/internal/eventing"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/feed"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/membership"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

// Authenticator turns a bearer token into a caller.
type Authenticator interface {
	Authenticate(ctx context.Context, token string, audiences identity.Audiences) (*guard.Caller, error)
}

// Config makes the door. Only Observe, Enter and ClientAddress may be left out.
type Config struct {
	Guard   *guard.Guard
	Callers Authenticator
	// Audiences are the API's resources, in every form in which clients may name it.
	Audiences identity.Audiences
	Secrets   *secret.Service
	Keys      *key.Service
	// Certificates serves certificates with their keys and secrets.
	Certificates *cert.Service
	// Endpoints watches where certificates are presented.
	Endpoints *endpoint.Service
	// Enrolment keeps the access rules of issuers.
	Enrolment *enrolment.Service
	Changes   *feed.Feed
	Tenancy   *tenancy.Service
	Access    *access.Service
	Directory *directory.Service
	Auditing  *auditing.Service
	// Backups are of the whole installation, Copies of vaults.
	Backups    *full.Service
	Copies     *backup.Service
	Consumers  *consumer.Service
	Eventing   *eventing.Service
	Membership *membership.Service
	Rotation   *rotation.Service
	Composed   *composition.Service
	Status     Status
	// Beside are doors at other addresses that the description of the API covers too.
	Beside  []Described
	Clock   clock.Clock
	Logger  *slog.Logger
	Observe func(door string, r *door.Request, status int, took time.Duration)
	// Enter says when a request may go on: see door.Config.
	Enter func(*door.Request) (*admission.Pass, error)
	// ClientAddress finds the address of the client; nil takes the connection's.
	ClientAddress func(*http.Request) netip.Addr
}

// Described is another door, as the description of the API shows it.
type Described struct {
	// Name is the tag of its operations and, before a dot, the beginning of their ids.
	Name string
	// URL is its address, in which {vault} stands for the name of a vault. Description says what is to be known of it.
	URL, Description string
	Routes           []door.Route
}

type handler struct {
	Config
	// inVault holds the operations of the data plane: they happen within the vault that the path names, behind its network
	// rules.
	inVault map[string]bool
	// administers holds those of the control plane, which not every listener serves.
	administers map[string]authz.Action
	openAPI     []byte
}

// New returns the handler.
func New(c Config) (*door.Door, error) {
	if c.Guard == nil || c.Callers == nil || c.Audiences == nil || c.Secrets == nil || c.Keys == nil || c.Certificates == nil || c.Endpoints == nil || c.Enrolment == nil || c.Changes == nil || c.Tenancy == nil || c.Access == nil || c.Directory == nil ||
		c.Auditing == nil || c.Backups == nil || c.Copies == nil || c.Consumers == nil || c.Eventing == nil || c.Membership == nil || c.Rotation == nil || c.Composed == nil || c.Status == nil {
		return nil, errors.New("the native door needs a guard, an authenticator, audiences, every service and the status")
	}
	if c.ClientAddress == nil {
		c.ClientAddress = door.ConnectionAddress
	}
	h := &handler{Config: c, inVault: make(map[string]bool), administers: make(map[string]authz.Action)}
	routes := h.routes()
	for _, r := range routes {
		a, err := authz.ParseAction(r.Action)
		switch {
		case err != nil:
		case a.Plane() == authz.Data:
			h.inVault[r.Operation] = true
		default:
			h.administers[r.Operation] = a
		}
	}
	var err error
	if h.openAPI, err = describe(routes, c.Beside); err != nil {
		return nil, err
	}
	return door.New(door.Config{Name: "native", Routes: routes, Clock: c.Clock, Prepare: h.prepare, Fail: fail, Status: status, Enter: c.Enter, Observe: c.Observe, Logger: c.Logger})
}

// root is where version 1 of the API stands.
const root = "/api/v1"

func (h *handler) routes() []door.Route {
	var all []door.Route
	for _, part := range [][]door.Route{
		h.serverRoutes(), h.vaultRoutes(), h.encryptionRoutes(), h.policyRoutes(), h.secretRoutes(), h.keyRoutes(),
		h.certificateRoutes(), h.certificateIssuerRoutes(), h.accessRuleRoutes(), h.certificateRevokeRoutes(), h.certificateEndpointRoutes(), h.authorityRoutes(),
		h.holderRoutes(),
		h.changeRoutes(),
		h.rotationRoutes(),
		h.incidentRoutes(),
		h.leaseRoutes(),
		h.taskRoutes(),
		h.templateRoutes(),
		h.principalRoutes(), h.issuerRoutes(), h.roleRoutes(), h.accessRoutes(),
		h.auditRoutes(),
		h.backupRoutes(), h.vaultCopyRoutes(),
		h.eventRoutes(),
		h.nodeRoutes(),
	} {
		all = append(all, part...)
	}
	return all
}

// Headers of requests and answers.
const (
	correlationHeader   = "X-Correlation-Id"
	clientRequestHeader = "X-Client-Request-Id"
	// maxClientRequestID bounds the client's own id that is echoed and audited, in bytes.
	maxClientRequestID = 128
)

// prepare authenticates and, for the data plane, enters the vault: before the body is read, and before an unknown path
// is told apart from a known one.
func (h *handler) prepare(r *door.Request) error {
	h.Guard.Begin(&r.Call)
	h.name(r)
	if r.Route != nil && r.Route.Public {
		return nil
	}
	token, ok := r.Bearer()
	err := error(fault.New(fault.Unauthenticated, "the request has no bearer token: sign in first").Because(identity.NoToken))
	if ok {
		r.Call.Caller, err = h.Callers.Authenticate(r.HTTP.Context(), token, h.Audiences)
	}
	if err != nil {
		r.Header().Set("Www-Authenticate", `Bearer resource="https://`+r.HTTP.Host+`"`)
		return h.Guard.Unauthenticated(&r.Call, "", err)
	}
	if r.Route != nil && h.inVault[r.Route.Operation] {
		return h.enter(r)
	}
	if err := h.Guard.Throttle(&r.Call); err != nil {
		return err
	}
	return h.administer(r)
}

// AdministrationElsewhere is the reason when a listener does not serve what was asked for.
const AdministrationElsewhere fault.Reason = "AdministrationElsewhere"

// administer refuses administration where the listener serves none, whoever asks.
func (h *handler) administer(r *door.Request) error {
	if r.Route == nil || !door.ListenerOf(r.HTTP.Context()).WithoutAdministration {
		return nil
	}
	action, ok := h.administers[r.Route.Operation]
	if !ok {
		return nil
	}
	err := fault.New(fault.Forbidden, "administration is not served at this address: use that of the administration listener").Because(AdministrationElsewhere)
	return h.Guard.Deny(r.HTTP.Context(), &r.Call, guard.Need{Action: action}, err)
}

// enter finds the vault of the path and applies its network rules. A vault of another tenant does not exist.
func (h *handler) enter(r *door.Request) error {
	view, err := h.view(r)
	if err != nil {
		return err
	}
	r.Call.Vault = view
	return h.Guard.Admit(r.HTTP.Context(), &r.Call)
}

// view finds the live vault that the path names. A vault of another tenant is none.
func (h *handler) view(r *door.Request) (*guard.View, error) {
	name := r.Params.Get("vault")
	view, err := h.Guard.View(r.HTTP.Context(), name)
	if fault.Is(err, fault.NotFound) || err == nil && view.Vault.Tenant != r.Call.Caller.Tenant {
		return nil, noVault(name)
	}
	return view, err
}

func (h *handler) name(r *door.Request) {
	r.Call.Address = h.ClientAddress(r.HTTP)
	r.Call.Correlation = vault.NewGUID()
	r.Call.UserAgent = r.HTTP.UserAgent()
	r.Call.Path = r.HTTP.URL.Path
	r.Call.APIVersion = "v1"
	head := r.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set(correlationHeader, r.Call.Correlation)
	if r.HTTP.TLS != nil {
		head.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	}
	if id := r.HTTP.Header[clientRequestHeader]; len(id) == 1 && len(id[0]) <= maxClientRequestID {
		r.Call.ClientRequest = id[0]
		head[clientRequestHeader] = id
	}
}
