package tenancy

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// VaultSpec says what a vault shall be. A nil or empty member leaves what there is or, in a new vault, takes the default.
type VaultSpec struct {
	Location string
	// Tags replaces all tags.
	Tags map[string]string
	// Tenant must be the caller's when it is set.
	Tenant  vault.TenantID
	Premium *bool
	Access  vault.AccessModel
	// NewAccess is the access model of a new vault for which Access says none; AccessByRole when empty too.
	NewAccess vault.AccessModel
	// Policies replaces all access policies.
	Policies *[]vault.AccessPolicy
	// Network replaces the rules, but for PublicAccess.
	Network      *vault.NetworkRules
	PublicAccess *bool
	// RetentionDays can be chosen for a new vault only; PurgeProtection can only be set to true.
	RetentionDays   *int
	PurgeProtection *bool
	// SoftDelete can only be true: every vault has it.
	SoftDelete *bool

	// StaleFor is how far behind the store a node may be and still answer reads of secrets.
	StaleFor *time.Duration

	// KeysNotManaged takes the keys of the vault from the management plane, or gives them back.
	KeysNotManaged *bool

	ForDeployment, ForDiskEncryption, ForTemplateDeployment *bool
}

// onlyNetwork reports whether the spec changes network rules and nothing else.
func (s *VaultSpec) onlyNetwork() bool {
	rest := *s
	rest.Network, rest.PublicAccess = nil, nil
	return (s.Network != nil || s.PublicAccess != nil) && rest.empty()
}

func (s *VaultSpec) empty() bool {
	return s.Location == "" && s.Tags == nil && s.Tenant == "" && s.Premium == nil && s.Access == "" && s.Policies == nil && s.Network == nil &&
		s.PublicAccess == nil && s.RetentionDays == nil && s.PurgeProtection == nil && s.SoftDelete == nil && s.ForDeployment == nil &&
		s.ForDiskEncryption == nil && s.ForTemplateDeployment == nil && s.KeysNotManaged == nil && s.StaleFor == nil
}

// apply changes v, which belongs to the caller, as the spec says. It keeps nothing of the spec. fresh is true for a vault that does not exist yet.
func (s *VaultSpec) apply(v *vault.Vault, fresh bool) error {
	if s.Tenant != "" && s.Tenant != v.Tenant {
		return badRequest("the tenant %q is not the one that the vault belongs to, %s: leave it as it is", fault.Clip(string(s.Tenant)), v.Tenant)
	}
	if location := Location(s.Location); location != "" && location != v.Location {
		return fault.New(fault.Conflict, "the vault %q is in %s and cannot move to %s: use its location, or another name", v.Name, v.Location, fault.Clip(location)).
			Because(InvalidResourceLocation)
	}
	if err := s.applyRetention(v, fresh); err != nil {
		return err
	}
	if s.Tags != nil {
		v.Tags = maps.Clone(s.Tags)
	}
	if s.Access != "" {
		v.Access = s.Access
	}
	if s.Policies != nil {
		v.Policies = vault.ClonePolicies(*s.Policies)
	}
	if s.Network != nil {
		public := v.Network.PublicAccess
		v.Network = s.Network.Clone()
		v.Network.PublicAccess = public
	}
	set(&v.Network.PublicAccess, s.PublicAccess)
	set(&v.Premium, s.Premium)
	set(&v.KeysNotManaged, s.KeysNotManaged)
	set(&v.EnabledForDeployment, s.ForDeployment)
	set(&v.EnabledForDiskEncryption, s.ForDiskEncryption)
	set(&v.EnabledForTemplateDeployment, s.ForTemplateDeployment)
	set(&v.StaleFor, s.StaleFor)
	return checkVault(v)
}

