package oauth

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
)

// metadata is the authority's description (OpenID Connect Discovery 1.0, section 3; RFC 8414; RFC 8628, section 4).
type metadata struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	DeviceEndpoint        string   `json:"device_authorization_endpoint"`
	KeysURI               string   `json:"jwks_uri"`
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	SigningAlgorithms     []string `json:"id_token_signing_alg_values_supported"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	AssertionAlgorithms   []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	Scopes                []string `json:"scopes_supported"`
	Claims                []string `json:"claims_supported"`
	TenantRegion          any      `json:"tenant_region_scope"`
	CloudInstance         string   `json:"cloud_instance_name"`
}

func (h *handler) discovery(r *door.Request) error {
	a, err := h.authority(r)
	if err != nil {
		return err
	}
	two := strings.Contains(strings.ToLower(r.HTTP.URL.Path), "/v2.0/")
	return r.JSON(http.StatusOK, a.metadata(two))
}

// metadata describes the authority. The issuer has the scheme, host and port of the authority, which the libraries compare.
func (a authority) metadata(two bool) metadata {
	oauth, keys, issuer := a.base+"/oauth2", a.base+"/discovery/keys", a.base
	if two {
		oauth, keys, issuer = a.base+"/oauth2/v2.0", a.base+"/discovery/v2.0/keys", a.base+"/v2.0"
	}
	return metadata{
		Issuer: issuer, AuthorizationEndpoint: oauth + "/authorize", TokenEndpoint: oauth + "/token",
		DeviceEndpoint: oauth + "/devicecode", KeysURI: keys,
		ResponseTypes: []string{"code"}, ResponseModes: []string{"query"},
		GrantTypes:   []string{grantClient, grantDevice, grantRefresh, grantCode},
		SubjectTypes: []string{"public"}, SigningAlgorithms: []string{"RS256"},
		TokenAuthMethods:    []string{"client_secret_post", "client_secret_basic", "private_key_jwt"},
		AssertionAlgorithms: []string{"RS256", "PS256", "ES256"}, ChallengeMethods: []string{"S256"},
		Scopes: []string{"openid", "profile", "offline_access"},
		Claims: []string{"sub", "iss", "aud", "exp", "iat", "nbf", "tid", "oid", "upn", "name", "preferred_username"}, CloudInstance: a.host,
	}
}

// endpoints are the audiences that a client assertion may have here: a library takes the token endpoint from the metadata or
// builds it, and some name the issuer.
func (a authority) endpoints() []string {
	return []string{a.base + "/oauth2/token", a.base + "/oauth2/v2.0/token", a.base, a.base + "/v2.0"}
}

// instance answers the question whether an authority may be trusted, in the shape of Microsoft's own. It speaks for this host
// alone.
func (h *handler) instance(r *door.Request) error {
	asked, err := url.Parse(r.Query("authorization_endpoint"))
	if err != nil || asked.Host == "" {
		return fault.New(fault.Invalid, "The request needs authorization_endpoint, the URL of an authority.").Because(identity.WrongRequest)
	}
	host := r.HTTP.Host
	// az leaves the port out of its question.
	if !strings.EqualFold(asked.Host, host) && !strings.EqualFold(asked.Hostname(), hostName(host)) {
		return fault.New(fault.Invalid, "The authority '%s' is not known here.", fault.Clip(asked.Host)).Because(identity.UnknownTenant)
	}
	segment, _, _ := strings.Cut(strings.TrimPrefix(asked.Path, "/"), "/")
	if segment == "" {
		segment = "common"
	}
	return r.JSON(http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": "https://" + host + "/" + url.PathEscape(segment) + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata":                  []any{map[string]any{"preferred_network": host, "preferred_cache": host, "aliases": []string{host}}},
	})
}

// hostName takes the port off a Host.
func hostName(host string) string {
	u := url.URL{Host: host}
	return u.Hostname()
}

func (h *handler) keys(r *door.Request) error {
	a, err := h.authority(r)
	if err != nil {
		return err
	}
	set, err := h.Issuer.KeySet(r.HTTP.Context(), a.tenant)
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.Invalid, "Tenant '%s' not found. Check to make sure you have the correct tenant ID.", a.tenant).Because(identity.UnknownTenant)
	}
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, set)
}
