// Package rolejson is the JSON of a role definition, which the administration API of a vault and Resource Manager write alike (Microsoft.Authorization REST API,
// RoleDefinition; Key Vault REST API, RoleDefinition). They differ in ids, in scopes, and in what a built-in role is called, which is theirs to say. Role assignments share no
// more than three members, and have a shape in each of the two.
package rolejson

import (
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
)

// Type is the resource type of role definitions.
const Type = "Microsoft.Authorization/roleDefinitions"

// customRole is the type of roles that somebody wrote.
const customRole = "CustomRole"

// Definition is a role on the wire.
type Definition struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Type       string     `json:"type"`
	Properties Properties `json:"properties"`
}

// Properties are what a role is. Its lists are never null.
type Properties struct {
	RoleName         string       `json:"roleName"`
	Type             string       `json:"type"`
	Description      string       `json:"description"`
	AssignableScopes []string     `json:"assignableScopes"`
	Permissions      []Permission `json:"permissions"`
	// CreatedOn and UpdatedOn are instants of RFC 3339; Resource Manager's alone.
	CreatedOn *string `json:"createdOn,omitempty"`
	UpdatedOn *string `json:"updatedOn,omitempty"`
}

// Permission is what a role allows, by patterns of actions.
type Permission struct {
	Actions        []string `json:"actions"`
	NotActions     []string `json:"notActions"`
	DataActions    []string `json:"dataActions"`
	NotDataActions []string `json:"notDataActions"`
}

// Input is what a caller writes of a role.
type Input struct {
	Properties struct {
		RoleName         string       `json:"roleName"`
		Type             string       `json:"type"`
		Description      string       `json:"description"`
		AssignableScopes []string     `json:"assignableScopes"`
		Permissions      []Permission `json:"permissions"`
	} `json:"properties"`
}

// Of describes a role: under an id, with the scopes at which it can be assigned. Built-in roles are of the type that the API calls them.
func Of(r *principal.Role, id, builtIn string, scopes []string) Definition {
	d := Definition{ID: id, Name: r.ID, Type: Type, Properties: Properties{RoleName: r.Name, Type: customRole, Description: r.Description,
		AssignableScopes: list(scopes), Permissions: Permissions(r.Permissions)}}
	if r.BuiltIn {
		d.Properties.Type = builtIn
	}
	return d
}

// Permissions are permissions on the wire.
func Permissions(of []principal.Permission) []Permission {
	bodies := make([]Permission, 0, len(of))
	for _, p := range of {
		bodies = append(bodies, Permission{list(p.Actions), list(p.NotActions), list(p.DataActions), list(p.NotDataActions)})
	}
	return bodies
}

// Role reads what a caller wrote, but for the scopes: their form is the API's. A type that cannot be written is a fault.Invalid.
func (in *Input) Role(id string) (principal.Role, error) {
	p := &in.Properties
	if p.Type != "" && !strings.EqualFold(p.Type, customRole) {
		return principal.Role{}, fault.New(fault.Invalid, "the role type is %q: only roles of the type %s can be written", fault.Clip(p.Type), customRole)
	}
	role := principal.Role{ID: id, Name: p.RoleName, Description: p.Description}
	for _, b := range p.Permissions {
		role.Permissions = append(role.Permissions, principal.Permission(b))
	}
	return role, nil
}

// list returns l, or an empty list that is not null in JSON.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}
