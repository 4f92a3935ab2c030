package arm

import (
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/access"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/odata"
	"github.com/keywright/keywright/internal/door/rolejson"
	"github.com/keywright/keywright/internal/principal"
)

// scope returns the scope of the path: what stands before /providers/Microsoft.Authorization.
func scope(r *door.Request) string {
	const provider = "/providers/Microsoft.Authorization/"
	path := r.HTTP.URL.Path
	// Byte by byte: the lower-case form of a path may be longer or shorter than the path.
	for i := len(path) - len(provider); i > 0; i-- {
		if strings.EqualFold(path[i:i+len(provider)], provider) {
			return path[:i]
		}
	}
	return "/"
}

// anchor is the part of a scope that ids of role definitions begin with: the subscription, or nothing for the tenant.
func anchor(scope string) string {
	at, err := authz.ParseScope(scope)
	if id := at.Parts().Subscription; err == nil && id != "" {
		return "/subscriptions/" + string(id)
	}
	return ""
}

const rolesPath = "/providers/" + rolejson.Type + "/"

func roleOf(r *principal.Role, scope string) rolejson.Definition {
	d := rolejson.Of(r, anchor(scope)+rolesPath+r.ID, "BuiltInRole", r.AssignableScopes)
	d.Properties.CreatedOn, d.Properties.UpdatedOn = optionalStamp(r.Created), optionalStamp(r.Updated)
	return d
}

func optionalStamp(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := stamp(t)
	return &s
}

// listRoles takes the conditions roleName eq, type eq, and the functions about scopes, which change nothing: every role that can
// be assigned at the scope is listed.
func (h *handler) listRoles(r *door.Request) error {
	f, err := odata.Parse(r.Query("$filter"))
	if err != nil {
		return err
	}
	for i, all := range f {
		f[i] = nil
		for _, c := range all {
			if c.Field != "" || c.Op != "atscope" && c.Op != "atscopeandbelow" {
				f[i] = append(f[i], c)
			}
		}
	}
	if err := knownFields(f, "roleName", "type"); err != nil {
		return err
	}
	at := scope(r)
	found, err := h.Access.Roles(r.HTTP.Context(), &r.Call, at)
	if err != nil {
		return err
	}
	bodies := []rolejson.Definition{}
	for _, role := range found {
		b := roleOf(role, at)
		if matches(f, map[string]string{"rolename": b.Properties.RoleName, "type": b.Properties.Type}) {
			bodies = append(bodies, b)
		}
	}
	return r.JSON(http.StatusOK, listBody{Value: bodies})
}

