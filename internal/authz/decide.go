package authz

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// Caller is who asks, as a verified token says.
type Caller struct {
	Tenant    vault.TenantID
	Principal principal.ID
	// Groups are the groups that the caller belongs to.
	Groups []principal.ID
	// AppID is the client id through which the caller acts.
	AppID string
	// Issuer is the token's issuer. It only appears in refusals.
	Issuer string
}

// Request is what a caller asks to do.
type Request struct {
	Caller Caller
	Action Action
	// Kind and Name say which object; both are empty for the vault as a whole, as in a listing.
	Kind vault.Kind
	Name string
	// AssignedRole is the role that is being assigned or removed, for RoleAssignmentWrite and RoleAssignmentDelete: some roles
	// let their holders assign certain roles only.
	AssignedRole string
	// Address, when valid, subjects a data action to the vault's network rules as well. Trusted is true for a service that
	// the installation vouches for.
	Address netip.Addr
	Trusted bool
}

// Code says in one word why a decision is what it is.
type Code string

// The codes. The first two allow; every other refuses.
const (
	ByGrant  Code = "grant"
	ByPolicy Code = "policy"

	NoGrant        Code = "no-grant"
	NotLiveYet     Code = "not-live-yet"
	NotLiveAnyMore Code = "expired"
	ModelNotUsed   Code = "other-access-model"
	NotEnabled     Code = "vault-not-enabled"
	NotAssignable  Code = "role-not-assignable"
	ForeignTenant  Code = "other-tenant"
	NoSuchAction   Code = "unknown-action"
	NoSuchTarget   Code = "unknown-target"
	ByFirewall     Code = "firewall"
	ByConnection   Code = "connection"
)

// Decision is the answer to a request, with its reason.
type Decision struct {
	Allowed bool
	Code    Code
	Action  Action
	// Target is the scope that was asked about.
	Target Scope
	// Grant or Policy is what allowed the request or, for NotLiveYet, NotLiveAnyMore, ModelNotUsed, NotEnabled and NotAssignable, what
	// would have. Role is the name of the grant's role; Via is the principal or group that holds it.
	Grant  *principal.Grant
	Role   string
	Policy *vault.AccessPolicy
	Via    principal.ID
	// Window is the time for which the decision holds, as long as the facts do.
	Window
}

// Decide says whether the caller may do the action in the snapshot's vault.
func Decide(r Request, s *Snapshot, now time.Time) Decision {
	target, code := s.target(r)
	if code != "" {
		return Decision{Code: code, Action: r.Action, Target: target}
	}
	if r.Action.Plane() == Data && r.Address.IsValid() {
		if ok, reason := s.Admit(r.Address, r.Trusted); !ok {
			return Decision{Code: networkCode(reason), Action: r.Action, Target: target}
		}
	}
	d := decide(r, target, s, now)
	if target.level == collectionLevel {
		d.Target = s.scope // which the request named
	}
	return d
}

// DecideAt says whether the caller may do a control-plane action at any scope of the tenant: a subscription, a resource
// group, the tenant itself. The snapshot must hold the grants of the scope's chain.
func DecideAt(r Request, at Scope, s *Snapshot, now time.Time) Decision {
	if code := s.check(r); code != "" {
		return Decision{Code: code, Action: r.Action, Target: at}
	}
	if r.Action.Plane() != Control || at.level == noScope {
		return Decision{Code: NoSuchTarget, Action: r.Action, Target: at}
	}
	return decide(r, at, s, now)
}

// check refuses what no grant could allow.
func (s *Snapshot) check(r Request) Code {
	switch {
	case !s.ownTenant(r.Caller):
		return ForeignTenant
	case !r.Action.Known():
		return NoSuchAction
	}
	return ""
}

// ownTenant reports whether caller, facts and vault are all of one tenant.
func (s *Snapshot) ownTenant(c Caller) bool {
	return c.Tenant != "" && c.Tenant == s.tenant && (s.vault == nil || s.vault.Tenant == s.tenant)
}

// target returns the scope of the vault or object that a request is about. What is about keys and names none, such as a listing, is about all of them. Random bytes come
// from no key.
func (s *Snapshot) target(r Request) (Scope, Code) {
	if code := s.check(r); code != "" {
		return s.scope, code
	}
	switch {
	case s.vault == nil:
		return Scope{}, NoSuchTarget
	case r.Name == "" && r.Kind == "" && aboutAllKeys.Has(r.Action):
		return s.scope.AllKeys(), ""
	case r.Name == "" && r.Kind == "":
		return s.scope, ""
	case r.Name == "" || r.Kind != vault.Secret && r.Kind != vault.Key && r.Kind != vault.Certificate:
		return s.scope, NoSuchTarget
	}
	return s.scope.Object(r.Kind, r.Name), ""
}

