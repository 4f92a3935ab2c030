package authz

import (
	"strings"
	"unicode"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// Scope is a place in the tree at which a role can be granted: the tenant, a subscription, a resource group, a vault, all keys of a vault, or
// one object. It is comparable; two spellings of one place are equal. The zero value is no scope and contains nothing.
type Scope struct {
	level        level
	subscription vault.SubscriptionID
	// The names are in lower case.
	group, vault string
	kind         vault.Kind
	object       string
}

type level uint8

const (
	noScope level = iota
	tenantLevel
	subscriptionLevel
	groupLevel
	vaultLevel
	collectionLevel
	objectLevel
)

// TenantScope is the scope "/", the top of a tenant's tree.
func TenantScope() Scope { return Scope{level: tenantLevel} }

// SubscriptionScope returns the scope of a subscription.
func SubscriptionScope(s vault.SubscriptionID) Scope {
	return Scope{level: subscriptionLevel, subscription: vault.SubscriptionID(strings.ToLower(string(s)))}
}

// Group returns the scope of a resource group of s's subscription.
func (s Scope) Group(name string) Scope {
	return Scope{level: groupLevel, subscription: s.subscription, group: strings.ToLower(name)}
}

// Vault returns the scope of a vault of s's resource group.
func (s Scope) Vault(name string) Scope {
	return Scope{level: vaultLevel, subscription: s.subscription, group: s.group, vault: strings.ToLower(name)}
}

// Object returns the scope of an object of s's vault.
func (s Scope) Object(k vault.Kind, name string) Scope {
	s.level, s.kind, s.object = objectLevel, k, vault.NameKey(name)
	return s
}

// AllKeys returns the scope of all keys of s's vault. The administration API of Managed HSM has it; secrets and certificates have no such scope.
func (s Scope) AllKeys() Scope {
	s.level, s.kind, s.object = collectionLevel, vault.Key, ""
	return s
}

// VaultScope returns the scope of a vault.
func VaultScope(v *vault.Vault) Scope {
	return SubscriptionScope(v.Subscription).Group(v.ResourceGroup).Vault(v.Name)
}

// collections are the words for the kinds of objects in a scope.
var collections = map[string]vault.Kind{"secrets": vault.Secret, "keys": vault.Key, "certificates": vault.Certificate}

// ParseScope reads a scope as a resource id, without regard to case. A scope that exists in Azure but not here (a
// management group, a resource of another provider) is a fault.Unsupported; anything else that is not a scope is a
// fault.Invalid.
func ParseScope(s string) (Scope, error) {
	if s == "/" {
		return TenantScope(), nil
	}
	if !strings.HasPrefix(s, "/") {
		return Scope{}, invalidScope(s, "it must start with a slash")
	}
	parts := strings.Split(strings.TrimSuffix(s[1:], "/"), "/")
	if strings.EqualFold(parts[0], "providers") {
		return Scope{}, providerScope(s, parts[1:])
	}
	if !strings.EqualFold(parts[0], "subscriptions") || len(parts) < 2 {
		return Scope{}, invalidScope(s, "it must be / or begin with /subscriptions/")
	}
	id, err := vault.ParseGUID(parts[1])
	if err != nil {
		return Scope{}, invalidScope(s, "the subscription must be a GUID")
	}
	scope := SubscriptionScope(vault.SubscriptionID(id))
	if len(parts) == 2 {
		return scope, nil
	}
	return parseGroup(s, scope, parts[2:])
}

func parseGroup(s string, scope Scope, parts []string) (Scope, error) {
	if strings.EqualFold(parts[0], "providers") {
		return Scope{}, providerScope(s, parts[1:])
	}
	if !strings.EqualFold(parts[0], "resourceGroups") || len(parts) < 2 {
		return Scope{}, invalidScope(s, "a subscription is followed by /resourceGroups/ and a name")
	}
	if !isGroupName(parts[1]) {
		return Scope{}, invalidScope(s, "the resource group has a name that no group can have")
	}
	scope = scope.Group(parts[1])
	if len(parts) == 2 {
		return scope, nil
	}
	if !strings.EqualFold(parts[2], "providers") {
		return Scope{}, invalidScope(s, "a resource group is followed by /providers/")
	}
	return parseVault(s, scope, parts[3:])
}

func parseVault(s string, scope Scope, parts []string) (Scope, error) {
	if len(parts) < 3 || !strings.EqualFold(parts[0], "Microsoft.KeyVault") || !strings.EqualFold(parts[1], "vaults") {
		return Scope{}, providerScope(s, parts)
	}
	if err := vault.CheckName(parts[2]); err != nil {
		return Scope{}, invalidScope(s, "the vault has a name that no vault can have")
	}
	scope = scope.Vault(parts[2])
	switch len(parts) {
	case 3:
		return scope, nil
	case 4:
		if strings.EqualFold(parts[3], "keys") {
			return scope.AllKeys(), nil
		}
	case 5:
		kind, ok := collections[strings.ToLower(parts[3])]
		if !ok {
			return Scope{}, invalidScope(s, "a vault is followed by /secrets/, /keys/ or /certificates/ and a name")
		}
		if vault.CheckObjectName(parts[4]) != nil {
			return Scope{}, invalidScope(s, "the object has a name that no object can have")
		}
		return scope.Object(kind, parts[4]), nil
	}
	return Scope{}, invalidScope(s, "the narrowest scope is one object, /vaults/VAULT/secrets/NAME")
}

func invalidScope(s, why string) error {
	return fault.New(fault.Invalid, "%q is not a scope: %s", fault.Clip(s), why).Because("InvalidScope")
}

// providerScope refuses the scopes of Azure that have no place in this tree.
func providerScope(s string, rest []string) error {
	if len(rest) >= 2 && strings.EqualFold(rest[0], "Microsoft.Management") && strings.EqualFold(rest[1], "managementGroups") {
		return fault.New(fault.Unsupported, "the scope %q is a management group, which do not exist here: grant at / or at each subscription",
			fault.Clip(s)).Because("InvalidScope")
	}
	if len(rest) < 2 {
		return invalidScope(s, "a provider is followed by a type and a name")
	}
	return fault.New(fault.Unsupported, "the scope %q is a resource on which roles cannot be granted here: use a vault, or the resource group or "+
		"subscription above it", fault.Clip(s)).Because("InvalidScope")
}

// isGroupName follows the naming rules of Azure Resource Manager: 1 to 90 letters, digits, underscores, hyphens, periods
// and parentheses, not ending in a period.
func isGroupName(s string) bool {
	const most = 90
	n := 0
	for _, r := range s {
		n++
		if r == unicode.ReplacementChar || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("_-.()", r) {
			return false
		}
	}
	return n >= 1 && n <= most && !strings.HasSuffix(s, ".")
}

// Contains reports whether other is the scope itself or lies below it.
func (s Scope) Contains(other Scope) bool {
	if s.level == noScope || other.level < s.level {
		return false
	}
	return s == other.at(s.level)
}

// at returns the ancestor at a level at or above the scope's own.
func (s Scope) at(l level) Scope {
	a := Scope{level: l}
	if l >= subscriptionLevel {
		a.subscription = s.subscription
	}
	if l >= groupLevel {
		a.group = s.group
	}
	if l >= vaultLevel {
		a.vault = s.vault
	}
	if l >= collectionLevel {
		a.kind = s.kind
	}
	if l >= objectLevel {
		a.object = s.object
	}
	return a
}

// Overlaps reports whether one of the scopes contains the other.
func (s Scope) Overlaps(other Scope) bool { return s.Contains(other) || other.Contains(s) }

// Chain lists the scopes that contain s, from "/" down to s itself: where the grants are that count at s.
func (s Scope) Chain() []Scope {
	var chain []Scope
	for l := tenantLevel; l <= s.level; l++ {
		if l == collectionLevel && s.kind != vault.Key {
			continue // there is no such scope
		}
		chain = append(chain, s.at(l))
	}
	return chain
}

// String writes the scope as a resource id with the names in lower case. The zero value writes "no scope".
func (s Scope) String() string {
	switch s.level {
	case noScope:
		return "no scope"
	case tenantLevel:
		return "/"
	}
	id := "/subscriptions/" + string(s.subscription)
	if s.level >= groupLevel {
		id += "/resourceGroups/" + s.group
	}
	if s.level >= vaultLevel {
		id += "/providers/" + vaults + "/" + s.vault
	}
	if s.level >= collectionLevel {
		id += "/" + string(s.kind) + "s"
	}
	if s.level >= objectLevel {
		id += "/" + s.object
	}
	return id
}
