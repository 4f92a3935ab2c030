package native

import (
	"net/http"
	"strings"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

var scopeParam = door.Param{Name: "scope", Summary: "A resource id from / (the tenant) down to one object; / when absent."}

func (h *handler) roleRoutes() []door.Route {
	const roles = root + "/roles"
	scope := []door.Param{scopeParam}
	return []door.Route{
		{Method: "GET", Pattern: roles, Operation: "RoleList", Action: authz.RoleDefinitionRead.String(), Query: scope, Output: api.RoleList{},
			Summary: "Lists the roles that can be granted at a scope.", Serve: h.listRoles},
		{Method: "GET", Pattern: roles + "/{role}", Operation: "RoleGet", Action: authz.RoleDefinitionRead.String(), Query: scope, Output: api.Role{},
			Summary: "Shows a role, by its id or its name.", Serve: h.getRole},
		{Method: "POST", Pattern: roles, Operation: "RolePut", Action: authz.RoleDefinitionWrite.String(), MaxBody: maxLargeBody, Input: api.Role{},
			Output: api.Role{}, Summary: "Makes a custom role or, with the id of one, changes it.", Serve: h.putRole},
		{Method: "DELETE", Pattern: roles + "/{role}", Operation: "RoleDelete", Action: authz.RoleDefinitionDelete.String(), Serve: h.deleteRole,
			Query: scope, Summary: "Removes a custom role that nobody holds."},
	}
}

// scope is the scope of a request: the tenant's when it names none.
func scope(r *door.Request) string {
	if s := r.Query("scope"); s != "" {
		return s
	}
	return "/"
}

func (h *handler) listRoles(r *door.Request) error {
	found, err := h.Access.Roles(r.HTTP.Context(), &r.Call, scope(r))
	if err != nil {
		return err
	}
	out := api.RoleList{Items: make([]api.Role, 0, len(found))}
	for _, role := range found {
		out.Items = append(out.Items, *wireRole(role))
	}
	return r.JSON(http.StatusOK, out)
}

// role finds a role by its id or its whole name, among those that can be granted at the scope.
func (h *handler) role(r *door.Request, at, text string) (*principal.Role, error) {
	if authz.RoleID(text) != "" {
		return h.Access.Role(r.HTTP.Context(), &r.Call, at, text)
	}
	if role, ok := builtin(text); ok {
		return role, nil
	}
	found, err := h.Access.Roles(r.HTTP.Context(), &r.Call, at)
	if err != nil {
		return nil, err
	}
	for _, role := range found {
		if strings.EqualFold(role.Name, text) {
			return role, nil
		}
	}
	return nil, fault.New(fault.NotFound, "there is no role %q at %s: list the roles to see those that there are", fault.Clip(text), fault.Clip(at)).Because("RoleNotFound")
}

// builtin finds a built-in role by its name. These are no secret, so whoever may grant one need not be allowed to list them.
func builtin(name string) (*principal.Role, bool) {
	for _, role := range authz.BuiltinRoles() {
		if strings.EqualFold(role.Name, name) {
			return role, true
		}
	}
	return nil, false
}

func (h *handler) getRole(r *door.Request) error {
	role, err := h.role(r, scope(r), r.Params.Get("role"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireRole(role))
}

func (h *handler) putRole(r *door.Request) error {
	var in api.Role
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.ID == "" {
		in.ID = vault.NewGUID()
	}
	if len(in.AssignableScopes) == 0 {
		return fault.New(fault.Invalid, "the role has no assignable scopes: name those at which it can be granted, such as /")
	}
	role := principal.Role{ID: in.ID, Name: in.Name, Description: in.Description, AssignableScopes: in.AssignableScopes}
	for _, p := range in.Permissions {
		role.Permissions = append(role.Permissions, principal.Permission(p))
	}
	done, _, err := h.Access.PutRole(r.HTTP.Context(), &r.Call, in.AssignableScopes[0], role)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireRole(done))
}

func (h *handler) deleteRole(r *door.Request) error {
	role, err := h.role(r, scope(r), r.Params.Get("role"))
	if err != nil {
		return err
	}
	at := scope(r)
	if r.Query("scope") == "" && len(role.AssignableScopes) > 0 {
		at = role.AssignableScopes[0]
	}
	_, err = h.Access.DeleteRole(r.HTTP.Context(), &r.Call, at, role.ID)
	return done(r, err)
}

func wireRole(role *principal.Role) *api.Role {
	out := &api.Role{ID: role.ID, Name: role.Name, Description: role.Description, BuiltIn: role.BuiltIn, AssignableScopes: role.AssignableScopes,
		Permissions: make([]api.Permission, 0, len(role.Permissions))}
	for _, p := range role.Permissions {
		out.Permissions = append(out.Permissions, api.Permission(p))
	}
	return out
}
