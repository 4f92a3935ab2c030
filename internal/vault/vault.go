package vault

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Tenant is the isolation boundary: its own key hierarchy, identities and vaults.
type Tenant struct {
	ID       TenantID
	Name     string
	Disabled bool
	Created  time.Time
	Revision int64
}

// Subscription groups a tenant's resource groups, as Azure Resource Manager does.
type Subscription struct {
	ID      SubscriptionID
	Tenant  TenantID
	Name    string
	Created time.Time
}

// ResourceGroup is a named group of vaults within a subscription.
type ResourceGroup struct {
	Subscription SubscriptionID
	Name         string
	Location     string
	Tags         map[string]string
	Created      time.Time
}

// AccessModel says which of the two ways of granting access a vault uses; the other is ignored.
type AccessModel string

// The access models.
const (
	AccessByRole   AccessModel = "rbac"
	AccessByPolicy AccessModel = "policy"
)

// Retention bounds in days, from the Key Vault management API (softDeleteRetentionInDays).
const (
	MinRetentionDays     = 7
	MaxRetentionDays     = 90
	DefaultRetentionDays = 90
)

// MaxStaleFor bounds a vault's StaleFor: an hour is as long as a token lives, with which access would end anyhow.
const MaxStaleFor = time.Hour

// Vault is a named container with its own access model, network rules, retention and key.
type Vault struct {
	ID            ID
	Tenant        TenantID
	Subscription  SubscriptionID
	ResourceGroup string
	Name          string
	Location      string
	// Premium is the SKU that offers hardware-protected kinds of keys.
	Premium bool
	Tags    map[string]string

	Access   AccessModel
	Policies []AccessPolicy
	Network  NetworkRules

	// RetentionDays is how long deleted objects, and the vault itself, can be recovered; fixed at creation.
	RetentionDays int
	// PurgeProtection forbids purging before retention is over. Once true it stays true.
	PurgeProtection bool

	// Encryption is the customer's key that protects the vault's own; nil when the tenant's key alone does.
	Encryption *Encryption

	// StaleFor is how far behind the store a node may be and still answer reads of secrets from memory; beyond the usual second it also is for how long
	// a node that is cut off honours access that was withdrawn. Zero adds nothing to the second.
	StaleFor time.Duration `json:",omitempty"`

	// KeysNotManaged says that the vault takes no key operations through the management plane, only at its own address.
	KeysNotManaged bool

	// Whether what is provisioned may read from the vault: machines, encrypted disks and deployments of templates.
	EnabledForDeployment         bool
	EnabledForDiskEncryption     bool
	EnabledForTemplateDeployment bool

	Created, Updated time.Time
	// Deleted is set while the vault is soft-deleted.
	Deleted  *Deletion
	Revision int64
}

// Deletion says since when something is soft-deleted and when it will be purged.
type Deletion struct {
	At, PurgeAt time.Time
}

// Retention returns how long a deleted object of the vault stays recoverable.
func (v *Vault) Retention() time.Duration { return time.Duration(v.RetentionDays) * 24 * time.Hour }

// Scope returns the vault's resource id, the scope at which roles are assigned on it.
func (v *Vault) Scope() string {
	return "/subscriptions/" + string(v.Subscription) + "/resourceGroups/" + v.ResourceGroup +
		"/providers/Microsoft.KeyVault/vaults/" + v.Name
}

// ClonePolicies returns a deep copy.
func ClonePolicies(list []AccessPolicy) []AccessPolicy {
	c := slices.Clone(list)
	for i := range c {
		p := &c[i]
		p.Secrets, p.Keys = slices.Clone(p.Secrets), slices.Clone(p.Keys)
		p.Certificates, p.Storage = slices.Clone(p.Certificates), slices.Clone(p.Storage)
	}
	return c
}

// Clone returns a deep copy.
func (n NetworkRules) Clone() NetworkRules {
	n.Addresses, n.Subnets = slices.Clone(n.Addresses), slices.Clone(n.Subnets)
	return n
}

// Clone returns a deep copy, for callers that change a vault which others still read.
func (v *Vault) Clone() *Vault {
	c := *v
	c.Tags = maps.Clone(v.Tags)
	c.Policies = ClonePolicies(v.Policies)
	c.Network = v.Network.Clone()
	if v.Deleted != nil {
		d := *v.Deleted
		c.Deleted = &d
	}
	if v.Encryption != nil {
		e := *v.Encryption
		c.Encryption = &e
	}
	return &c
}

// AccessPolicy grants one principal operations on all objects of a vault, by kind.
type AccessPolicy struct {
	Tenant TenantID
	// Principal is the object id of a user, service principal, managed identity or group.
	Principal string
	// Application, when set, requires that the principal acts through that client id.
	Application string
	// The permissions by kind of object, in the words of the Key Vault management API, lower case.
	Secrets, Keys, Certificates, Storage []string
	// NotBefore and Expires bound the grant in time; zero means unbounded.
	NotBefore, Expires time.Time
}

// MaxAccessPolicies is the limit of the Key Vault management API.
const MaxAccessPolicies = 1024

// NetworkRules say from where a vault's data may be reached.
type NetworkRules struct {
	// PublicAccess false refuses every address but trusted services, and what comes by a listener for private networks.
	PublicAccess bool
	// DefaultAllow is the answer for an address that no rule names.
	DefaultAllow bool
	// BypassTrusted lets trusted services through.
	BypassTrusted bool
	Addresses     []netip.Prefix
	// Subnets are virtual network resource ids. They are kept for management clients; addresses decide.
	Subnets []Subnet
}

// Subnet is a virtual network rule.
type Subnet struct {
	ID                   string
	IgnoreMissingService bool
}

// Limits of network rules, from the Key Vault documentation.
const (
	MaxAddressRules = 1000
	MaxSubnetRules  = 200
)

// OpenNetwork returns the rules of a vault for which nobody stated any.
func OpenNetwork() NetworkRules {
	return NetworkRules{PublicAccess: true, DefaultAllow: true, BypassTrusted: true}
}

// CheckName reports whether name may be a vault's: 3 to 24 letters, digits and hyphens, starting with a letter, ending
// with a letter or digit, without two hyphens in a row.
func CheckName(name string) error {
	ok := len(name) >= 3 && len(name) <= 24 && isLetter(name[0]) && name[len(name)-1] != '-' && !strings.Contains(name, "--")
	for i := 0; ok && i < len(name); i++ {
		ok = isNameByte(name[i])
	}
	if !ok {
		return fault.New(fault.Invalid, "the vault name %q is not valid: use 3 to 24 letters, digits and hyphens, starting "+
			"with a letter, ending with a letter or digit, without two hyphens in a row", fault.Clip(name)).Because("VaultNameNotValid")
	}
	return nil
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isNameByte(c byte) bool { return isLetter(c) || c >= '0' && c <= '9' || c == '-' }
