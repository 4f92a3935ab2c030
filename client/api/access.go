package api

import "time"

// Role is a named set of permissions.
type Role struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	BuiltIn     bool   `json:"builtIn"`
	// AssignableScopes are the scopes at which, and below which, the role can be granted.
	AssignableScopes []string     `json:"assignableScopes"`
	Permissions      []Permission `json:"permissions"`
}

// Permission is a set of action patterns: what it allows less what it takes away. * stands for any run of characters.
type Permission struct {
	Actions        []string `json:"actions,omitempty"`
	NotActions     []string `json:"notActions,omitempty"`
	DataActions    []string `json:"dataActions,omitempty"`
	NotDataActions []string `json:"notDataActions,omitempty"`
}

// RoleList is a list of roles.
type RoleList struct {
	Items []Role `json:"items"`
	Next  string `json:"next,omitempty"`
}

// Grant is a role for a principal at a scope, for a time.
type Grant struct {
	ID string `json:"id"`
	// Role is the role's id, RoleName its name.
	Role        string       `json:"role"`
	RoleName    string       `json:"roleName,omitempty"`
	Principal   PrincipalRef `json:"principal"`
	Scope       string       `json:"scope"`
	Description string       `json:"description,omitempty"`
	NotBefore   *time.Time   `json:"notBefore,omitempty"`
	Expires     *time.Time   `json:"expires,omitempty"`
	CreatedBy   string       `json:"createdBy,omitempty"`
	Created     time.Time    `json:"created"`
	// Warnings say which duties the grant puts into one hand although a rule minds it.
	Warnings []string `json:"warnings,omitempty"`
}

// CreateGrant is a new grant. Role is an id or a name; Principal an object id, a client id, a sign-in name or a display name.
type CreateGrant struct {
	Role        string     `json:"role"`
	Principal   string     `json:"principal"`
	Scope       string     `json:"scope"`
	Description string     `json:"description,omitempty"`
	NotBefore   *time.Time `json:"notBefore,omitempty"`
	Expires     *time.Time `json:"expires,omitempty"`
}

// GrantList is a list of grants.
type GrantList struct {
	Items []Grant `json:"items"`
	Next  string  `json:"next,omitempty"`
}

// Explanation says whether a principal may do something, and why.
type Explanation struct {
	Allowed   bool         `json:"allowed"`
	Reason    string       `json:"reason"`
	Code      string       `json:"code"`
	Principal PrincipalRef `json:"principal"`
	Action    string       `json:"action"`
	Scope     string       `json:"scope"`
	// Steps hold one sentence for each grant and access policy of the principal and its groups.
	Steps []string `json:"steps"`
}

// Holder is somebody who may do something, and by what right.
type Holder struct {
	Principal PrincipalRef `json:"principal"`
	// Via is the group that holds the right, where it is not the principal itself.
	Via string `json:"via,omitempty"`
	// Grant and Role are set for a role, Policy is true for an access policy.
	Grant  string     `json:"grant,omitempty"`
	Role   string     `json:"role,omitempty"`
	Policy bool       `json:"policy,omitempty"`
	Scope  string     `json:"scope,omitempty"`
	Until  *time.Time `json:"until,omitempty"`
}

// HolderList is a list of holders.
type HolderList struct {
	Items []Holder `json:"items"`
	Next  string   `json:"next,omitempty"`
}
