package oauth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

// Issuer is what the doors ask of the token service.
type Issuer interface {
	ClientCredentials(context.Context, identity.ClientRequest) (*identity.Token, error)
	ManagedIdentity(context.Context, identity.ManagedRequest) (*identity.Token, error)
	KeySet(context.Context, vault.TenantID) (*jose.JSONWebKeySet, error)
	People
}

// People is what the doors ask about persons.
type People interface {
	StartDevice(context.Context, identity.DeviceRequest) (*identity.Device, error)
	PollDevice(context.Context, identity.PollRequest) (*identity.Token, error)
	PendingDevice(ctx context.Context, t vault.TenantID, userCode string, from identity.From) (*identity.Pending, error)
	DecideDevice(ctx context.Context, t vault.TenantID, userCode string, who *identity.Person, allow bool) error
	SignInWithPassword(context.Context, identity.PasswordSignIn) (*identity.Person, error)
	BeginPasskey(ctx context.Context, t vault.TenantID, origin string, from identity.From) (*identity.Ceremony, error)
	SignInWithPasskey(ctx context.Context, t vault.TenantID, origin string, id redact.String, response []byte, from identity.From) (*identity.Person, error)
	ProveByEnrolment(ctx context.Context, t vault.TenantID, code redact.String, from identity.From) (*identity.Person, error)
	BeginPasskeyRegistration(ctx context.Context, who *identity.Person, origin string) (*identity.Ceremony, error)
	CheckCodeRequest(identity.CodeRequest) (string, error)
	IssueCode(context.Context, identity.CodeRequest, *identity.Person) (redact.String, error)
	RedeemCode(context.Context, identity.RedeemRequest) (*identity.Token, error)
	Refresh(context.Context, identity.RefreshRequest) (*identity.Token, error)
}

// Config makes a door.
type Config struct {
	Issuer Issuer
	Self   Self
	// Host is the name, with the port if it is not 443, by which browsers find the authority. Pages that were opened by an address
	// lead there where they need a name; empty leads nowhere.
	Host string
	// DefaultTenant is the tenant of adfs, common and organizations.
	DefaultTenant vault.TenantID
	// Known reports whether a tenant exists, as far as that is known without asking the store; nil knows none but the default.
	Known func(vault.TenantID) bool
	// Own reports whether a Host header names this installation's authority. An assertion that was made for somebody else's
	// token endpoint must not become good here by its Host.
	Own func(host string) bool
	// Bound finds the managed identity that a request to a listener belongs to without a secret: by the listener, or by the
	// address that it comes from. Nil binds nobody.
	Bound func(*http.Request) (Binding, bool)

	Clock   clock.Clock
	Logger  *slog.Logger
	Observe func(door string, r *door.Request, status int, took time.Duration)
	// Enter says when a request may go on: see door.Config.
	Enter func(*door.Request) (*admission.Pass, error)
	// ClientAddress finds the address of the client; nil takes the connection's.
	ClientAddress func(*http.Request) netip.Addr
}

type handler struct{ Config }

func newHandler(c Config) (*handler, error) {
	if c.Issuer == nil || c.DefaultTenant == "" {
		return nil, errors.New("the oauth door needs the token service and a default tenant")
	}
	if c.ClientAddress == nil {
		c.ClientAddress = door.ConnectionAddress
	}
	return &handler{c}, nil
}

// New returns the door of the authority.
func New(c Config) (*door.Door, error) {
	h, err := newHandler(c)
	if err != nil {
		return nil, err
	}
	if c.Own == nil || c.Self == nil {
		return nil, errors.New("the oauth door needs to know its own hosts and what changes people's accounts")
	}
	return door.New(door.Config{Name: "oauth", Routes: h.routes(), Clock: c.Clock, Prepare: h.prepare, Fail: h.fail, Enter: c.Enter, Observe: c.Observe,
		Logger: c.Logger})
}

