package native

import (
	"encoding/json"
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotation"
)

// authorityRoutes has the change of certificate authorities, and what it needs.
func (h *handler) authorityRoutes() []door.Route {
	const one = root + "/vaults/{vault}/certificates/{name}/authority"
	return []door.Route{
		{Method: "GET", Pattern: one, Operation: "AuthorityGet", Action: authz.CertificateGet.String(), Output: api.CertificateAuthority{},
			Summary: "Shows a certificate that signs others, with those below it, what is trusted, and the last change.", Serve: h.getAuthority},
		{Method: "PUT", Pattern: one + "/trust-bundle", Operation: "TrustBundlePublish", Action: authz.CertificateCreate.String(), MaxBody: maxSmallBody, Input: api.PublishTrust{},
			Output: api.CertificateAuthority{}, Summary: "Keeps what those who trust an authority have to trust in a secret, and says how the authority changes.", Serve: h.publishTrust},
		{Method: "POST", Pattern: one + "/change", Operation: "AuthorityChange", Action: authz.CertificateCreate.String(), MaxBody: maxSmallBody, Input: api.ChangeAuthority{},
			Output: api.Rotation{}, Summary: "Starts the change of an authority.", Serve: h.changeAuthority},
		{Method: "POST", Pattern: one + "/plan", Operation: "AuthorityPlan", Action: authz.RotationRun.String(), Output: api.RotationPlan{},
			Summary: "Rehearses the change of an authority.", Serve: h.planAuthority},
	}
}

func (h *handler) getAuthority(r *door.Request) error {
	st, err := h.Rotation.Authority(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.answerAuthority(r, st, err)
}

func (h *handler) answerAuthority(r *door.Request, st *rotation.AuthorityState, err error) error {
	if err != nil {
		return err
	}
	out := api.CertificateAuthority{Vault: r.Call.Vault.Vault.Name, Name: st.Line[0].Name, Line: make([]api.AuthorityVersions, 0, len(st.Line))}
	for i := range st.Line {
		a := wireAuthority(&st.Line[i])
		if st.Line[i].Vault.ID == r.Call.Vault.Vault.ID {
			a.Vault = ""
		}
		out.Line = append(out.Line, a)
	}
	if p := st.Policy; p != nil {
		info, err := wireRotationPolicy(r, p)
		if err != nil {
			return err
		}
		out.Bundle = &api.TrustBundle{Name: p.Name, Policy: info.Policy, DueAt: info.DueAt, Succeeded: info.Succeeded}
	}
	if st.Run != nil {
		names, err := h.Rotation.Names(r.HTTP.Context(), &r.Call, nil, st.Run)
		if err != nil {
			return err
		}
		out.Change = wireRun(r, st.Run, names)
	}
	return r.JSON(http.StatusOK, out)
}

func wireAuthority(a *cert.Heir) api.AuthorityVersions {
	return api.AuthorityVersions{Vault: a.Vault.Name, Name: a.Name, Subject: a.Subject, Signs: string(a.Issues), Trusted: texts(a.Trusted), Issuers: a.Issuers, Above: a.Above, Bundle: a.Bundle, Run: a.Run}
}

func (h *handler) publishTrust(r *door.Request) error {
	var in api.PublishTrust
	if err := r.Decode(&in); err != nil {
		return err
	}
	bundle := in.Bundle
	in.Bundle = ""
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	// The members are those of a rotation policy, and are read as such.
	policy, mistakes := rotation.ParsePolicy(raw)
	if len(mistakes) > 0 {
		return rotation.Invalid(mistakes)
	}
	ctx, name := r.HTTP.Context(), r.Params.Get("name")
	if _, err := h.Rotation.PublishTrust(ctx, &r.Call, name, bundle, policy); err != nil {
		return err
	}
	return h.getAuthority(r)
}

func (h *handler) changeAuthority(r *door.Request) error {
	var in api.ChangeAuthority
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.Cause == "" {
		return fault.New(fault.Invalid, "the request names no cause: give %s, %s or %s", api.OnDemand, api.Leak, api.Emergency)
	}
	run, err := h.Rotation.ChangeAuthority(r.HTTP.Context(), &r.Call, r.Params.Get("name"),
		rotation.Start{Cause: rotation.Cause(in.Cause), Note: in.Note, Exposed: instant(in.Exposed)})
	return h.answerRun(r, run, err)
}

func (h *handler) planAuthority(r *door.Request) error {
	p, err := h.Rotation.PlanAuthority(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.answerPlan(r, p, err)
}

// wireSuccession is how far the change of an authority has come.
func wireSuccession(run *rotation.Run) *api.AuthorityProgress {
	s := run.Succession
	if s == nil {
		return nil
	}
	out := &api.AuthorityProgress{Held: s.Held, Dropped: s.Cut, Returning: run.Undo != ""}
	if run.Open() && s.At < len(s.Line) {
		out.Changing = s.Line[s.At].Name
	}
	for _, a := range s.Line {
		out.Authorities = append(out.Authorities, wireHeir(a))
	}
	for _, b := range s.Bundles {
		out.Bundles = append(out.Bundles, api.PublishedBundle{Vault: b.In, Name: b.Name, Version: string(b.Version), At: b.At})
	}
	for _, c := range s.Children {
		out.Certificates = append(out.Certificates, api.ReissuedCertificate{Vault: c.In, Name: c.Name, Old: texts(c.Old), New: string(c.New), Problem: c.Problem})
	}
	return out
}

func wireHeir(a rotation.Heir) api.AuthorityHeir {
	return api.AuthorityHeir{Vault: a.In, Name: a.Name, Subject: a.Subject, Old: string(a.Old), New: string(a.New), Signs: a.Issues}
}
