package authz

import (
	"strings"
	"time"
)

// Verdict is what was found when one grant or access policy was held against one request.
type Verdict uint8

// The verdicts. Only Counts allows.
const (
	// unjudged is the zero value, so that forgetting to judge allows nothing.
	unjudged Verdict = iota
	Counts
	OtherTenant
	UnreadableScope
	UnknownRole
	OtherScope
	LacksAction
	MayNotAssign
	OtherApplication
	OtherModel
	SwitchedOff
	NotYet
	Over
)

var verdictTexts = map[Verdict]string{
	Counts:           "allows it",
	OtherTenant:      "belongs to another tenant, so it never counts",
	UnreadableScope:  "has a scope that cannot be understood, so it never counts",
	UnknownRole:      "names a role that does not exist, so it never counts",
	OtherScope:       "is at a scope that does not contain what was asked about",
	LacksAction:      "does not include the action",
	MayNotAssign:     "includes the action, but not for the role that is being assigned or removed",
	OtherApplication: "holds only through another application",
	OtherModel:       "would allow it, but the vault uses the other access model",
	SwitchedOff:      "would allow it, but the vault is not enabled for what the role is for",
	NotYet:           "would allow it, but has not begun yet",
	Over:             "would have allowed it, but is over",
}

// String says the verdict in words that follow the name of a grant or policy.
func (v Verdict) String() string {
	if text, ok := verdictTexts[v]; ok {
		return text
	}
	return "was not considered"
}

// code returns what a verdict means for the decision.
func (v Verdict) code(isGrant bool) Code {
	switch v {
	case Counts:
		if isGrant {
			return ByGrant
		}
		return ByPolicy
	case MayNotAssign:
		return NotAssignable
	case OtherModel:
		return ModelNotUsed
	case SwitchedOff:
		return NotEnabled
	case NotYet:
		return NotLiveYet
	case Over:
		return NotLiveAnyMore
	}
	return NoGrant
}

func (s *Snapshot) considerGrant(g *grant, r *Request, target Scope, now time.Time) Verdict {
	switch {
	case g.never != unjudged:
		return g.never
	case !g.scope.Contains(target):
		return OtherScope
	case !g.role.allows.Has(r.Action):
		return LacksAction
	case !g.role.mayAssign(r.Action, r.AssignedRole):
		return MayNotAssign
	case !g.role.provisions.admitted(s.vault):
		return SwitchedOff
	case g.role.provisions == notProvisioner && s.ignores(r.Action, false):
		return OtherModel
	}
	return liveness(now, g.NotBefore, g.Expires)
}

func (s *Snapshot) considerPolicy(p *policy, r *Request, target Scope, now time.Time) Verdict {
	switch {
	case p.never != unjudged:
		return p.never
	case !s.scope.Contains(target):
		return OtherScope
	case !p.allows.Has(r.Action):
		return LacksAction
	case p.Application != "" && !strings.EqualFold(p.Application, r.Caller.AppID):
		return OtherApplication
	case s.ignores(r.Action, true):
		return OtherModel
	}
	return liveness(now, p.NotBefore, p.Expires)
}

func liveness(now, notBefore, expires time.Time) Verdict {
	switch {
	case now.Before(notBefore):
		return NotYet
	case !expires.IsZero() && !now.Before(expires):
		return Over
	}
	return Counts
}