func (s *VaultSpec) applyRetention(v *vault.Vault, fresh bool) error {
	if s.SoftDelete != nil && !*s.SoftDelete {
		return badRequest("the property \"enableSoftDelete\" cannot be false: every vault has soft-delete; leave the property out")
	}
	if s.PurgeProtection != nil && !*s.PurgeProtection {
		return badRequest("the property \"enablePurgeProtection\" cannot be set to false: purge protection cannot be taken back; leave the property out")
	}
	set(&v.PurgeProtection, s.PurgeProtection)
	switch {
	case s.RetentionDays == nil:
	case fresh:
		v.RetentionDays = *s.RetentionDays
	case *s.RetentionDays != v.RetentionDays:
		return badRequest("the property \"softDeleteRetentionInDays\" has been set to %d already and it can't be modified", v.RetentionDays)
	}
	if v.RetentionDays < vault.MinRetentionDays || v.RetentionDays > vault.MaxRetentionDays {
		return badRequest("the property \"softDeleteRetentionInDays\" is %d: choose %d to %d days", v.RetentionDays, vault.MinRetentionDays, vault.MaxRetentionDays)
	}
	return nil
}

func set[V any](to, from *V) {
	if from != nil {
		*to = *from
	}
}

func badRequest(format string, args ...any) error {
	return fault.New(fault.Invalid, format, args...).Because("BadRequest")
}

// checkVault reports what is wrong with a vault that is about to be stored.
func checkVault(v *vault.Vault) error {
	if v.Access != vault.AccessByRole && v.Access != vault.AccessByPolicy {
		return badRequest("the access model %q is not known: use %s or %s", fault.Clip(string(v.Access)), vault.AccessByRole, vault.AccessByPolicy)
	}
	if v.StaleFor < 0 || v.StaleFor > vault.MaxStaleFor {
		return badRequest("the vault is to be read for %s behind the store: choose 0s to %s", v.StaleFor, vault.MaxStaleFor)
	}
	if err := checkTags(v.Tags); err != nil {
		return err
	}
	if err := checkPolicies(v); err != nil {
		return err
	}
	return checkNetwork(&v.Network)
}

// checkPolicies checks the access policies and brings them into their canonical form.
func checkPolicies(v *vault.Vault) error {
	if len(v.Policies) > vault.MaxAccessPolicies {
		return badRequest("%d access policies are too many: a vault has at most %d; grant to groups instead", len(v.Policies), vault.MaxAccessPolicies)
	}
	seen := make(map[holder]bool, len(v.Policies))
	for i := range v.Policies {
		p := &v.Policies[i]
		if err := checkPolicy(p, v.Tenant); err != nil {
			return err
		}
		if seen[holderOf(p)] {
			return badRequest("there are two access policies for %s: join them into one", p.Principal)
		}
		seen[holderOf(p)] = true
	}
	return nil
}

// holder is for whom an access policy is. A vault has one policy for each.
type holder struct{ principal, application string }

func holderOf(p *vault.AccessPolicy) holder { return holder{p.Principal, p.Application} }

func checkPolicy(p *vault.AccessPolicy, t vault.TenantID) error {
	var err error
	if p.Principal, err = vault.ParseGUID(p.Principal); err != nil {
		return badRequest("the object id of an access policy must be a GUID: %v", err)
	}
	if p.Application != "" {
		if p.Application, err = vault.ParseGUID(p.Application); err != nil {
			return badRequest("the application id of an access policy must be a GUID: %v", err)
		}
	}
	if p.Tenant != t {
		return badRequest("the access policy of %s names the tenant %q: it must be the vault's, %s", p.Principal, fault.Clip(string(p.Tenant)), t)
	}
	if !p.Expires.IsZero() && !p.Expires.After(p.NotBefore) {
		return badRequest("the access policy of %s ends before it begins: choose a later end", p.Principal)
	}
	for _, words := range []*[]string{&p.Secrets, &p.Keys, &p.Certificates, &p.Storage} {
		*words = canonicalWords(*words)
	}
	return authz.CheckPolicy(p)
}

// canonicalWords puts permissions into lower case and drops those that are there twice; the order stays.
func canonicalWords(words []string) []string {
	var list []string
	for _, w := range words {
		if w = strings.ToLower(w); !slices.Contains(list, w) {
			list = append(list, w)
		}
	}
	return list
}