// maxForm bounds the body of a token request. Assertions are the largest part of one.
const maxForm = 64 << 10

func (h *handler) routes() []door.Route {
	get := func(pattern, operation, summary string, serve func(*door.Request) error) door.Route {
		return door.Route{Method: http.MethodGet, Pattern: pattern, Operation: operation, Public: true, Summary: summary, Serve: serve}
	}
	post := func(pattern, operation, summary string, serve func(*door.Request) error) door.Route {
		return door.Route{Method: http.MethodPost, Pattern: pattern, Operation: operation, Public: true, MaxBody: maxForm, Summary: summary, Serve: serve}
	}
	routes := []door.Route{
		get("/common/discovery/instance", "InstanceDiscovery", "Says that this host is an authority.", h.instance),
		get("/{tenant}/.well-known/openid-configuration", "Discovery", "The authority's metadata (OpenID Connect Discovery 1.0).", h.discovery),
		get("/{tenant}/v2.0/.well-known/openid-configuration", "Discovery", "The authority's metadata, version 2.0.", h.discovery),
		get("/{tenant}/discovery/keys", "Keys", "The keys that sign tokens (RFC 7517).", h.keys),
		get("/{tenant}/discovery/v2.0/keys", "Keys", "The keys that sign tokens, version 2.0.", h.keys),
		post("/{tenant}/oauth2/devicecode", "DeviceCode", "Starts a sign-in on another device (RFC 8628).", h.deviceCode),
		post("/{tenant}/oauth2/v2.0/devicecode", "DeviceCode", "Starts a sign-in on another device (RFC 8628).", h.deviceCode),
		get("/devicelogin", "DevicePage", "Leads to the page on which a person types a device's code.", h.deviceLogin),
		get("/{tenant}/oauth2/deviceauth", "DevicePage", "Shows the page on which a person types a device's code.", h.devicePage),
		post("/{tenant}/oauth2/deviceauth", "DeviceDecision", "Takes a device's code and the person's decision.", h.deviceDecision),
		get("/{tenant}/oauth2/authorize", "Authorize", "Shows the sign-in page of a program on the person's machine (RFC 8252).", h.authorizePage),
		get("/{tenant}/oauth2/v2.0/authorize", "Authorize", "Shows the sign-in page of a program on the person's machine (RFC 8252).", h.authorizePage),
		post("/{tenant}/oauth2/authorize", "AuthorizeDecision", "Takes the person's sign-in.", h.authorizeDecision),
		post("/{tenant}/oauth2/v2.0/authorize", "AuthorizeDecision", "Takes the person's sign-in.", h.authorizeDecision),
		post("/{tenant}/oauth2/passkey", "PasskeyChallenge", "Starts a sign-in by passkey.", h.passkey),
		get("/{tenant}/oauth2/enrol", "EnrolPage", "Shows the page on which a person registers a passkey.", h.enrolPage),
		post("/{tenant}/oauth2/enrol", "PasskeyEnrol", "Takes the person's sign-in, then the passkey.", h.enrol),
		post("/{tenant}/oauth2/v2.0/enrolment", "Enrol", "Exchanges an enrolment for a first credential.", h.exchange),
		get("/{tenant}/oauth2/page.css", "PageAsset", "The pages' style.", asset("page.css", "text/css; charset=utf-8")),
		get("/{tenant}/oauth2/passkey.js", "PageAsset", "The pages' script.", asset("passkey.js", "text/javascript; charset=utf-8")),
		post("/{tenant}/oauth2/token", "Token", "Issues a token (RFC 6749); resource= names what it is for.", h.token),
		post("/{tenant}/oauth2/v2.0/token", "Token", "Issues a token (RFC 6749); scope= names what it is for.", h.token),
	}
	for i := range routes {
		routes[i].Class = classes[routes[i].Operation]
	}
	return routes
}

