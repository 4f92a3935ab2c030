package authz

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// compiledRole is a role whose patterns have been turned into sets.
type compiledRole struct {
	id, name string
	// allows holds actions of both planes; an action is on one of them only.
	allows Set
	// provisions is the vault's switch on which the role depends.
	provisions provisioner
	// assigns, when not nil, limits which roles may be assigned and removed by means of this one.
	assigns []string
}

func compileRole(r *principal.Role) *compiledRole {
	c := &compiledRole{id: RoleID(r.ID), name: r.Name}
	for _, p := range r.Permissions {
		c.allows = c.allows.Union(permitted(&p))
	}
	return c
}

// Allows returns the actions that a role definition allows, on both planes.
func Allows(r *principal.Role) Set { return compileRole(r).allows }

// RoleID returns the canonical id of a role that is given by its GUID or by its full resource id
// (".../providers/Microsoft.Authorization/roleDefinitions/GUID"); "" when there is no GUID in it.
func RoleID(s string) string {
	id, err := vault.ParseGUID(s[strings.LastIndexByte(s, '/')+1:])
	if err != nil {
		return ""
	}
	return id
}

// mayAssign reports whether the role's holder may assign or remove the target role, as far as this role limits it. Without
// a target a limited role may assign nothing.
func (c *compiledRole) mayAssign(a Action, target string) bool {
	if c.assigns == nil || a != RoleAssignmentWrite && a != RoleAssignmentDelete {
		return true
	}
	id := RoleID(target)
	return id != "" && slices.Contains(c.assigns, id)
}

// MaxRolePatterns bounds the patterns of one custom role.
const MaxRolePatterns = 1024

// CheckRole reports everything that is wrong with a custom role definition, each bad pattern by name. A pattern of a
// provider that is not served here is accepted, so that definitions can be brought along from Azure: it allows nothing.
// A pattern of a provider that is served must match an action: a misspelt exception would allow more than was meant.
func CheckRole(r *principal.Role) error {
	var wrong []error
	if strings.TrimSpace(r.Name) == "" {
		wrong = append(wrong, fault.New(fault.Invalid, "the role has no name: give it one"))
	}
	if _, taken := builtinByID()[RoleID(r.ID)]; taken {
		wrong = append(wrong, fault.New(fault.Invalid, "the id %s is that of a built-in role: choose another", r.ID))
	}
	if len(r.AssignableScopes) == 0 {
		wrong = append(wrong, fault.New(fault.Invalid, "the role %q has no assignable scope: name at least one, such as a subscription", fault.Clip(r.Name)))
	}
	for _, s := range r.AssignableScopes {
		if _, err := ParseScope(s); err != nil {
			wrong = append(wrong, fmt.Errorf("assignable scope: %w", err))
		}
	}
	count := 0
	for _, p := range r.Permissions {
		count += len(p.Actions) + len(p.NotActions) + len(p.DataActions) + len(p.NotDataActions)
		if count > MaxRolePatterns {
			wrong = []error{fault.New(fault.TooLarge, "the role %q has more than %d patterns: use wildcards, or several roles", fault.Clip(r.Name), MaxRolePatterns)}
			break
		}
		wrong = append(wrong, checkPatterns("actions", Control, p.Actions)...)
		wrong = append(wrong, checkPatterns("notActions", Control, p.NotActions)...)
		wrong = append(wrong, checkPatterns("dataActions", Data, p.DataActions)...)
		wrong = append(wrong, checkPatterns("notDataActions", Data, p.NotDataActions)...)
	}
	if len(wrong) == 0 {
		return nil
	}
	messages := make([]string, len(wrong))
	for i, err := range wrong {
		messages[i] = fault.As(err).Message
	}
	return &fault.Error{Kind: fault.Of(wrong[0]), Reason: "InvalidRoleDefinition", Message: strings.Join(messages, "; "), Err: errors.Join(wrong...)}
}

// CheckAssignable reports whether a role may be granted at a scope. Built-in roles may be granted anywhere, but for those that belong to vaults.
func CheckAssignable(r *principal.Role, at Scope) error {
	if r.BuiltIn {
		return checkLocal(r, at)
	}
	for _, s := range r.AssignableScopes {
		if scope, err := ParseScope(s); err == nil && scope.Contains(at) {
			return nil
		}
	}
	return fault.New(fault.Invalid, "the role %q may not be granted at %s: its assignable scopes are %s", fault.Clip(r.Name), at,
		fault.Clip(strings.Join(r.AssignableScopes, ", "))).Because("RoleDefinitionNotAssignable")
}

func checkPatterns(field string, plane Plane, patterns []string) []error {
	var wrong []error
	for _, p := range patterns {
		if err := checkPattern(field, plane, p); err != nil {
			wrong = append(wrong, err)
		}
	}
	return wrong
}

func checkPattern(field string, plane Plane, p string) error {
	if strings.TrimSpace(p) != p || p == "" {
		return fault.New(fault.Invalid, "%s holds the pattern %q, which is empty or has blanks around it", field, fault.Clip(p))
	}
	if !matching(plane, []string{p}, nil).Empty() || isForeign(p) || plane == Data && isLocal(p) {
		return nil
	}
	other := Data - plane
	if !matching(other, []string{p}, nil).Empty() {
		return fault.New(fault.Invalid, "%s holds %q, which is of the %s plane: list it under %s", field, fault.Clip(p), other, otherField(field))
	}
	return fault.New(fault.Invalid, "%s holds %q, which matches no action%s", field, fault.Clip(p), suggestion(p, plane))
}

func otherField(field string) string {
	return map[string]string{"actions": "dataActions", "notActions": "notDataActions", "dataActions": "actions", "notDataActions": "notActions"}[field]
}

// foreign are the parts of served providers that exist in Azure and not here.
var foreign = []string{"microsoft.keyvault/hsmpools/", "microsoft.keyvault/managedhsms/", "microsoft.keyvault/deletedmanagedhsms/",
	"microsoft.keyvault/locations/", "microsoft.keyvault/vaults/eventgridfilters/", "microsoft.keyvault/vaults/providers/",
	"microsoft.keyvault/vaults/privateendpoint", "microsoft.authorization/policy", "microsoft.authorization/locks/",
	"microsoft.authorization/denyassignments/", "microsoft.authorization/elevateaccess/", "microsoft.authorization/classicadministrators/"}

// isForeign reports whether a pattern is about something that Azure has and that is not served here.
func isForeign(pattern string) bool {
	p := strings.ToLower(pattern)
	for _, prefix := range foreign {
		if strings.HasPrefix(p, prefix) {
			return true
		}
	}
	provider, _, ok := strings.Cut(p, "/")
	return ok && strings.HasPrefix(provider, "microsoft.") && !strings.Contains(provider, "*") &&
		provider != "microsoft.keyvault" && provider != "microsoft.authorization"
}

// CheckCondition refuses a grant that has a condition: attribute-based conditions are not evaluated here, and leaving one
// out would allow more than was meant.
func CheckCondition(condition string) error {
	if strings.TrimSpace(condition) == "" {
		return nil
	}
	return fault.New(fault.Unsupported, "the role assignment has a condition, and conditions are not supported: grant the role at the scope of the "+
		"single objects instead, or without a condition").Because("ConditionNotSupported")
}
