package oauth

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

// Binding is the managed identity that a listener vouches for.
type Binding struct {
	Tenant    vault.TenantID
	Principal principal.ID
}

// ManagedPath is the path of App Service's endpoint; IDENTITY_ENDPOINT and MSI_ENDPOINT are http://HOST:PORT plus this.
const ManagedPath = "/msi/token"

// imdsPath is where virtual machines find their identity.
const imdsPath = "/metadata/identity/oauth2/token"

// NewManaged returns the door of the plain-http listener that gives workloads their managed identities:
//
//	GET  /msi/token?api-version=2019-08-01   X-IDENTITY-HEADER: secret
//	GET  /msi/token?api-version=2017-09-01   secret: secret
//	POST /msi/token                          Metadata: true; the listener must be bound to an identity
//	GET  /metadata/identity/oauth2/token     Metadata: true; the listener must be bound to an identity
//
// Some clients put a slash behind the path.
func NewManaged(c Config) (*door.Door, error) {
	h, err := newHandler(c)
	if err != nil {
		return nil, err
	}
	route := func(method, pattern, operation, summary string, body int64, serve func(*door.Request) error) door.Route {
		return door.Route{Method: method, Pattern: pattern, Operation: operation, Class: admission.Query, Public: true, MaxBody: body, Summary: summary, Serve: serve}
	}
	return door.New(door.Config{Name: "msi", Clock: c.Clock, Enter: c.Enter, Observe: c.Observe, Logger: c.Logger, Fail: h.failManaged,
		Prepare: func(r *door.Request) error { h.name(r); return refuseBrowser(r) },
		Routes: []door.Route{
			route(http.MethodGet, ManagedPath, "ManagedIdentityToken", "Issues a token to the holder of the endpoint's secret.", 0, h.appService),
			route(http.MethodPost, ManagedPath, "ManagedIdentityToken", "Issues a token for the identity that the listener is bound to.", maxForm, h.legacyMSI),
			route(http.MethodGet, imdsPath, "ManagedIdentityToken", "Issues a token for the identity that the listener is bound to.", 0, h.imds),
		}})
}

// refuseBrowser keeps pages in a browser on the same machine from asking: a request that was forwarded or that a page made is
// none of a workload's.
func refuseBrowser(r *door.Request) error {
	for _, name := range []string{"X-Forwarded-For", "Origin", "Sec-Fetch-Site"} {
		if len(r.HTTP.Header[name]) > 0 {
			return wrongRequest("Requests with the header %s are refused at this endpoint.", name)
		}
	}
	return nil
}

// appService serves both versions of App Service's endpoint, told apart by their header.
func (h *handler) appService(r *door.Request) error {
	head := r.HTTP.Header
	secret := head.Get("X-IDENTITY-HEADER")
	if secret == "" {
		secret = head.Get("secret")
	}
	if secret == "" {
		return wrongRequest("The request needs the header X-IDENTITY-HEADER (or secret, for version 2017-09-01) with the value of IDENTITY_HEADER.")
	}
	version := r.Query("api-version")
	if version != "2019-08-01" && version != "2017-09-01" && version != "2025-03-30" {
		return wrongRequest("The api-version '%s' is not one of 2019-08-01 and 2017-09-01.", fault.Clip(version))
	}
	return h.managed(r, identity.ManagedRequest{Secret: redact.String(secret)}, r.Query)
}

func (h *handler) imds(r *door.Request) error {
	if err := h.metadataHeader(r); err != nil {
		return err
	}
	version := r.Query("api-version")
	if len(version) != len("2018-02-01") || version < "2018-02-01" {
		return wrongRequest("The api-version '%s' is not supported; use 2018-02-01.", fault.Clip(version))
	}
	return h.bound(r, r.Query)
}

// legacyMSI is the endpoint of clients that are given MSI_ENDPOINT alone.
func (h *handler) legacyMSI(r *door.Request) error {
	if err := h.metadataHeader(r); err != nil {
		return err
	}
	f, err := parseForm(r.HTTP.Header.Get("Content-Type"), r.Body())
	if err != nil {
		return err
	}
	return h.bound(r, func(name string) string { return f[name] })
}

// metadataHeader is what no browser and no forwarded request sends by accident. Clients probe without it and want 400.
func (h *handler) metadataHeader(r *door.Request) error {
	if !strings.EqualFold(r.HTTP.Header.Get("Metadata"), "true") {
		return wrongRequest("Required metadata header not specified")
	}
	return nil
}

// bound issues a token for the identity that the listener vouches for.
func (h *handler) bound(r *door.Request, get func(string) string) error {
	var b Binding
	ok := false
	if h.Bound != nil {
		b, ok = h.Bound(r.HTTP)
	}
	if !ok {
		return fault.New(fault.Invalid, "Identity not found").Because(identity.UnknownIdentity)
	}
	return h.managed(r, identity.ManagedRequest{Tenant: b.Tenant, Principal: b.Principal}, get)
}

// managedReply answers a request for a managed identity's token. All values are strings, instants are epochs: some clients
// cannot read anything else.
type managedReply struct {
	AccessToken  string `json:"access_token"`
	ClientID     string `json:"client_id"`
	ExpiresIn    string `json:"expires_in"`
	ExtExpiresIn string `json:"ext_expires_in"`
	ExpiresOn    string `json:"expires_on"`
	NotBefore    string `json:"not_before"`
	Resource     string `json:"resource"`
	TokenType    string `json:"token_type"`
}

func (h *handler) managed(r *door.Request, m identity.ManagedRequest, get func(string) string) error {
	m.Resource = get("resource")
	if m.Resource == "" {
		return wrongRequest("The request needs the parameter resource.")
	}
	// A client may escape the resource twice or not at all.
	if plain, err := url.QueryUnescape(m.Resource); err == nil && !strings.Contains(m.Resource, "://") && strings.Contains(plain, "://") {
		m.Resource = plain
	}
	m.ClientID, m.ObjectID, m.ResourceID = get("client_id"), get("object_id"), get("mi_res_id")
	if m.ClientID == "" {
		m.ClientID = get("clientid")
	}
	if m.ObjectID == "" {
		m.ObjectID = get("principal_id")
	}
	if m.ResourceID == "" {
		m.ResourceID = get("msi_res_id")
	}
	m.From = from(r)
	t, err := h.Issuer.ManagedIdentity(r.HTTP.Context(), m)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, managedReply{AccessToken: t.Access.Reveal(), ClientID: t.ClientID, ExpiresIn: number(int64(t.Lifetime().Seconds())),
		ExtExpiresIn: number(int64(t.Lifetime().Seconds())), ExpiresOn: epoch(t.Expires), NotBefore: epoch(t.Issued), Resource: t.Resource,
		TokenType: "Bearer"})
}

// failManaged answers as the endpoints of Azure do: error and error_description for virtual machines, statusCode and message
// for App Service. Clients read one or the other; both are in one body.
func (h *handler) failManaged(r *door.Request, e *fault.Error) {
	w := wireOf(e)
	r.RetryAfter(e.RetryAfter)
	body, err := json.Marshal(struct {
		Error         string `json:"error"`
		Description   string `json:"error_description"`
		StatusCode    int    `json:"statusCode"`
		Message       string `json:"message"`
		CorrelationID string `json:"correlationId"`
	}{w.code, e.Message, w.status, e.Message, r.Call.Correlation})
	if err != nil {
		h.Logger.ErrorContext(r.HTTP.Context(), "encoding an error", "correlation", r.Call.Correlation, "error", err)
	}
	r.Reply(w.status, body)
}
