package native

import (
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/directory"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

func (h *handler) accessRoutes() []door.Route {
	const grants = root + "/grants"
	who := door.Param{Name: "principal", Summary: "An object id, a client id, a sign-in name or a whole display name."}
	action := door.Param{Name: "action", Summary: "What is asked about, such as Microsoft.KeyVault/vaults/secrets/getSecret/action.", Required: true}
	must := func(p door.Param) door.Param { p.Required = true; return p }
	return []door.Route{
		{Method: "GET", Pattern: grants, Operation: "GrantList", Action: authz.RoleAssignmentRead.String(), Query: []door.Param{scopeParam, who},
			Output: api.GrantList{}, Summary: "Lists the grants that count at a scope, and those below it.", Serve: h.listGrants},
		{Method: "POST", Pattern: grants, Operation: "GrantCreate", Action: authz.RoleAssignmentWrite.String(), MaxBody: maxSmallBody, Input: api.CreateGrant{},
			Output: api.Grant{}, Summary: "Grants a role to a principal at a scope, for a time if it says so.", Serve: h.createGrant},
		{Method: "DELETE", Pattern: grants + "/{grant}", Operation: "GrantDelete", Action: authz.RoleAssignmentDelete.String(), Success: http.StatusNoContent, Serve: h.deleteGrant,
			Query: []door.Param{must(scopeParam)}, Summary: "Withdraws a grant."},
		{Method: "GET", Pattern: root + "/access/explain", Operation: "AccessExplain", Action: authz.AccessExplain.String(),
			Query: []door.Param{must(who), action, must(scopeParam)}, Output: api.Explanation{}, Summary: "Says whether and why a principal may do something.",
			Serve: h.explain},
		{Method: "GET", Pattern: root + "/access/who-can", Operation: "AccessWhoCan", Action: authz.AccessExplain.String(),
			Query: []door.Param{action, must(scopeParam)}, Output: api.HolderList{}, Summary: "Lists everybody who may do something.", Serve: h.whoCan},
	}
}

// principalID finds the object id of a principal. An object id is taken as it is; to look for anything else takes the right to
// see principals.
func (h *handler) principalID(r *door.Request, text string) (principal.ID, error) {
	if id, err := vault.ParseGUID(text); err == nil {
		p, err := h.Directory.Show(r.HTTP.Context(), &r.Call, directory.Ref(id))
		switch {
		case err == nil:
			return p.ID, nil // it may have been a client id
		case fault.Is(err, fault.NotFound), fault.Is(err, fault.Forbidden):
			return principal.ID(id), nil
		}
		return "", err
	}
	p, err := h.Directory.Show(r.HTTP.Context(), &r.Call, directory.Ref(text))
	if err != nil {
		return "", err
	}
	return p.ID, nil
}

func (h *handler) listGrants(r *door.Request) error {
	var f access.Filter
	if text := r.Query("principal"); text != "" {
		id, err := h.principalID(r, text)
		if err != nil {
			return err
		}
		f.AssignedTo = id
	}
	found, err := h.Access.Assignments(r.HTTP.Context(), &r.Call, scope(r), f)
	if err != nil {
		return err
	}
	names := h.names(r)
	out := api.GrantList{Items: make([]api.Grant, 0, len(found))}
	for _, g := range found {
		out.Items = append(out.Items, *names.grant(g))
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) createGrant(r *door.Request) error {
	var in api.CreateGrant
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.Scope == "" || in.Role == "" || in.Principal == "" {
		return fault.New(fault.Invalid, "a grant needs a role, a principal and a scope")
	}
	role, err := h.role(r, in.Scope, in.Role)
	if err != nil {
		return err
	}
	who, err := h.principalID(r, in.Principal)
	if err != nil {
		return err
	}
	made, err := h.Access.Assign(r.HTTP.Context(), &r.Call, access.Assignment{Scope: in.Scope, Role: role.ID, Principal: who, Description: in.Description,
		NotBefore: instant(in.NotBefore), Expires: instant(in.Expires)})
	if err != nil {
		return err
	}
	out := h.names(r).grant(made.Grant)
	for _, f := range made.Flagged {
		out.Warnings = append(out.Warnings, f.String())
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) deleteGrant(r *door.Request) error {
	g, err := h.Access.Unassign(r.HTTP.Context(), &r.Call, scope(r), r.Params.Get("grant"))
	if err == nil && g == nil {
		err = fault.New(fault.NotFound, "there is no grant %q at %s: list the grants to see those that there are", fault.Clip(r.Params.Get("grant")), fault.Clip(scope(r))).
			Because(access.RoleAssignmentNotFound)
	}
	return done(r, err)
}

func question(r *door.Request) (access.Question, error) {
	a, err := authz.ParseAction(r.Query("action"))
	return access.Question{Action: a, Scope: scope(r)}, err
}

func (h *handler) explain(r *door.Request) error {
	q, err := question(r)
	if err != nil {
		return err
	}
	who, err := h.principalID(r, r.Query("principal"))
	if err != nil {
		return err
	}
	a, err := h.Access.Explain(r.HTTP.Context(), &r.Call, who, q)
	if err != nil {
		return err
	}
	out := api.Explanation{Allowed: a.Allowed, Reason: a.Decision.Reason(), Code: string(a.Decision.Code), Principal: refOfPrincipal(a.Principal),
		Action: q.Action.String(), Scope: q.Scope, Steps: make([]string, 0, len(a.Steps))}
	if a.Decision.Allowed && !a.Allowed {
		out.Reason, out.Code = "the principal is disabled, so it may nothing", "disabled"
	}
	for _, s := range a.Steps {
		out.Steps = append(out.Steps, s.String())
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) whoCan(r *door.Request) error {
	q, err := question(r)
	if err != nil {
		return err
	}
	found, err := h.Access.WhoCan(r.HTTP.Context(), &r.Call, q)
	if err != nil {
		return err
	}
	out := api.HolderList{Items: make([]api.Holder, 0, len(found))}
	for i := range found {
		out.Items = append(out.Items, wireHolder(&found[i]))
	}
	return r.JSON(http.StatusOK, out)
}

func wireHolder(a *access.Holder) api.Holder {
	out := api.Holder{Principal: api.PrincipalRef{ID: string(a.Principal), Kind: string(a.Kind)}, Via: string(a.Via), Role: a.Role, Policy: a.Policy != nil,
		Until: optional(a.Until)}
	if a.Who != nil {
		out.Principal = refOfPrincipal(a.Who)
	}
	if a.Grant != nil {
		out.Grant, out.Scope = a.Grant.ID, a.Grant.Scope
	}
	return out
}
