package native

import (
	"net/http"
	"net/netip"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/enrolment"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/object"
)

// accessRuleRoutes has the operations on who may enrol with an issuer, and on what they ordered.
func (h *handler) accessRuleRoutes() []door.Route {
	const issuer = root + "/vaults/{vault}/certificate-issuers/{name}"
	const all = issuer + "/access-rules"
	return []door.Route{
		{Method: "GET", Pattern: all, Operation: "AccessRuleList", Action: authz.IssuerGet.String(), Query: pageParams, Output: api.AccessRuleList{},
			Summary: "Lists the access rules of an issuer: who may enrol there by ACME.", Serve: h.listAccessRules},
		{Method: "GET", Pattern: all + "/{rule}", Operation: "AccessRuleGet", Action: authz.IssuerGet.String(), Output: api.AccessRule{},
			Summary: "Shows an access rule without its MAC key.", Serve: h.getAccessRule},
		{Method: "PUT", Pattern: all + "/{rule}", Operation: "AccessRuleSet", Action: authz.IssuerWrite.String(), MaxBody: maxSmallBody, Input: api.SetAccessRule{}, Output: api.AccessRule{},
			Summary: "Makes an access rule, whose MAC key is in this answer alone, or says anew what one permits.", Serve: h.setAccessRule},
		{Method: "DELETE", Pattern: all + "/{rule}", Operation: "AccessRuleDelete", Action: authz.IssuerWrite.String(), Output: api.AccessRule{},
			Summary: "Withdraws an access rule for good. Its accounts get nothing more.", Serve: h.deleteAccessRule},
		{Method: "GET", Pattern: issuer + "/orders", Operation: "EnrolmentList", Action: authz.IssuerGet.String(), Query: pageParams, Output: api.EnrolmentList{},
			Summary: "Lists what the issuer's ACME clients ordered, oldest first.", Serve: h.listEnrolments},
		{Method: "POST", Pattern: issuer + "/revoke", Operation: "EnrolmentRevoke", Action: authz.CertificateDelete.String(), MaxBody: maxSmallBody, Success: http.StatusNoContent,
			Input: api.RevokeEnrolment{}, Summary: "Takes a certificate of an ACME client back.", Serve: h.revokeEnrolment},
	}
}

// directoryOf is where clients find an issuer: at the address by which the API was called.
func directoryOf(r *door.Request) string {
	return "https://" + r.HTTP.Host + "/acme/" + r.Params.Get("vault") + "/" + r.Params.Get("name") + "/directory"
}

func wireAccessRule(r *door.Request, rule *enrolment.Rule) api.AccessRule {
	out := api.AccessRule{Name: rule.Name, Directory: directoryOf(r), Names: rule.Names, Domains: rule.Domains, Wildcards: rule.Wildcards, Profiles: rule.Profiles, MaxDays: rule.MaxDays,
		Preauthorized: rule.Preauthorized, Expires: optional(rule.Expires), Created: rule.Created, Updated: rule.Updated}
	for _, n := range rule.Networks {
		out.Networks = append(out.Networks, n.String())
	}
	return out
}

func (h *handler) listAccessRules(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	found, err := h.Enrolment.List(r.HTTP.Context(), &r.Call, r.Params.Get("name"), object.Page{After: after, Limit: limit})
	if err != nil {
		return err
	}
	out := api.AccessRuleList{Items: make([]api.AccessRule, 0, len(found.Rules))}
	for _, rule := range found.Rules {
		out.Items = append(out.Items, wireAccessRule(r, rule))
	}
	if found.Next != "" {
		out.Next = next(found.Next)
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) accessRuleAnswer(r *door.Request, rule *enrolment.Rule, err error) error {
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireAccessRule(r, rule))
}

func (h *handler) getAccessRule(r *door.Request) error {
	rule, err := h.Enrolment.Get(r.HTTP.Context(), &r.Call, r.Params.Get("name"), r.Params.Get("rule"))
	return h.accessRuleAnswer(r, rule, err)
}

func (h *handler) setAccessRule(r *door.Request) error {
	var in api.SetAccessRule
	if err := r.Decode(&in); err != nil {
		return err
	}
	terms := enrolment.Terms{Names: in.Names, Domains: in.Domains, Wildcards: in.Wildcards, Profiles: in.Profiles, MaxDays: in.MaxDays, Preauthorized: in.Preauthorized}
	if in.Expires != nil {
		terms.Expires = *in.Expires
	}
	for _, text := range in.Networks {
		n, err := netip.ParsePrefix(text)
		if err != nil {
			return fault.New(fault.Invalid, "%q is no network such as 10.0.0.0/8", fault.Clip(text))
		}
		terms.Networks = append(terms.Networks, n)
	}
	made, err := h.Enrolment.Set(r.HTTP.Context(), &r.Call, r.Params.Get("name"), r.Params.Get("rule"), terms, in.NewKey)
	if err != nil {
		return err
	}
	out := wireAccessRule(r, made.Rule)
	if made.MAC != "" {
		mac := api.Text(made.MAC.Reveal())
		out.KeyID, out.MACKey = made.Rule.Name, &mac
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) deleteAccessRule(r *door.Request) error {
	rule, err := h.Enrolment.Delete(r.HTTP.Context(), &r.Call, r.Params.Get("name"), r.Params.Get("rule"))
	return h.accessRuleAnswer(r, rule, err)
}

func (h *handler) listEnrolments(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	found, err := h.Enrolment.Orders(r.HTTP.Context(), &r.Call, r.Params.Get("name"), object.Page{After: after, Limit: limit})
	if err != nil {
		return err
	}
	out := api.EnrolmentList{Items: make([]api.Enrolment, 0, len(found.Orders))}
	for _, o := range found.Orders {
		out.Items = append(out.Items, wireEnrolment(&o))
	}
	if found.Next != "" {
		out.Next = next(found.Next)
	}
	return r.JSON(http.StatusOK, out)
}

func wireEnrolment(o *enrolment.Listed) api.Enrolment {
	out := api.Enrolment{ID: o.ID, Account: o.AccountID, Contact: o.Contact, Rule: o.Rule, Status: o.Status, Profile: o.Profile, Created: o.Created, Serial: o.Serial,
		Expires: optional(o.NotAfter), Revoked: optional(o.Revoked)}
	for _, i := range o.Identifiers {
		out.Names = append(out.Names, i.Value)
	}
	if !o.Revoked.IsZero() {
		for word, reason := range revocationReasons {
			if reason == o.Reason && word != "" {
				out.Reason = word
			}
		}
	}
	return out
}

func (h *handler) revokeEnrolment(r *door.Request) error {
	var in api.RevokeEnrolment
	if err := r.Decode(&in); err != nil {
		return err
	}
	reason, err := revocationReason(in.Reason)
	if err != nil {
		return err
	}
	if err := h.Enrolment.Revoke(r.HTTP.Context(), &r.Call, r.Params.Get("name"), in.Serial, reason); err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}
