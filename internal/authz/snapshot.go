package authz

import (
	"net/netip"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// Facts is everything that bears on who may do what in one vault or, without a vault, with a tenant's other resources.
type Facts struct {
	Tenant vault.TenantID
	// Vault is the vault that is asked about; nil for the control plane outside vaults.
	Vault *vault.Vault
	// Grants are the role assignments at the scopes of the chain from "/" to the vault and, below it, at its objects. Grants
	// elsewhere do no harm: they never count. Expired grants and those yet to begin belong here too.
	Grants []*principal.Grant
	// Roles are the tenant's custom roles that the grants name. Built-in roles are known.
	Roles []*principal.Role
}

// Snapshot is Facts made ready for deciding. It is immutable and safe for concurrent use; the records that it was made of
// must not be changed afterwards.
type Snapshot struct {
	tenant  vault.TenantID
	vault   *vault.Vault
	scope   Scope
	network *Network
	// The keys are object ids in lower case.
	grants   map[principal.ID][]*grant
	policies map[principal.ID][]*policy
}

// grant is a role assignment with its scope read and its role compiled.
type grant struct {
	*principal.Grant
	scope Scope
	role  *compiledRole
	// never, when set, is why the grant cannot count at any time or place.
	never Verdict
}

// policy is an access policy with its words turned into actions.
type policy struct {
	*vault.AccessPolicy
	allows Set
	never  Verdict
}

// Compile makes a snapshot. It never fails: a grant that cannot be understood is kept, so that Explain can say what is
// wrong with it, and never counts.
func Compile(f Facts) *Snapshot {
	s := &Snapshot{tenant: f.Tenant, vault: f.Vault, grants: make(map[principal.ID][]*grant), policies: make(map[principal.ID][]*policy)}
	custom := make(map[string]*compiledRole, len(f.Roles))
	for _, r := range f.Roles {
		if id := RoleID(r.ID); id != "" && r.Tenant == f.Tenant {
			custom[id] = compileRole(r)
		}
	}
	for _, g := range f.Grants {
		if id := canonical(g.Principal); id != "" {
			s.grants[id] = append(s.grants[id], compileGrant(g, f.Tenant, custom))
		}
	}
	if f.Vault == nil {
		return s
	}
	s.scope = VaultScope(f.Vault)
	s.network = NewNetwork(f.Vault.Network)
	for i := range f.Vault.Policies {
		p := &f.Vault.Policies[i]
		if id := canonical(principal.ID(p.Principal)); id != "" {
			s.policies[id] = append(s.policies[id], compilePolicy(p, f.Tenant))
		}
	}
	return s
}

func compileGrant(g *principal.Grant, t vault.TenantID, custom map[string]*compiledRole) *grant {
	c := &grant{Grant: g, role: roleOf(g.Role, custom)}
	scope, err := ParseScope(g.Scope)
	c.scope = scope
	switch {
	case g.Tenant != t:
		c.never = OtherTenant
	case err != nil:
		c.never = UnreadableScope
	case c.role == nil:
		c.never = UnknownRole
	}
	return c
}

// roleOf finds a role. A custom role cannot take the place of a built-in one.
func roleOf(id string, custom map[string]*compiledRole) *compiledRole {
	id = RoleID(id)
	if b, ok := builtinByID()[id]; ok {
		return b.compiled
	}
	return custom[id]
}

func compilePolicy(p *vault.AccessPolicy, t vault.TenantID) *policy {
	c := &policy{AccessPolicy: p, allows: PolicyAllows(p)}
	if p.Tenant != t {
		c.never = OtherTenant
	}
	return c
}

func canonical(id principal.ID) principal.ID { return principal.ID(strings.ToLower(string(id))) }

// Vault returns the vault that the snapshot is about, or nil.
func (s *Snapshot) Vault() *vault.Vault { return s.vault }

// Admit reports whether the vault's network rules let a request from addr through, and else the reason of the refusal.
func (s *Snapshot) Admit(addr netip.Addr, trusted bool) (bool, fault.Reason) {
	if s.network == nil {
		return true, ""
	}
	return s.network.Admit(addr, trusted)
}

// ignores reports whether the vault's access model leaves grants (or, with policies, access policies) out of account for
// an action. The control plane always uses roles. A model that is not known uses neither.
func (s *Snapshot) ignores(a Action, policies bool) bool {
	if a.Plane() == Control {
		return policies
	}
	if policies {
		return s.vault.Access != vault.AccessByPolicy
	}
	return s.vault.Access != vault.AccessByRole
}

// Window is the time for which an answer holds: from From on, and before Until. Zero means no bound. Before and after it
// a grant that bears on the answer begins or ends.
type Window struct {
	From, Until time.Time
}

// Holds reports whether now is in the window.
func (w Window) Holds(now time.Time) bool {
	return !now.Before(w.From) && (w.Until.IsZero() || now.Before(w.Until))
}

// narrow takes the instants at which a grant begins and ends into account.
func (w *Window) narrow(now time.Time, instants ...time.Time) {
	for _, t := range instants {
		switch {
		case t.IsZero():
		case t.After(now):
			if w.Until.IsZero() || t.Before(w.Until) {
				w.Until = t
			}
		case t.After(w.From):
			w.From = t
		}
	}
}
