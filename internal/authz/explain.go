package authz

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// Explanation is a decision with everything that was looked at on the way to it.
type Explanation struct {
	Decision Decision
	// Steps holds one entry for each grant and policy of the caller and the caller's groups.
	Steps []Step
	// Others counts the grants and policies that belong to others and were left out.
	Others int
}

// Step is one grant or access policy and what was found about it.
type Step struct {
	// One of the two is set.
	Grant  *principal.Grant
	Policy *vault.AccessPolicy
	// Role is the name of the grant's role; "" for a policy and for a role that does not exist.
	Role string
	// Via is the principal or group that holds it.
	Via     principal.ID
	Verdict Verdict
}

// String is the step as a sentence.
func (s Step) String() string {
	if s.Policy != nil {
		return fmt.Sprintf("the access policy of %s %s%s", s.Via, s.Verdict, during(s.Verdict, s.Policy.NotBefore, s.Policy.Expires))
	}
	role := s.Role
	if role == "" {
		role = s.Grant.Role
	}
	return fmt.Sprintf("the grant %s of %q to %s at %s %s%s", s.Grant.ID, role, s.Via, s.Grant.Scope, s.Verdict,
		during(s.Verdict, s.Grant.NotBefore, s.Grant.Expires))
}

// during adds the instant on which a verdict about time turns.
func during(v Verdict, notBefore, expires time.Time) string {
	switch {
	case v == NotYet:
		return " (it begins at " + notBefore.UTC().Format(time.RFC3339) + ")"
	case v == Over:
		return " (it ended at " + expires.UTC().Format(time.RFC3339) + ")"
	case v == Counts && !expires.IsZero():
		return " until " + expires.UTC().Format(time.RFC3339)
	}
	return ""
}

// String is the whole explanation: the decision, then a line for each step.
func (e Explanation) String() string {
	var b strings.Builder
	verb := "refused"
	if e.Decision.Allowed {
		verb = "allowed"
	}
	fmt.Fprintf(&b, "%s: %s\n", verb, e.Decision.Reason())
	for _, s := range e.Steps {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	if len(e.Steps) == 0 {
		b.WriteString("- the caller and the caller's groups hold no grant and no access policy here\n")
	}
	return b.String()
}

// Explain decides as Decide does and tells how it came to it. A refusal for reasons other than grants, such as another
// tenant, has no steps.
func Explain(r Request, s *Snapshot, now time.Time) Explanation {
	e := Explanation{Decision: Decide(r, s, now)}
	if target, code := s.target(r); code == "" {
		e.look(r, target, s, now)
	}
	return e
}

// ExplainAt decides as DecideAt does and tells how it came to it.
func ExplainAt(r Request, at Scope, s *Snapshot, now time.Time) Explanation {
	e := Explanation{Decision: DecideAt(r, at, s, now)}
	if e.Decision.Code != NoSuchTarget && s.check(r) == "" {
		e.look(r, at, s, now)
	}
	return e
}

func (e *Explanation) look(r Request, target Scope, s *Snapshot, now time.Time) {
	s.each(&r.Caller, func(via principal.ID, g *grant, p *policy) {
		if p != nil {
			e.Steps = append(e.Steps, Step{Policy: p.AccessPolicy, Via: via, Verdict: s.considerPolicy(p, &r, target, now)})
			return
		}
		step := Step{Grant: g.Grant, Via: via, Verdict: s.considerGrant(g, &r, target, now)}
		if g.role != nil {
			step.Role = g.role.name
		}
		e.Steps = append(e.Steps, step)
	})
	e.Others = s.count() - len(e.Steps)
}

// count returns how many grants and policies the snapshot holds.
func (s *Snapshot) count() int {
	n := 0
	for _, list := range s.grants {
		n += len(list)
	}
	for _, list := range s.policies {
		n += len(list)
	}
	return n
}

// Holder is a principal or group that may do what was asked, and by what right.
type Holder struct {
	Principal principal.ID
	// Kind is as the grant says; "" for an access policy, which does not tell.
	Kind principal.Kind
	// Application, when set, is the client id through which alone the holder may.
	Application string
	// One of the two is set. Role is the name of the grant's role.
	Grant  *principal.Grant
	Policy *vault.AccessPolicy
	Role   string
	// Until is when the right ends; zero means never.
	Until time.Time
}

// WhoCan lists every principal and group that may do the request's action on its object now, one entry for each grant or
// policy that allows it, in the order of principals. The request's caller and address are ignored.
func WhoCan(r Request, s *Snapshot, now time.Time) []Holder {
	r.Caller = Caller{Tenant: s.tenant}
	target, code := s.target(r)
	if code != "" {
		return nil
	}
	return s.holders(r, target, now)
}

// WhoCanAt is WhoCan for a control-plane action at any scope.
func WhoCanAt(r Request, at Scope, s *Snapshot, now time.Time) []Holder {
	r.Caller = Caller{Tenant: s.tenant}
	if s.check(r) != "" || r.Action.Plane() != Control || at.level == noScope {
		return nil
	}
	return s.holders(r, at, now)
}

func (s *Snapshot) holders(r Request, target Scope, now time.Time) []Holder {
	var list []Holder
	for id, grants := range s.grants {
		for _, g := range grants {
			if s.considerGrant(g, &r, target, now) == Counts {
				list = append(list, Holder{Principal: id, Kind: g.PrincipalKind, Grant: g.Grant, Role: g.role.name, Until: g.Expires})
			}
		}
	}
	for id, policies := range s.policies {
		for _, p := range policies {
			// Whoever acts through the policy's own application may.
			r.Caller.AppID = p.Application
			if s.considerPolicy(p, &r, target, now) == Counts {
				list = append(list, Holder{Principal: id, Application: p.Application, Policy: p.AccessPolicy, Until: p.Expires})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(a.Principal, b.Principal), cmp.Compare(grantID(a), grantID(b)))
	})
	return list
}

func grantID(h Holder) string {
	if h.Grant == nil {
		return ""
	}
	return h.Grant.ID
}
