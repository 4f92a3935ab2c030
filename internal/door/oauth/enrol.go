package oauth

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
)

// Self changes people's own accounts. The directory implements it.
type Self interface {
	RegisterPasskey(context.Context, guard.Call, identity.PasskeyAnswer) (*identity.Person, *principal.Passkey, error)
	Enrol(context.Context, guard.Call, identity.EnrolRequest) (*identity.Enrolled, error)
}

// The enrolment page has three steps: prove (a sign-in), register (the browser makes a passkey) and done; elsewhere leads from an
// address, for which no browser makes passkeys, to a name. Only the ceremony, which is good once and for minutes, leads from
// the first step to the second.
func (h *handler) enrolment(r *door.Request) (a authority, p page, err error) {
	if a, err = h.authority(r); err != nil {
		return a, p, err
	}
	base := strings.TrimPrefix(a.base, "https://"+a.host)
	p = page{Title: "Register a passkey", Step: "prove", Action: base + "/oauth2/enrol", Assets: base + "/oauth2"}
	if identity.CheckPasskeyOrigin("https://"+a.host) != nil {
		p.Step = "elsewhere"
		if h.Host != "" {
			p.Elsewhere = "https://" + h.Host + p.Action
		}
	}
	return a, p, nil
}

func (h *handler) enrolPage(r *door.Request) error {
	_, p, err := h.enrolment(r)
	if err != nil {
		return err
	}
	return h.show(r, http.StatusOK, p)
}

func (h *handler) enrol(r *door.Request) error {
	a, p, err := h.enrolment(r)
	if err != nil {
		return err
	}
	if err := sameOrigin(r); err != nil {
		return err
	}
	f, err := parseForm(r.HTTP.Header.Get("Content-Type"), r.Body())
	if err != nil {
		return err
	}
	switch {
	case p.Step == "elsewhere": // before anybody's password is tried
		return h.show(r, http.StatusBadRequest, p)
	case f["step"] == "register":
		return h.register(r, a, p, f)
	}
	who, err := h.enroller(r, a, f)
	if err != nil {
		return h.problem(r, p, err)
	}
	c, err := h.Issuer.BeginPasskeyRegistration(r.HTTP.Context(), who, "https://"+a.host)
	if err != nil {
		return h.problem(r, p, err)
	}
	options, err := json.Marshal(c.Options)
	if err != nil {
		return err
	}
	p.Step, p.Ceremony, p.Options, p.Person = "register", c.ID.Reveal(), string(options), who.Name()
	return h.show(r, http.StatusOK, p)
}

func (h *handler) register(r *door.Request, a authority, p page, f form) error {
	who, k, err := h.Self.RegisterPasskey(r.HTTP.Context(), r.Call, identity.PasskeyAnswer{Tenant: a.tenant, Origin: "https://" + a.host, Name: f["name"],
		Ceremony: f.secret("passkey_id"), Response: []byte(f["passkey"]), From: from(r)})
	if err != nil {
		return h.problem(r, p, err)
	}
	p.Step = "done"
	p.Message = "The passkey “" + k.Name + "” of " + who.Name() + " is registered. From now on it signs you in without password and code."
	return h.show(r, http.StatusOK, p)
}

// enroller is who registers: somebody who signed in or, before there is anything to sign in by, who has an enrolment.
func (h *handler) enroller(r *door.Request, a authority, f form) (*identity.Person, error) {
	if f["enrolment"] != "" {
		return h.Issuer.ProveByEnrolment(r.HTTP.Context(), a.tenant, f.secret("enrolment"), from(r))
	}
	return h.person(r, a, f)
}

// exchanged answers the exchange of an enrolment.
type exchanged struct {
	// Tenant, ClientID and Username are by what the principal signs in from now on.
	Tenant   string `json:"tenant_id"`
	ClientID string `json:"client_id,omitempty"`
	Username string `json:"username,omitempty"`
	// Credential names the credential. ClientSecret is a secret's value, TOTP a generator's otpauth URL.
	Credential   string `json:"credential"`
	ClientSecret string `json:"client_secret,omitempty"`
	TOTP         string `json:"totp,omitempty"`
	Expires      string `json:"expires_on,omitempty"`
}

// exchange takes a form: enrolment, kind (secret, certificate or totp), name, certificate in PEM, password.
func (h *handler) exchange(r *door.Request) error {
	a, err := h.authority(r)
	if err != nil {
		return err
	}
	f, err := parseForm(r.HTTP.Header.Get("Content-Type"), r.Body())
	if err != nil {
		return err
	}
	e, err := h.Self.Enrol(r.HTTP.Context(), r.Call, identity.EnrolRequest{Tenant: a.tenant, Code: f.secret("enrolment"), Kind: f["kind"], Name: f["name"],
		Certificate: []byte(f["certificate"]), Password: f.secret("password"), From: from(r)})
	if err != nil {
		return err
	}
	out := exchanged{Tenant: string(a.tenant), ClientID: e.AppID, Username: e.UPN, Credential: e.ID}
	if strings.HasPrefix(e.ID, "totp/") {
		out.TOTP = e.Secret.Reveal()
	} else {
		out.ClientSecret = e.Secret.Reveal()
	}
	if !e.Expires.IsZero() {
		out.Expires = epoch(e.Expires)
	}
	return r.JSON(http.StatusOK, out)
}
