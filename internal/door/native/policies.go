package native

import (
	"net/http"
	"slices"
	"strings"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

func (h *handler) policyRoutes() []door.Route {
	const policies, one = root + "/vaults/{vault}/policies", root + "/vaults/{vault}/policies/{principal}"
	return []door.Route{
		{Method: "GET", Pattern: policies, Operation: "VaultPolicyList", Action: authz.VaultRead.String(), Output: api.AccessPolicyList{},
			Summary: "Lists the access policies of a vault.", Serve: h.listPolicies},
		{Method: "PUT", Pattern: one, Operation: "VaultPolicySet", Action: authz.VaultAccessPoliciesWrite.String(), MaxBody: maxSmallBody,
			Input: api.SetAccessPolicy{}, Output: api.AccessPolicy{}, Summary: "Sets what a principal may do in a vault that uses access policies.",
			Serve: h.setPolicy},
		{Method: "DELETE", Pattern: one, Operation: "VaultPolicyRemove", Action: authz.VaultAccessPoliciesWrite.String(), Serve: h.removePolicy,
			Query:   []door.Param{{Name: "application", Summary: "The client id of a policy that names one."}},
			Summary: "Removes the access policy of a principal."},
	}
}

func (h *handler) listPolicies(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	v, err := h.Tenancy.Vault(r.HTTP.Context(), &r.Call, ref)
	if err != nil {
		return err
	}
	names := h.names(r)
	out := api.AccessPolicyList{Items: make([]api.AccessPolicy, 0, len(v.Policies))}
	for i := range v.Policies {
		out.Items = append(out.Items, wirePolicy(names, v, &v.Policies[i]))
	}
	return r.JSON(http.StatusOK, out)
}

func wirePolicy(names *names, v *vault.Vault, p *vault.AccessPolicy) api.AccessPolicy {
	return api.AccessPolicy{Principal: names.principal(&principal.Grant{Principal: principal.ID(p.Principal)}), Application: p.Application,
		Secrets: p.Secrets, Keys: p.Keys, Certificates: p.Certificates, NotBefore: optional(p.NotBefore), Expires: optional(p.Expires),
		Counts: v.Access == vault.AccessByPolicy}
}

// policyOf finds the policy of a holder; nil when it has none.
func policyOf(v *vault.Vault, id principal.ID, application string) *vault.AccessPolicy {
	i := slices.IndexFunc(v.Policies, func(p vault.AccessPolicy) bool {
		return p.Principal == string(id) && strings.EqualFold(p.Application, application)
	})
	if i < 0 {
		return nil
	}
	return &v.Policies[i]
}

func (h *handler) setPolicy(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	var in api.SetAccessPolicy
	if err := r.Decode(&in); err != nil {
		return err
	}
	// Who may set no policies is refused whatever the policy is.
	at, err := ref.Scope()
	if err != nil {
		return err
	}
	if err := h.Guard.Authorize(r.HTTP.Context(), &r.Call, &guard.Need{Action: authz.VaultAccessPoliciesWrite, Scope: at.String()}); err != nil {
		return err
	}
	if len(in.Secrets)+len(in.Keys)+len(in.Certificates) == 0 {
		return fault.New(fault.Invalid, "the access policy names no permission: give some, or remove the policy").Because("InvalidAccessPolicy")
	}
	who, err := h.principalID(r, r.Params.Get("principal"))
	if err != nil {
		return err
	}
	v, err := h.Tenancy.ChangePolicies(r.HTTP.Context(), &r.Call, ref, tenancy.SetPolicies, []vault.AccessPolicy{{Tenant: r.Call.Caller.Tenant,
		Principal: string(who), Application: in.Application, Secrets: in.Secrets, Keys: in.Keys, Certificates: in.Certificates,
		NotBefore: instant(in.NotBefore), Expires: instant(in.Expires)}})
	if err != nil {
		return err
	}
	p := policyOf(v, who, in.Application)
	if p == nil {
		return fault.New(fault.Internal, "the access policy was set and is not there")
	}
	return r.JSON(http.StatusOK, wirePolicy(h.names(r), v, p))
}

func (h *handler) removePolicy(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	who, err := h.principalID(r, r.Params.Get("principal"))
	if err != nil {
		return err
	}
	// The policies are read under the guard: who may not see the vault learns none of them.
	v, err := h.Tenancy.Vault(r.HTTP.Context(), &r.Call, ref)
	if err != nil {
		return err
	}
	old := policyOf(v, who, r.Query("application"))
	if old == nil {
		return fault.New(fault.NotFound, "the vault %q has no access policy of %q: list the policies to see those that it has", v.Name,
			fault.Clip(r.Params.Get("principal"))).Because("PolicyNotFound")
	}
	_, err = h.Tenancy.ChangePolicies(r.HTTP.Context(), &r.Call, ref, tenancy.SetPolicies,
		[]vault.AccessPolicy{{Tenant: r.Call.Caller.Tenant, Principal: old.Principal, Application: old.Application}})
	return done(r, err)
}