// aboutAllKeys holds the actions that are about all keys of a vault when no key is named.
var aboutAllKeys = func() Set {
	var s Set
	for _, a := range Actions() {
		if a.Plane() == Data && a.Kind() == vault.Key && a != KeyRandom {
			s.add(a)
		}
	}
	return s
}()

func networkCode(reason fault.Reason) Code {
	if reason == ForbiddenByConnection {
		return ByConnection
	}
	return ByFirewall
}

// decide looks at everything that the caller holds. The first thing that counts allows; the whole list is read all the
// same, for the window.
func decide(r Request, target Scope, s *Snapshot, now time.Time) Decision {
	d := Decision{Code: NoGrant, Action: r.Action, Target: target}
	s.each(&r.Caller, func(via principal.ID, g *grant, p *policy) {
		var v Verdict
		if g != nil {
			v = s.considerGrant(g, &r, target, now)
			d.narrow(now, g.NotBefore, g.Expires)
		} else {
			v = s.considerPolicy(p, &r, target, now)
			d.narrow(now, p.NotBefore, p.Expires)
		}
		if code := v.code(g != nil); !d.Allowed && rank[code] > rank[d.Code] {
			d.Allowed, d.Code, d.Via = v == Counts, code, via
			d.Grant, d.Role, d.Policy = nil, "", nil
			if g != nil {
				d.Grant, d.Role = g.Grant, g.role.name
			} else {
				d.Policy = p.AccessPolicy
			}
		}
	})
	return d
}

// rank orders what is worth telling the caller: what allowed, else what came nearest to it.
var rank = map[Code]int{NoGrant: 0, NotAssignable: 1, ModelNotUsed: 2, NotEnabled: 3, NotLiveAnyMore: 4, NotLiveYet: 5, ByGrant: 6, ByPolicy: 6}

// each calls fn for every grant and policy of the caller and of the caller's groups, once each; one of the two is nil.
func (s *Snapshot) each(c *Caller, fn func(via principal.ID, g *grant, p *policy)) {
	for i := -1; i < len(c.Groups); i++ {
		id := c.Principal
		if i >= 0 {
			id = c.Groups[i]
		}
		id = canonical(id)
		grants, policies := s.grants[id], s.policies[id]
		if len(grants)+len(policies) == 0 || c.named(id, i) {
			continue
		}
		for _, g := range grants {
			fn(id, g, nil)
		}
		for _, p := range policies {
			fn(id, nil, p)
		}
	}
}

// named reports whether the principal or a group before the i-th has the id already.
func (c *Caller) named(id principal.ID, i int) bool {
	if i < 0 {
		return false
	}
	return canonical(c.Principal) == id || slices.ContainsFunc(c.Groups[:i], func(g principal.ID) bool { return canonical(g) == id })
}

// Reason says in one sentence why the decision is what it is.
func (d Decision) Reason() string {
	switch d.Code {
	case ByGrant, ByPolicy:
		return "allowed by " + d.holding()
	case NoGrant:
		return fmt.Sprintf("nothing that the caller holds allows %s at %s", d.Action, d.Target)
	case NotLiveYet:
		return d.holding() + " allows it, but has not begun yet"
	case NotLiveAnyMore:
		return d.holding() + " allowed it, but is over"
	case ModelNotUsed:
		return d.holding() + " would allow it, but the vault uses the other access model"
	case NotEnabled:
		return d.holding() + " would allow it, but the vault is not enabled for what the role is for: see enabledForDeployment, " +
			"enabledForTemplateDeployment and enabledForDiskEncryption"
	case NotAssignable:
		return d.holding() + " does not extend to the role that is being assigned or removed"
	case ForeignTenant:
		return "the caller belongs to another tenant"
	case NoSuchAction:
		return "the action is not known"
	case NoSuchTarget:
		return "the request names no vault or object that the action could be about"
	case ByFirewall:
		return "the vault's network rules do not admit the caller's address"
	case ByConnection:
		return "the vault has no public network access"
	}
	return "refused"
}

// holding names the grant or policy of the decision.
func (d Decision) holding() string {
	if d.Grant != nil {
		return fmt.Sprintf("the grant %s of %q at %s to %s", d.Grant.ID, d.Role, d.Grant.Scope, d.Via)
	}
	return fmt.Sprintf("the access policy of %s", d.Via)
}