// classes are those of the operations whose methods do not say it: what everybody needs to judge a token is as cheap as a read and asked for as
// often, and most tokens change nothing.
var classes = map[string]admission.Class{"InstanceDiscovery": admission.Read, "Discovery": admission.Read, "Keys": admission.Read, "PageAsset": admission.Read,
	"Token": admission.Query}

// prepare names the request and checks that the host is ours.
func (h *handler) prepare(r *door.Request) error {
	h.name(r)
	if !h.Own(r.HTTP.Host) {
		return fault.New(fault.NotFound, "This host is no authority here.").Because(door.UnknownPath)
	}
	if r.Route != nil {
		// Whoever names tenants that do not exist shares a part of the server with all others who do.
		if a, err := h.authority(r); err == nil && (a.tenant == h.DefaultTenant || h.Known != nil && h.Known(a.tenant)) {
			r.Tenant = a.tenant
		}
	}
	return nil
}

var (
	noStore  = []string{"no-store, no-cache"}
	noCache  = []string{"no-cache"}
	noSniff  = []string{"nosniff"}
	hsts     = []string{"max-age=31536000; includeSubDomains"}
	maxIDLen = 36
)

// name gives the request its ids and sets the headers that every answer has.
func (h *handler) name(r *door.Request) {
	r.Call.Address = h.ClientAddress(r.HTTP)
	r.Call.Correlation = vault.NewGUID()
	r.Call.UserAgent = r.HTTP.UserAgent()
	r.Call.Path = r.HTTP.URL.Path
	for _, id := range []string{r.HTTP.Header.Get("client-request-id"), r.Query("client-request-id")} {
		if guid, err := vault.ParseGUID(id); len(id) == maxIDLen && err == nil {
			r.Call.ClientRequest = guid
			break
		}
	}
	head := r.Header()
	head["Cache-Control"], head["Pragma"], head["X-Content-Type-Options"] = noStore, noCache, noSniff
	head["X-Ms-Request-Id"] = []string{r.Call.Correlation}
	if r.HTTP.TLS != nil {
		head["Strict-Transport-Security"] = hsts
	}
	if r.Call.ClientRequest != "" {
		head["Client-Request-Id"] = []string{r.Call.ClientRequest}
	}
}

func from(r *door.Request) identity.From {
	return identity.From{Address: r.Call.Address, Correlation: r.Call.Correlation}
}

// authority is the tenant of a request's path and the URL that its endpoints stand under.
type authority struct {
	tenant vault.TenantID
	// base is https://HOST/SEGMENT, with the host that was called: the libraries refuse metadata that names another.
	base string
	// adfs says that the path is AD FS's, whose answers differ in places.
	adfs bool
	host string
}

func (h *handler) authority(r *door.Request) (authority, error) {
	segment := strings.ToLower(r.Params.Get("tenant"))
	a := authority{base: "https://" + r.HTTP.Host + "/" + segment, host: r.HTTP.Host}
	switch segment {
	case "adfs", "common", "organizations":
		a.tenant, a.adfs = h.DefaultTenant, segment == "adfs"
		return a, nil
	}
	id, err := vault.ParseGUID(segment)
	if err != nil {
		return a, fault.New(fault.Invalid, "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the "+
			"correct cloud.", fault.Clip(segment)).Because(identity.UnknownTenant)
	}
	a.tenant = vault.TenantID(id)
	return a, nil
}

// Owns reports whether a path is one of an authority, for hosts (plain addresses) at which other doors stand as well.
func Owns(path string) bool {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first = strings.ToLower(first); first {
	case "adfs", "common", "organizations":
		return true
	case "devicelogin":
		return true
	}
	if _, err := vault.ParseGUID(first); err != nil {
		return false
	}
	second, _, _ := strings.Cut(rest, "/")
	switch strings.ToLower(second) {
	case "oauth2", "v2.0", "discovery", ".well-known":
		return true
	}
	return false
}
