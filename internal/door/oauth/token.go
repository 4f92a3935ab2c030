package oauth

import (
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
)

// The grants (RFC 6749, sections 4.4, 6 and 4.1; RFC 8628, section 3.4).
const (
	grantClient  = "client_credentials"
	grantRefresh = "refresh_token"
	grantCode    = "authorization_code"
	grantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
	// grantDeviceOld is what clients of AD FS and of version 1 say.
	grantDeviceOld = "device_code"
)

// assertionType is the only type of a client assertion (RFC 7523, section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

const unsupportedGrant fault.Reason = "UnsupportedGrant"

// tokenReply answers a token request. Microsoft Entra ID writes the numbers of version 1 as strings; version 2 and AD FS have
// numbers, with which az calculates.
type tokenReply struct {
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope,omitempty"`
	ExpiresIn    any    `json:"expires_in"`
	ExtExpiresIn any    `json:"ext_expires_in"`
	ExpiresOn    string `json:"expires_on,omitempty"`
	NotBefore    string `json:"not_before,omitempty"`
	Resource     string `json:"resource,omitempty"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	ClientInfo   string `json:"client_info,omitempty"`
}

func (h *handler) token(r *door.Request) error {
	a, err := h.authority(r)
	if err != nil {
		return err
	}
	f, err := readForm(r)
	if err != nil {
		return err
	}
	if f["client_id"] == "" && f["grant_type"] != "" {
		return fault.New(fault.Invalid, "The request body must contain the following parameter: 'client_id'.").Because(identity.WrongRequest)
	}
	t, err := h.issue(r, a, f)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, a.reply(t, strings.Contains(strings.ToLower(r.HTTP.URL.Path), "/v2.0/")))
}

func (h *handler) issue(r *door.Request, a authority, f form) (*identity.Token, error) {
	switch f["grant_type"] {
	case grantClient:
		return h.clientCredentials(r, a, f)
	case grantDevice, grantDeviceOld:
		return h.pollDevice(r, a, f)
	case grantRefresh:
		return h.refresh(r, a, f)
	case grantCode:
		return h.redeem(r, a, f)
	case "":
		return nil, fault.New(fault.Invalid, "The request body must contain the following parameter: 'grant_type'.").Because(identity.WrongRequest)
	}
	return nil, fault.New(fault.Invalid, "The app requested an unsupported grant type '%s'.", fault.Clip(f["grant_type"])).Because(unsupportedGrant)
}

func (h *handler) clientCredentials(r *door.Request, a authority, f form) (*identity.Token, error) {
	if f["client_assertion"] != "" && f["client_assertion_type"] != assertionType {
		return nil, wrongRequest("The client_assertion_type must be '%s'.", assertionType)
	}
	resource, err := f.resource()
	if err != nil {
		return nil, err
	}
	return h.Issuer.ClientCredentials(r.HTTP.Context(), identity.ClientRequest{Tenant: a.tenant, ClientID: f["client_id"],
		Secret: f.secret("client_secret"), Assertion: f.secret("client_assertion"), Resource: resource, Endpoints: a.endpoints(), From: from(r)})
}

func (a authority) reply(t *identity.Token, two bool) tokenReply {
	seconds := int64(t.Lifetime().Seconds())
	out := tokenReply{TokenType: "Bearer", Scope: t.Scope, ExpiresIn: seconds, ExtExpiresIn: seconds, AccessToken: t.Access.Reveal(),
		RefreshToken: t.Refresh.Reveal(), IDToken: t.IDToken.Reveal()}
	if !two {
		out.ExpiresOn, out.NotBefore, out.Resource = epoch(t.Expires), epoch(t.Issued), t.Resource
		if !a.adfs {
			out.ExpiresIn, out.ExtExpiresIn = number(seconds), number(seconds)
		}
	}
	if t.IDToken != "" {
		out.ClientInfo = clientInfo(t)
	}
	return out
}
