package azure

import (
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/odata"
	"github.com/keywright/keywright/internal/door/rolejson"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// The administration API manages the roles of one vault at the vault's own address, in the shapes of Managed HSM local RBAC. Its scopes are short: "/" is the
// vault, "/keys" all keys of it, "/keys/NAME" one. What it reads and writes is what Resource Manager shows under the vault's resource id.

const (
	// oneKey is the scope of one key, allKeys that of all of them.
	oneKey  = "/keys/{name}"
	allKeys = "/keys"

	authorization  = "/providers/Microsoft.Authorization"
	assignmentType = "Microsoft.Authorization/roleAssignments"
	// definitionsPath is what ids of role definitions begin with; it has no slash in front.
	definitionsPath = "Microsoft.KeyVault/providers/" + rolejson.Type + "/"
)

// maxRoleBody bounds the body of a role or of an assignment, in bytes.
const maxRoleBody = 256 << 10

func (h *handler) roleRoutes() (routes []door.Route) {
	filter := []door.Param{apiVersionParam, {Name: "$filter", Summary: "Which entries to show: atScope(), principalId eq 'ID'."}}
	// Clients write the scope as it is in front of the slash of the rest, so that the vault's own is two slashes.
	for _, at := range []string{"", "/", allKeys, oneKey} {
		assignments, definitions := at+authorization+"/roleAssignments", at+authorization+"/roleDefinitions"
		routes = append(routes, []door.Route{
			{Method: "GET", Pattern: assignments, Operation: "RoleAssignmentList", Action: authz.RoleAssignmentRead.String(), Query: filter,
				Summary: "Lists the role assignments of the vault.", Serve: h.listAssignments},
			{Method: "GET", Pattern: assignments + "/{id}", Operation: "RoleAssignmentGet", Action: authz.RoleAssignmentRead.String(),
				Summary: "Shows a role assignment.", Serve: h.getAssignment},
			{Method: "GET", Pattern: definitions, Operation: "RoleDefinitionList", Action: authz.RoleDefinitionRead.String(), Query: filter,
				Summary: "Lists the roles that can be granted in the vault.", Serve: h.listRoles},
			{Method: "GET", Pattern: definitions + "/{id}", Operation: "RoleDefinitionGet", Action: authz.RoleDefinitionRead.String(),
				Summary: "Shows a role.", Serve: h.getRole},
		}...)
		routes = append(routes, []door.Route{
			{Method: "PUT", Pattern: assignments + "/{id}", Operation: "RoleAssignmentPut", Action: authz.RoleAssignmentWrite.String(), MaxBody: maxRoleBody, Input: assignmentInput{},
				Success: http.StatusCreated, Summary: "Grants a role in the vault, on all of its keys, or on one.", Serve: h.putAssignment},
			{Method: "DELETE", Pattern: assignments + "/{id}", Operation: "RoleAssignmentDelete", Action: authz.RoleAssignmentDelete.String(),
				Summary: "Withdraws a role.", Serve: h.deleteAssignment},
			{Method: "PUT", Pattern: definitions + "/{id}", Operation: "RoleDefinitionPut", Action: authz.RoleDefinitionWrite.String(), MaxBody: maxRoleBody, Input: rolejson.Input{},
				Success: http.StatusCreated, Summary: "Makes a custom role, or changes it.", Serve: h.putRole},
			{Method: "DELETE", Pattern: definitions + "/{id}", Operation: "RoleDefinitionDelete", Action: authz.RoleDefinitionDelete.String(),
				Summary: "Removes a custom role that nobody holds.", Serve: h.deleteRole},
		}...)
	}
	return routes
}

// wholeScope returns the resource id of a short scope of the vault.
func wholeScope(v *vault.Vault, short string) (string, error) {
	short = strings.TrimSuffix(short, "/")
	switch rest, ok := strings.CutPrefix(short, "/keys"); {
	case short == "":
		return v.Scope(), nil
	case ok && rest == "":
		return v.Scope() + allKeys, nil
	case ok && strings.HasPrefix(rest, "/") && vault.CheckObjectName(rest[1:]) == nil:
		return v.Scope() + short, nil
	}
	return "", fault.New(fault.Invalid, "the scope %q is not one of this vault: use / for the vault, /keys for all of its keys, or /keys/NAME for one", fault.Clip(short)).Because("InvalidScope")
}

// shortScope is wholeScope backwards. A scope above the vault or in another has none.
func shortScope(v *vault.Vault, whole string) (string, bool) {
	at, err := authz.ParseScope(whole)
	own := authz.VaultScope(v)
	if err != nil || !own.Contains(at) {
		return "", false
	}
	if at == own {
		return "/", true
	}
	return strings.TrimSuffix(whole, "/")[len(v.Scope()):], true
}

// scopeOf is the scope of the request's path, whole.
func scopeOf(r *door.Request) (string, error) {
	if strings.HasPrefix(r.Route.Pattern, oneKey) {
		return wholeScope(r.Call.Vault.Vault, "/keys/"+r.Params.Get("name"))
	}
	if strings.HasPrefix(r.Route.Pattern, allKeys+authorization) {
		return wholeScope(r.Call.Vault.Vault, allKeys)
	}
	return r.Call.Vault.Vault.Scope(), nil
}

type assignmentBody struct {
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Type       string               `json:"type"`
	Properties assignmentProperties `json:"properties"`
}

type assignmentProperties struct {
	Scope     string `json:"scope"`
	Role      string `json:"roleDefinitionId"`
	Principal string `json:"principalId"`
}

type assignmentInput struct {
	Properties struct {
		Role      string `json:"roleDefinitionId"`
		Principal string `json:"principalId"`
	} `json:"properties"`
}

func assignmentOf(g *principal.Grant, short string) assignmentBody {
	return assignmentBody{ID: strings.TrimSuffix(short, "/") + authorization + "/roleAssignments/" + g.ID, Name: g.ID, Type: assignmentType,
		Properties: assignmentProperties{Scope: short, Role: definitionsPath + authz.RoleID(g.Role), Principal: string(g.Principal)}}
}

// answerAssignment answers with an assignment, or says that there is none.
func answerAssignment(r *door.Request, status int, g *principal.Grant, err error) error {
	if err != nil {
		return err
	}
	if g != nil {
		if short, ok := shortScope(r.Call.Vault.Vault, g.Scope); ok {
			return r.JSON(status, assignmentOf(g, short))
		}
	}
	return fault.New(fault.NotFound, "the role assignment %q is not found in this vault: list the assignments to see those that are", fault.Clip(r.Params.Get("id"))).
		Because(access.RoleAssignmentNotFound)
}

func (h *handler) listAssignments(r *door.Request) error {
	at, err := scopeOf(r)
	if err != nil {
		return err
	}
	f, err := odata.Assignments(r.Query("$filter"))
	if err != nil {
		return err
	}
	found, err := h.Access.Assignments(r.HTTP.Context(), &r.Call, at, f)
	if err != nil {
		return err
	}
	list := []assignmentBody{}
	for _, g := range found {
		if short, ok := shortScope(r.Call.Vault.Vault, g.Scope); ok {
			list = append(list, assignmentOf(g, short))
		}
	}
	return r.JSON(http.StatusOK, valueList{list})
}

// valueList is a listing in one page.
type valueList struct {
	Value any `json:"value"`
}

func (h *handler) getAssignment(r *door.Request) error {
	at, err := scopeOf(r)
	if err != nil {
		return err
	}
	g, err := h.Access.Assignment(r.HTTP.Context(), &r.Call, at, r.Params.Get("id"))
	return answerAssignment(r, http.StatusOK, g, err)
}

func (h *handler) putAssignment(r *door.Request) error {
	at, err := scopeOf(r)
	if err != nil {
		return err
	}
	var in assignmentInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	done, err := h.Access.Assign(r.HTTP.Context(), &r.Call, access.Assignment{ID: r.Params.Get("id"), Scope: at, Role: in.Properties.Role,
		Principal: principal.ID(in.Properties.Principal)})
	return answerAssignment(r, http.StatusCreated, done.Grant, err)
}

func (h *handler) deleteAssignment(r *door.Request) error {
	at, err := scopeOf(r)
	if err != nil {
		return err
	}
	g, err := h.Access.Unassign(r.HTTP.Context(), &r.Call, at, r.Params.Get("id"))
	return answerAssignment(r, http.StatusOK, g, err)
}

// roleOf describes a role as far as it reaches into the vault: one that can be granted above it can be granted at "/".
func roleOf(v *vault.Vault, r *principal.Role) rolejson.Definition {
	var scopes []string
	for _, s := range r.AssignableScopes {
		if short, ok := shortScope(v, s); ok {
			scopes = append(scopes, short)
		}
	}
	if len(scopes) == 0 {
		scopes = []string{"/"}
	}
	return rolejson.Of(r, definitionsPath+r.ID, "AKVBuiltInRole", scopes)
}

// listRoles lists the roles that say something of a vault's data. Each of them can be granted at the scope, so that atScope() changes nothing.
func (h *handler) listRoles(r *door.Request) error {
	at, err := scopeOf(r)
	if err != nil {
		return err
	}
	if f := r.Query("$filter"); f != "" && !strings.EqualFold(f, "atScope()") {
		return fault.New(fault.Invalid, "the $filter %q is not known here: use atScope(), or none", fault.Clip(f)).Because("InvalidFilter")
	}
	found, err := h.Access.Roles(r.HTTP.Context(), &r.Call, at)
	if err != nil {
		return err
	}
	list := []rolejson.Definition{}
	for _, role := range found {
		for _, p := range role.Permissions {
			if len(p.DataActions) > 0 {
				list = append(list, roleOf(r.Call.Vault.Vault, role))
				break
			}
		}
	}
	return r.JSON(http.StatusOK, valueList{list})
}

func (h *handler) getRole(r *door.Request) error {
	at, err := scopeOf(r)
	if err != nil {
		return err
	}
	role, err := h.Access.Role(r.HTTP.Context(), &r.Call, at, r.Params.Get("id"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, roleOf(r.Call.Vault.Vault, role))
}

func (h *handler) putRole(r *door.Request) error {
	at, err := scopeOf(r)
	if err != nil {
		return err
	}
	var in rolejson.Input
	if err := r.Decode(&in); err != nil {
		return err
	}
	role, err := in.Role(r.Params.Get("id"))
	if err != nil {
		return err
	}
	for _, short := range in.Properties.AssignableScopes {
		whole, err := wholeScope(r.Call.Vault.Vault, short)
		if err != nil {
			return err
		}
		role.AssignableScopes = append(role.AssignableScopes, whole)
	}
	if len(in.Properties.AssignableScopes) == 0 {
		role.AssignableScopes = []string{at}
	}
	done, _, err := h.Access.PutRole(r.HTTP.Context(), &r.Call, at, role)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusCreated, roleOf(r.Call.Vault.Vault, done))
}

func (h *handler) deleteRole(r *door.Request) error {
	at, err := scopeOf(r)
	if err != nil {
		return err
	}
	role, err := h.Access.DeleteRole(r.HTTP.Context(), &r.Call, at, r.Params.Get("id"))
	if err != nil {
		return err
	}
	if role == nil {
		return fault.New(fault.NotFound, "the role definition %q does not exist: list the role definitions to see those that do", fault.Clip(r.Params.Get("id"))).
			Because(access.RoleDefinitionMissing)
	}
	return r.JSON(http.StatusOK, roleOf(r.Call.Vault.Vault, role))
}