func (h *handler) getRole(r *door.Request) error {
	role, err := h.Access.Role(r.HTTP.Context(), &r.Call, scope(r), r.Params.Get("id"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, roleOf(role, scope(r)))
}

func (h *handler) putRole(r *door.Request) error {
	var in rolejson.Input
	if err := r.Decode(&in); err != nil {
		return err
	}
	role, err := in.Role(r.Params.Get("id"))
	if err != nil {
		return err
	}
	role.AssignableScopes = in.Properties.AssignableScopes
	done, created, err := h.Access.PutRole(r.HTTP.Context(), &r.Call, scope(r), role)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return r.JSON(status, roleOf(done, scope(r)))
}

func (h *handler) deleteRole(r *door.Request) error {
	role, err := h.Access.DeleteRole(r.HTTP.Context(), &r.Call, scope(r), r.Params.Get("id"))
	if err != nil {
		return err
	}
	if role == nil {
		r.Raw(http.StatusNoContent, nil)
		return nil
	}
	return r.JSON(http.StatusOK, roleOf(role, scope(r)))
}

type assignmentBody struct {
	ID         string               `json:"id"`
	Name       string               `json:"name"`
	Type       string               `json:"type"`
	Properties assignmentProperties `json:"properties"`
}

// assignmentProperties has two members that Azure's does not: a grant may have a start and an end.
type assignmentProperties struct {
	RoleDefinitionID string  `json:"roleDefinitionId"`
	PrincipalID      string  `json:"principalId"`
	PrincipalType    string  `json:"principalType"`
	Scope            string  `json:"scope"`
	Description      *string `json:"description"`
	Condition        *string `json:"condition"`
	ConditionVersion *string `json:"conditionVersion"`
	StartDateTime    *string `json:"startDateTime,omitempty"`
	EndDateTime      *string `json:"endDateTime,omitempty"`
	CreatedOn        string  `json:"createdOn"`
	UpdatedOn        string  `json:"updatedOn"`
	CreatedBy        string  `json:"createdBy"`
	UpdatedBy        string  `json:"updatedBy"`
}

func assignmentOf(g *principal.Grant) assignmentBody {
	at := strings.TrimSuffix(g.Scope, "/")
	b := assignmentBody{ID: at + "/providers/Microsoft.Authorization/roleAssignments/" + g.ID, Name: g.ID, Type: "Microsoft.Authorization/roleAssignments",
		Properties: assignmentProperties{RoleDefinitionID: anchor(g.Scope) + rolesPath + g.Role, PrincipalID: string(g.Principal), PrincipalType: wireKind(g.PrincipalKind),
			Scope: g.Scope, StartDateTime: optionalStamp(g.NotBefore), EndDateTime: optionalStamp(g.Expires), CreatedOn: stamp(g.Created), UpdatedOn: stamp(g.Updated),
			CreatedBy: string(g.CreatedBy), UpdatedBy: string(g.CreatedBy)}}
	if g.Description != "" {
		b.Properties.Description = &g.Description
	}
	return b
}

// wireKind returns the kind of a principal as Azure says it, which calls a managed identity a service principal.
func wireKind(k principal.Kind) string {
	if k == principal.ManagedIdentity {
		k = principal.Service
	}
	return string(k)
}

// listAssignments takes atScope(), principalId eq and assignedTo(), alone or joined by and.
func (h *handler) listAssignments(r *door.Request) error {
	f, err := odata.Assignments(r.Query("$filter"))
	if err != nil {
		return err
	}
	found, err := h.Access.Assignments(r.HTTP.Context(), &r.Call, scope(r), f)
	if err != nil {
		return err
	}
	bodies := make([]assignmentBody, 0, len(found))
	for _, g := range found {
		bodies = append(bodies, assignmentOf(g))
	}
	return r.JSON(http.StatusOK, listBody{Value: bodies})
}

func (h *handler) getAssignment(r *door.Request) error {
	g, err := h.Access.Assignment(r.HTTP.Context(), &r.Call, scope(r), r.Params.Get("id"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, assignmentOf(g))
}

func (h *handler) putAssignment(r *door.Request) error {
	var in struct {
		Properties struct {
			RoleDefinitionID string    `json:"roleDefinitionId"`
			PrincipalID      string    `json:"principalId"`
			PrincipalType    string    `json:"principalType"`
			Description      string    `json:"description"`
			Condition        string    `json:"condition"`
			StartDateTime    time.Time `json:"startDateTime"`
			EndDateTime      time.Time `json:"endDateTime"`
		} `json:"properties"`
	}
	if err := r.Decode(&in); err != nil {
		return err
	}
	p := in.Properties
	done, err := h.Access.Assign(r.HTTP.Context(), &r.Call, access.Assignment{ID: r.Params.Get("id"), Scope: scope(r), Role: p.RoleDefinitionID,
		Principal: principal.ID(p.PrincipalID), PrincipalKind: principal.Kind(p.PrincipalType), Description: p.Description, Condition: p.Condition,
		NotBefore: p.StartDateTime, Expires: p.EndDateTime})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if done.Created {
		status = http.StatusCreated
	}
	return r.JSON(status, assignmentOf(done.Grant))
}

func (h *handler) deleteAssignment(r *door.Request) error {
	g, err := h.Access.Unassign(r.HTTP.Context(), &r.Call, scope(r), r.Params.Get("id"))
	if err != nil {
		return err
	}
	if g == nil {
		r.Raw(http.StatusNoContent, nil)
		return nil
	}
	return r.JSON(http.StatusOK, assignmentOf(g))
}

func (h *handler) listPermissions(r *door.Request) error {
	found, err := h.Access.Permissions(r.HTTP.Context(), &r.Call, scope(r))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, listBody{Value: rolejson.Permissions(found)})
}
