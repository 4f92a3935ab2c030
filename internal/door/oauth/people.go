package oauth

import (
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/identity"
)

// scopes returns the scopes of OpenID Connect that a person's sign-in is asked for. Version 1 and AD FS have no scopes for
// these: they always give both an id token and a refresh token.
func (h *handler) scopes(r *door.Request, f form) string {
	if strings.Contains(strings.ToLower(r.HTTP.URL.Path), "/v2.0/") || f["scope"] != "" {
		return strings.Join(f.openID(), " ")
	}
	return "openid profile offline_access"
}

// idIssuer is the issuer that the metadata of this authority names.
func (a authority) idIssuer(r *door.Request) string {
	return a.metadata(strings.Contains(strings.ToLower(r.HTTP.URL.Path), "/v2.0/")).Issuer
}

// deviceReply answers a request for a device code (RFC 8628, section 3.2). Clients of version 1 read verification_url and
// the message.
type deviceReply struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	VerificationURL string `json:"verification_url"`
	ExpiresIn       any    `json:"expires_in"`
	Interval        any    `json:"interval"`
	Message         string `json:"message"`
}

func (h *handler) deviceCode(r *door.Request) error {
	a, err := h.authority(r)
	if err != nil {
		return err
	}
	f, err := readForm(r)
	if err != nil {
		return err
	}
	resource, err := f.resource()
	if err != nil {
		return err
	}
	d, err := h.Issuer.StartDevice(r.HTTP.Context(), identity.DeviceRequest{Tenant: a.tenant, ClientID: f["client_id"], Resource: resource,
		Scope: h.scopes(r, f), From: from(r)})
	if err != nil {
		return err
	}
	page := "https://" + a.host + "/devicelogin"
	if a.tenant != h.DefaultTenant {
		page = a.base + "/oauth2/deviceauth"
	}
	return r.JSON(http.StatusOK, deviceReply{DeviceCode: d.DeviceCode.Reveal(), UserCode: d.UserCode.Reveal(), VerificationURI: page, VerificationURL: page,
		ExpiresIn: int64(d.Lifetime.Seconds()), Interval: int64(d.Interval.Seconds()),
		Message: "To sign in, use a web browser to open the page " + page + " and enter the code " + d.UserCode.Reveal() + " to authenticate."})
}

func (h *handler) pollDevice(r *door.Request, a authority, f form) (*identity.Token, error) {
	code := f.secret("device_code")
	if code == "" {
		code = f.secret("code") // version 1
	}
	return h.Issuer.PollDevice(r.HTTP.Context(), identity.PollRequest{Tenant: a.tenant, ClientID: f["client_id"], DeviceCode: code,
		Issuer: a.idIssuer(r), From: from(r)})
}

func (h *handler) refresh(r *door.Request, a authority, f form) (*identity.Token, error) {
	resource, err := f.resource()
	if err != nil {
		return nil, err
	}
	return h.Issuer.Refresh(r.HTTP.Context(), identity.RefreshRequest{Tenant: a.tenant, ClientID: f["client_id"], Refresh: f.secret("refresh_token"),
		Resource: resource, Scope: strings.Join(f.openID(), " "), Issuer: a.idIssuer(r), From: from(r)})
}

func (h *handler) redeem(r *door.Request, a authority, f form) (*identity.Token, error) {
	return h.Issuer.RedeemCode(r.HTTP.Context(), identity.RedeemRequest{Tenant: a.tenant, ClientID: f["client_id"], Code: f.secret("code"),
		Verifier: f.secret("code_verifier"), Redirect: f["redirect_uri"], Issuer: a.idIssuer(r), From: from(r)})
}
