package authz

import (
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// Duty is a class of actions that an organisation may want in different hands. It is a bit, so that several can be joined.
type Duty uint8

// The duties. Looking at names and properties is no duty.
const (
	NoDuty Duty = 0
	// CanUse is getting at what is kept: reading values, using keys.
	CanUse Duty = 1 << (iota - 1)
	// CanChange is changing what is kept, where it is kept and who has access to it.
	CanChange
	// CanApprove is approving the changes of others.
	CanApprove
	// CanAudit is reading and exporting the audit log.
	CanAudit
)

var dutyNames = []struct {
	duty Duty
	name string
}{{CanUse, "use"}, {CanChange, "change"}, {CanApprove, "approve"}, {CanAudit, "audit"}}

// String names the duties, joined with "+".
func (d Duty) String() string {
	var names []string
	for _, n := range dutyNames {
		if d&n.duty != 0 {
			names = append(names, n.name)
		}
	}
	if names == nil {
		return "none"
	}
	return strings.Join(names, "+")
}

// DutiesOf returns the duties of a set of actions.
func DutiesOf(s Set) Duty {
	var d Duty
	for _, a := range s.Actions() {
		d |= a.Duty()
	}
	return d
}

// Stance is what to do about two duties in one hand.
type Stance string

// The stances.
const (
	Off    Stance = "off"
	Flag   Stance = "flag"
	Refuse Stance = "refuse"
)

// Rule says what to do when one principal has both duties at one place and time.
type Rule struct {
	A, B   Duty
	Stance Stance
}

// DefaultRules returns the rules of a tenant that has set none: nobody should approve or audit what they change without
// somebody taking note.
func DefaultRules() []Rule {
	return []Rule{
		{CanUse, CanChange, Off},
		{CanUse, CanApprove, Off},
		{CanUse, CanAudit, Off},
		{CanChange, CanApprove, Flag},
		{CanChange, CanAudit, Flag},
		{CanApprove, CanAudit, Flag},
	}
}

// CheckRules reports what is wrong with rules that somebody set.
func CheckRules(rules []Rule) error {
	seen := make(map[Duty]bool)
	for _, r := range rules {
		switch {
		case !r.A.single() || !r.B.single() || r.A == r.B:
			return fault.New(fault.Invalid, "a rule of duties joins %s and %s: it must join two different ones of use, change, approve and audit", r.A, r.B)
		case r.Stance != Off && r.Stance != Flag && r.Stance != Refuse:
			return fault.New(fault.Invalid, "the rule on %s and %s says %q: it must say off, flag or refuse", r.A, r.B, fault.Clip(string(r.Stance)))
		case seen[r.A|r.B]:
			return fault.New(fault.Invalid, "there are two rules on %s and %s: keep one", r.A, r.B)
		}
		seen[r.A|r.B] = true
	}
	return nil
}

func (d Duty) single() bool { return d == CanUse || d == CanChange || d == CanApprove || d == CanAudit }

// Holding is something that gives one principal duties at a scope for a time: a grant, of the principal itself or of one
// of its groups, or an access policy.
type Holding struct {
	// Name is for messages.
	Name               string
	Scope              Scope
	Duties             Duty
	NotBefore, Expires time.Time
}

// HoldingOf returns what a grant of a role gives. An unreadable scope is an error of ParseScope.
func HoldingOf(g *principal.Grant, r *principal.Role) (Holding, error) {
	scope, err := ParseScope(g.Scope)
	if err != nil {
		return Holding{}, err
	}
	return Holding{Name: fmt.Sprintf("%q at %s", r.Name, scope), Scope: scope, Duties: DutiesOf(Allows(r)), NotBefore: g.NotBefore, Expires: g.Expires}, nil
}

// HoldingOfPolicy returns what an access policy of a vault gives.
func HoldingOfPolicy(p *vault.AccessPolicy, v *vault.Vault) Holding {
	return Holding{Name: "the access policy of the vault " + v.Name, Scope: VaultScope(v), Duties: DutiesOf(PolicyAllows(p)),
		NotBefore: p.NotBefore, Expires: p.Expires}
}

// Conflict is two duties in one hand where a rule minds it.
type Conflict struct {
	Rule Rule
	// A and B give the two duties of the rule, in its order. They are the same when one holding gives both.
	A, B Holding
	// Scope is where both apply: the narrower of the two scopes.
	Scope Scope
}

// String says the conflict in one sentence.
func (c Conflict) String() string {
	if c.A == c.B {
		return fmt.Sprintf("%s lets one principal both %s and %s at %s", c.A.Name, c.Rule.A, c.Rule.B, c.Scope)
	}
	return fmt.Sprintf("%s and %s together let one principal both %s and %s at %s", c.A.Name, c.B.Name, c.Rule.A, c.Rule.B, c.Scope)
}

// Conflicts finds the pairs among one principal's holdings that give it two duties which the rules keep apart, at scopes
// of which one contains the other and at times that overlap. A single holding can be such a pair. Rules that are off find
// nothing.
func Conflicts(holdings []Holding, rules []Rule) []Conflict {
	var found []Conflict
	for _, r := range rules {
		if r.Stance == Off {
			continue
		}
		for _, a := range holdings {
			for _, b := range holdings {
				if a.Duties&r.A == 0 || b.Duties&r.B == 0 || !a.Scope.Overlaps(b.Scope) || !sameTime(a, b) {
					continue
				}
				found = append(found, Conflict{Rule: r, A: a, B: b, Scope: narrower(a.Scope, b.Scope)})
			}
		}
	}
	return found
}

func narrower(a, b Scope) Scope {
	if a.Contains(b) {
		return b
	}
	return a
}

// sameTime reports whether there is an instant at which both holdings are live.
func sameTime(a, b Holding) bool {
	start := a.NotBefore
	if b.NotBefore.After(start) {
		start = b.NotBefore
	}
	return liveness(start, a.NotBefore, a.Expires) == Counts && liveness(start, b.NotBefore, b.Expires) == Counts
}

// CheckConflicts returns an error when a conflict is to be refused: a fault.Forbidden that names the first.
func CheckConflicts(conflicts []Conflict) error {
	for _, c := range conflicts {
		if c.Rule.Stance == Refuse {
			return fault.New(fault.Forbidden, "this is refused because duties must stay apart: %s; remove the other grant first, choose a narrower role, or "+
				"change the rule on %s and %s", c, c.Rule.A, c.Rule.B).Because("ConflictingDuties")
		}
	}
	return nil
}
