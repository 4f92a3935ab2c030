package native

import (
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
)

// The kinds of credentials, as they begin a credential's name.
const (
	kindSecret      = "secret"
	kindCertificate = "certificate"
	kindFederation  = "federation"
	kindTOTP        = "totp"
	kindPasskey     = "passkey"
)

func wireCredentials(p *principal.Principal) (list []api.Credential) {
	for i := range p.Secrets {
		list = append(list, wireSecretCredential(&p.Secrets[i]))
	}
	for i := range p.Certificates {
		list = append(list, wireCertificate(&p.Certificates[i]))
	}
	for i := range p.Federations {
		list = append(list, wireFederation(&p.Federations[i]))
	}
	for i := range p.Passkeys {
		k := &p.Passkeys[i]
		list = append(list, api.Credential{ID: kindPasskey + "/" + k.ID, Kind: kindPasskey, Name: k.Name, Created: k.Created})
	}
	for i := range p.TOTP {
		list = append(list, wireTOTP(&p.TOTP[i]))
	}
	return list
}

func wireSecretCredential(s *principal.Secret) api.Credential {
	return api.Credential{ID: kindSecret + "/" + s.ID, Kind: kindSecret, Name: s.Name, Hint: s.Hint, NotBefore: optional(s.NotBefore), Expires: optional(s.Expires),
		Created: s.Created}
}

func wireCertificate(c *principal.Certificate) api.Credential {
	return api.Credential{ID: kindCertificate + "/" + c.ID, Kind: kindCertificate, Name: c.Name, Thumbprint: strings.ToUpper(hex.EncodeToString(c.SHA1)),
		NotBefore: optional(c.NotBefore), Expires: optional(c.Expires), Created: c.Created}
}

func wireFederation(f *principal.Federation) api.Credential {
	return api.Credential{ID: kindFederation + "/" + f.ID, Kind: kindFederation, Name: f.Name, Issuer: f.Issuer, Subject: f.Subject, Audience: f.Audience,
		Created: f.Created}
}

func wireTOTP(t *principal.TOTP) api.Credential {
	return api.Credential{ID: kindTOTP + "/" + t.ID, Kind: kindTOTP, Name: t.Name, Created: t.Created}
}

func (h *handler) addCredential(r *door.Request) error {
	var in api.AddCredential
	if err := r.Decode(&in); err != nil {
		return err
	}
	out, err := h.newCredential(r, &in)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) newCredential(r *door.Request, in *api.AddCredential) (out api.Credential, err error) {
	ctx, who := r.HTTP.Context(), ref(r, "principal")
	switch in.Kind {
	case kindSecret:
		value, s, err := h.Directory.AddSecret(ctx, &r.Call, who, identity.SecretSpec{Name: in.Name, NotBefore: instant(in.NotBefore), Expires: instant(in.Expires)})
		if err != nil {
			return out, err
		}
		return withSecret(wireSecretCredential(s), value), nil
	case kindCertificate:
		c, err := h.Directory.AddCertificate(ctx, &r.Call, who, in.Name, in.Certificate)
		if err != nil {
			return out, err
		}
		return wireCertificate(c), nil
	case kindFederation:
		f, err := h.Directory.AddFederation(ctx, &r.Call, who, principal.Federation{Name: in.Name, Issuer: in.Issuer, Subject: in.Subject, Audience: in.Audience})
		if err != nil {
			return out, err
		}
		return wireFederation(f), nil
	case kindTOTP:
		value, t, err := h.Directory.AddTOTP(ctx, &r.Call, who, in.Name)
		if err != nil {
			return out, err
		}
		return withSecret(wireTOTP(t), value), nil
	}
	return out, fault.New(fault.Invalid, "the kind %q is not one of secret, certificate, federation and totp", fault.Clip(in.Kind))
}

func withSecret(c api.Credential, value redact.String) api.Credential {
	text := api.Text(value.Reveal())
	c.Secret = &text
	return c
}

func (h *handler) removeCredential(r *door.Request) error {
	return done(r, h.Directory.RemoveCredential(r.HTTP.Context(), &r.Call, ref(r, "principal"), r.Params.Get("kind")+"/"+r.Params.Get("id")))
}

func (h *handler) setPassword(r *door.Request) error {
	var in api.SetPassword
	if err := r.Decode(&in); err != nil {
		return err
	}
	return done(r, h.Directory.SetPassword(r.HTTP.Context(), &r.Call, ref(r, "principal"), redact.String(in.Password)))
}

func (h *handler) issuerRoutes() []door.Route {
	const issuers = root + "/trusted-issuers"
	return []door.Route{
		{Method: "GET", Pattern: issuers, Operation: "TrustedIssuerList", Action: authz.TrustedIssuerRead.String(), Output: api.TrustedIssuerList{},
			Summary: "Lists the outside issuers that the tenant believes.", Serve: h.listIssuers},
		{Method: "POST", Pattern: issuers, Operation: "TrustedIssuerAdd", Action: authz.TrustedIssuerWrite.String(), MaxBody: maxLargeBody, Input: api.TrustedIssuer{},
			Summary: "Believes an outside OpenID Connect issuer.", Serve: h.trust},
		{Method: "DELETE", Pattern: issuers, Operation: "TrustedIssuerRemove", Action: authz.TrustedIssuerDelete.String(), Serve: h.distrust,
			Query:   []door.Param{{Name: "issuer", Summary: "The issuer's URL.", Required: true}},
			Summary: "Stops believing an outside issuer; tokens that were had by its assertions end."},
	}
}

func (h *handler) listIssuers(r *door.Request) error {
	found, err := h.Directory.Issuers(r.HTTP.Context(), &r.Call)
	if err != nil {
		return err
	}
	out := api.TrustedIssuerList{Items: make([]api.TrustedIssuer, 0, len(found))}
	for _, i := range found {
		out.Items = append(out.Items, api.TrustedIssuer{Issuer: i.Issuer, JWKS: string(i.JWKS), CA: string(i.CA), Created: optional(i.Created)})
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) trust(r *door.Request) error {
	var in api.TrustedIssuer
	if err := r.Decode(&in); err != nil {
		return err
	}
	return done(r, h.Directory.Trust(r.HTTP.Context(), &r.Call, store.TrustedIssuer{Issuer: in.Issuer, JWKS: []byte(in.JWKS), CA: []byte(in.CA)}))
}

func (h *handler) distrust(r *door.Request) error {
	return done(r, h.Directory.Distrust(r.HTTP.Context(), &r.Call, r.Query("issuer")))
}
