package native

import (
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/directory"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
)

func (h *handler) principalRoutes() []door.Route {
	const people, one, groups = root + "/principals", root + "/principals/{principal}", root + "/groups"
	list := append([]door.Param{{Name: "kind", Summary: "User, ServicePrincipal, ManagedIdentity or Group; all but groups when absent."},
		{Name: "prefix", Summary: "The beginning of the display name."}}, pageParams...)
	return []door.Route{
		{Method: "GET", Pattern: people, Operation: "PrincipalList", Action: authz.PrincipalRead.String(), Query: list, Output: api.PrincipalList{},
			Summary: "Lists principals.", Serve: h.listPrincipals},
		{Method: "POST", Pattern: people, Operation: "PrincipalCreate", Action: authz.PrincipalWrite.String(), MaxBody: maxSmallBody, Input: api.CreatePrincipal{},
			Output: api.Principal{}, Summary: "Makes a principal.", Serve: h.createPrincipal},
		{Method: "GET", Pattern: one, Operation: "PrincipalGet", Action: authz.PrincipalRead.String(), Output: api.Principal{},
			Summary: "Shows a principal with its groups, members and credentials.", Serve: h.getPrincipal},
		{Method: "PATCH", Pattern: one, Operation: "PrincipalUpdate", Action: authz.PrincipalWrite.String(), MaxBody: maxSmallBody, Input: api.UpdatePrincipal{},
			Output: api.Principal{}, Summary: "Renames, disables or enables a principal.", Serve: h.updatePrincipal},
		{Method: "DELETE", Pattern: one, Operation: "PrincipalDelete", Action: authz.PrincipalDelete.String(), Success: http.StatusNoContent, Serve: h.deletePrincipal,
			Summary: "Removes a principal with its credentials, memberships and grants."},
		{Method: "POST", Pattern: one + "/revoke-tokens", Operation: "PrincipalRevokeTokens", Action: authz.PrincipalCredentials.String(), Success: http.StatusNoContent, Serve: h.revokeTokens,
			Summary: "Refuses every token that the principal was issued before now."},
		{Method: "POST", Pattern: one + "/credentials", Operation: "CredentialAdd", Action: authz.PrincipalCredentials.String(), MaxBody: maxSmallBody,
			Input: api.AddCredential{}, Output: api.Credential{}, Summary: "Adds a credential; a generated secret is in this answer and in no other.", Serve: h.addCredential},
		{Method: "DELETE", Pattern: one + "/credentials/{kind}/{id}", Operation: "CredentialRemove", Action: authz.PrincipalCredentials.String(), Success: http.StatusNoContent, Serve: h.removeCredential,
			Summary: "Removes a credential; tokens that were had by it end with it."},
		{Method: "PUT", Pattern: one + "/password", Operation: "PasswordSet", Action: authz.PrincipalCredentials.String(), MaxBody: maxSmallBody,
			Input: api.SetPassword{}, Summary: "Sets a user's password, which signs in only together with a code.", Serve: h.setPassword},
		{Method: "POST", Pattern: groups + "/{group}/members", Operation: "MemberAdd", Action: authz.GroupWrite.String(), Success: http.StatusNoContent, MaxBody: maxSmallBody, Input: api.Member{},
			Summary: "Adds a principal to a group.", Serve: h.addMember},
		{Method: "DELETE", Pattern: groups + "/{group}/members/{principal}", Operation: "MemberRemove", Action: authz.GroupWrite.String(), Success: http.StatusNoContent, Serve: h.removeMember,
			Summary: "Takes a principal out of a group."},
	}
}

func (h *handler) listPrincipals(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	kind, err := kindOf(r.Query("kind"))
	if err != nil {
		return err
	}
	found, err := h.Directory.List(r.HTTP.Context(), &r.Call, directory.Query{Kind: kind, NamePrefix: r.Query("prefix"), After: principal.ID(after), Limit: limit})
	if err != nil {
		return err
	}
	out := api.PrincipalList{Items: make([]api.Principal, 0, len(found.Principals))}
	for _, p := range found.Principals {
		out.Items = append(out.Items, *wirePrincipal(p))
	}
	if found.Next != "" {
		out.Next = next(string(found.Next))
	}
	return r.JSON(http.StatusOK, out)
}

