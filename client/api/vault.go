package api

import "time"

// Vault is a named container of secrets, keys and certificates.
type Vault struct {
	Name string `json:"name"`
	// ID is the resource id, the scope at which roles are granted on the vault.
	ID            string            `json:"id"`
	Subscription  string            `json:"subscription"`
	ResourceGroup string            `json:"resourceGroup"`
	Location      string            `json:"location"`
	Tags          map[string]string `json:"tags,omitempty"`
	// Access is the access model: "rbac" or "policy".
	Access          string `json:"access"`
	RetentionDays   int    `json:"retentionDays"`
	PurgeProtection bool   `json:"purgeProtection"`
	// StaleFor is how far behind the store a node may be and still answer reads of secrets from memory, such as "10m0s"; absent when only
	// the usual second.
	StaleFor string  `json:"staleFor,omitempty"`
	Network  Network `json:"network"`
	// Encryption is the customer's key that protects the vault; absent when the tenant's key alone does.
	Encryption *VaultEncryption `json:"encryption,omitempty"`
	Created    time.Time        `json:"created"`
	Updated    time.Time        `json:"updated"`
	Deleted    *time.Time       `json:"deleted,omitempty"`
	PurgeAt    *time.Time       `json:"purgeAt,omitempty"`
}

// Network says from where a vault's data may be reached.
type Network struct {
	// PublicAccess false refuses every address.
	PublicAccess bool `json:"publicAccess"`
	// DefaultAction is the answer for an address that no rule names: "allow" or "deny".
	DefaultAction string `json:"defaultAction"`
	// Addresses are addresses and ranges in CIDR notation that may come in.
	Addresses []string `json:"addresses"`
	// BypassTrusted lets services in for which the installation vouches.
	BypassTrusted bool `json:"bypassTrusted"`
}

// CreateVault is a new vault. What is absent takes its default.
type CreateVault struct {
	Subscription    string            `json:"subscription"`
	ResourceGroup   string            `json:"resourceGroup"`
	Location        string            `json:"location,omitempty"`
	Tags            map[string]string `json:"tags,omitempty"`
	Access          string            `json:"access,omitempty"`
	RetentionDays   *int              `json:"retentionDays,omitempty"`
	PurgeProtection bool              `json:"purgeProtection,omitempty"`
}

// UpdateVault says what to change of a vault. An absent member stays as it is.
type UpdateVault struct {
	Tags   map[string]string `json:"tags,omitzero"`
	Access string            `json:"access,omitempty"`
	// PurgeProtection can only be turned on.
	PurgeProtection *bool `json:"purgeProtection,omitempty"`
	// StaleFor is a duration such as "10m", up to an hour; "0s" ends it.
	StaleFor string `json:"staleFor,omitempty"`
}

// UpdateNetwork says what to change of a vault's network rules.
type UpdateNetwork struct {
	PublicAccess  *bool  `json:"publicAccess,omitempty"`
	DefaultAction string `json:"defaultAction,omitempty"`
	// Add and Remove are addresses and ranges.
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
}

// AccessPolicy says what one holder may do with everything in a vault, where the vault uses policies and not roles.
type AccessPolicy struct {
	Principal PrincipalRef `json:"principal"`
	// Application, when set, is the client id through which the principal has to act.
	Application string `json:"application,omitempty"`
	// The permissions by kind of object, such as get, list and set; "all" is all but purge.
	Secrets      []string   `json:"secrets,omitempty"`
	Keys         []string   `json:"keys,omitempty"`
	Certificates []string   `json:"certificates,omitempty"`
	NotBefore    *time.Time `json:"notBefore,omitempty"`
	Expires      *time.Time `json:"expires,omitempty"`
	// Counts is false while the vault uses roles.
	Counts bool `json:"counts"`
}

// SetAccessPolicy is the whole policy of one holder: permissions and times that are absent are taken away.
type SetAccessPolicy struct {
	Application  string     `json:"application,omitempty"`
	Secrets      []string   `json:"secrets,omitempty"`
	Keys         []string   `json:"keys,omitempty"`
	Certificates []string   `json:"certificates,omitempty"`
	NotBefore    *time.Time `json:"notBefore,omitempty"`
	Expires      *time.Time `json:"expires,omitempty"`
}

// AccessPolicyList is the access policies of a vault.
type AccessPolicyList struct {
	Items []AccessPolicy `json:"items"`
	Next  string         `json:"next,omitempty"`
}

// VaultList is a page of vaults, subscription by subscription in the order of their names. Next is empty at the end.
type VaultList struct {
	Items []Vault `json:"items"`
	Next  string  `json:"next,omitempty"`
}