func kindOf(text string) (principal.Kind, error) {
	switch k := principal.Kind(text); k {
	case "", principal.User, principal.Service, principal.ManagedIdentity, principal.GroupKind:
		return k, nil
	}
	return "", fault.New(fault.Invalid, "the kind %q is not one of User, ServicePrincipal, ManagedIdentity and Group", fault.Clip(text))
}

func (h *handler) createPrincipal(r *door.Request) error {
	var in api.CreatePrincipal
	if err := r.Decode(&in); err != nil {
		return err
	}
	kind, err := kindOf(in.Kind)
	if err == nil && kind == "" {
		err = fault.New(fault.Invalid, "the request names no kind: give User, ServicePrincipal, ManagedIdentity or Group")
	}
	if err != nil {
		return err
	}
	p, err := h.Directory.Create(r.HTTP.Context(), &r.Call, identity.Spec{Kind: kind, Name: in.Name, UPN: in.UPN, Resource: in.Resource, AppID: in.AppID})
	return answerPrincipal(r, p, err)
}

// ref reads a principal of the path.
func ref(r *door.Request, param string) directory.Ref { return directory.Ref(r.Params.Get(param)) }

func (h *handler) getPrincipal(r *door.Request) error {
	e, err := h.Directory.Show(r.HTTP.Context(), &r.Call, ref(r, "principal"))
	if err != nil {
		return err
	}
	out := wirePrincipal(e.Principal)
	for _, g := range e.Groups {
		out.Groups = append(out.Groups, refOfPrincipal(g))
	}
	for _, m := range e.Members {
		out.Members = append(out.Members, refOfPrincipal(m))
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) updatePrincipal(r *door.Request) error {
	var in api.UpdatePrincipal
	if err := r.Decode(&in); err != nil {
		return err
	}
	p, err := h.Directory.Update(r.HTTP.Context(), &r.Call, ref(r, "principal"), directory.Change{Name: in.Name, Disabled: in.Disabled})
	return answerPrincipal(r, p, err)
}

func (h *handler) deletePrincipal(r *door.Request) error {
	return done(r, h.Directory.Delete(r.HTTP.Context(), &r.Call, ref(r, "principal")))
}

func (h *handler) revokeTokens(r *door.Request) error {
	return done(r, h.Directory.RevokeTokens(r.HTTP.Context(), &r.Call, ref(r, "principal")))
}

func (h *handler) addMember(r *door.Request) error {
	var in api.Member
	if err := r.Decode(&in); err != nil {
		return err
	}
	return done(r, h.Directory.Member(r.HTTP.Context(), &r.Call, ref(r, "group"), directory.Ref(in.Principal), true))
}

func (h *handler) removeMember(r *door.Request) error {
	return done(r, h.Directory.Member(r.HTTP.Context(), &r.Call, ref(r, "group"), ref(r, "principal"), false))
}

// done answers a change that has nothing to show.
func done(r *door.Request, err error) error {
	if err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}

func answerPrincipal(r *door.Request, p *principal.Principal, err error) error {
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wirePrincipal(p))
}

func refOfPrincipal(p *principal.Principal) api.PrincipalRef {
	return api.PrincipalRef{ID: string(p.ID), Kind: string(p.Kind), Name: p.Name}
}

func wirePrincipal(p *principal.Principal) *api.Principal {
	return &api.Principal{ID: string(p.ID), Kind: string(p.Kind), Name: p.Name, AppID: p.AppID, UPN: p.UPN, Resource: p.Resource, Disabled: p.Disabled,
		Credentials: wireCredentials(p), Created: p.Created, Updated: p.Updated}
}
