package rollout

import (
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// State is how far a rollout is.
type State string

// The states of a rollout. The last two are final.
const (
	// Waiting has no open ring yet: everyone gets the base.
	Waiting State = "waiting"
	Open    State = "open"
	// Finished gives everyone the candidate.
	Finished State = "finished"
	// Returned gives everyone the base again.
	Returned State = "returned"
)

// Rollout is the way of one version to its consumers. It is made by New; its rings are not changed afterwards.
type Rollout struct {
	Candidate vault.VersionID `json:"candidate"`
	// Base is empty when there was no version before the candidate.
	Base  vault.VersionID `json:"base,omitempty"`
	Rings []Ring          `json:"rings"`
	// Return says when the candidate is taken back without asking anybody.
	Return ReturnRules `json:"return,omitzero"`

	State State `json:"state"`
	// Opened counts the rings that are open.
	Opened int `json:"opened"`
	// Began is when the first ring was opened, Changed when the last one was, or when the rollout ended.
	Began   time.Time `json:"began,omitzero"`
	Changed time.Time `json:"changed,omitzero"`
}

// Ring selects consumers. Who is in several rings belongs to the first of them.
type Ring struct {
	Name string `json:"name"`
	// Principals, Groups and Percent each select on their own: whoever one of them names is in. Percent is the share of all consumers, by a
	// hash that stays the same while the rollout lasts, so that a greater percentage holds a smaller one.
	Principals []principal.ID `json:"principals,omitempty"`
	Groups     []principal.ID `json:"groups,omitempty"`
	Percent    int            `json:"percent,omitempty"`
	// Regions restrict the ring to consumers in one of them. Alone they select all of those.
	Regions []string `json:"regions,omitempty"`
	// Gate is what must hold, with this ring open, before the rollout goes on.
	Gate Gate `json:"gate,omitzero"`
}

// Gate is what must hold; the zero Gate always does. Everything in it must.
type Gate struct {
	// UsedPercent is the share of the live consumers in the open rings that have used the candidate; 100 means every one.
	UsedPercent int `json:"usedPercent,omitempty"`
	// MaxFailures bounds the failed logins at the target since the ring was opened; nil asks nothing.
	MaxFailures *int `json:"maxFailures,omitempty"`
	// MinLogins is how many logins with the candidate the target must have seen since the ring was opened.
	MinLogins int `json:"minLogins,omitempty"`
	// MinTime is how long the ring must have been open.
	MinTime time.Duration `json:"minTime,omitempty"`
	// Probe asks for a health probe that passed since the ring was opened, and is the latest.
	Probe bool `json:"probe,omitempty"`
	// Approval asks for a person's word on this ring.
	Approval bool `json:"approval,omitempty"`
}

// ReturnRules say when a rollout returns by itself. The zero ReturnRules never do.
type ReturnRules struct {
	// Failures returns when the failed logins since the latest ring was opened are more than this; nil never does.
	Failures *int `json:"failures,omitempty"`
	// FailurePermille returns when more than so many of a thousand logins failed, once there were at least 100 of them; 0 never does.
	FailurePermille int `json:"failurePermille,omitempty"`
	// Probes returns after so many failed health probes in a row; 0 never does.
	Probes int `json:"probes,omitempty"`
	// Stuck returns when a gate has not held for so long after its ring was opened; 0 holds for as long as it takes.
	Stuck time.Duration `json:"stuck,omitempty"`
}

// Bounds of a rollout, so that a decision stays a matter of nanoseconds.
const (
	MaxRings = 32
	// MaxNames bounds the principals, groups and regions of one ring.
	MaxNames = 1000
)

// New returns a waiting rollout. The rings are copied.
func New(candidate, base vault.VersionID, rings []Ring, back ReturnRules) (Rollout, error) {
	r := Rollout{Candidate: candidate, Base: base, Return: back, State: Waiting, Rings: make([]Ring, len(rings))}
	for i, ring := range rings {
		ring.Principals, ring.Groups, ring.Regions = sorted(ring.Principals), sorted(ring.Groups), sorted(ring.Regions)
		r.Rings[i] = ring
	}
	return r, r.check()
}

// sorted returns a sorted copy, for binary search.
func sorted[T ~string](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func (r *Rollout) check() error {
	switch {
	case r.Candidate == "" || r.Candidate == r.Base:
		return fault.New(fault.Invalid, "a rollout needs a candidate, and one that is not the version before it: write a new version first")
	case len(r.Rings) == 0 || len(r.Rings) > MaxRings:
		return fault.New(fault.Invalid, "a rollout has %d rings: give between 1 and %d", len(r.Rings), MaxRings)
	case r.Return.FailurePermille < 0 || r.Return.FailurePermille > 1000 || r.Return.Probes < 0 || r.Return.Stuck < 0 || negative(r.Return.Failures):
		return fault.New(fault.Invalid, "the conditions of the automatic return have a number that is negative or more than the whole: correct it")
	}
	for i := range r.Rings {
		if err := r.Rings[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func negative(n *int) bool { return n != nil && *n < 0 }

func (g *Ring) check() error {
	switch {
	case g.Name == "":
		return fault.New(fault.Invalid, "a ring of the rollout has no name: name it, as people read about it")
	case len(g.Principals) == 0 && len(g.Groups) == 0 && g.Percent == 0 && len(g.Regions) == 0:
		return fault.New(fault.Invalid, "the ring %q selects nobody: give it principals, groups, a percentage or regions", g.Name)
	case g.Percent < 0 || g.Percent > 100 || g.Gate.UsedPercent < 0 || g.Gate.UsedPercent > 100:
		return fault.New(fault.Invalid, "a percentage of the ring %q is not between 0 and 100: correct it", g.Name)
	case len(g.Principals) > MaxNames || len(g.Groups) > MaxNames || len(g.Regions) > MaxNames:
		return fault.New(fault.Invalid, "the ring %q names more than %d principals, groups or regions: use a group for them", g.Name, MaxNames)
	case g.Gate.MinLogins < 0 || g.Gate.MinTime < 0 || negative(g.Gate.MaxFailures):
		return fault.New(fault.Invalid, "the gate of the ring %q has a negative number: correct it", g.Name)
	}
	return nil
}

// Ended reports whether the rollout is in a final state.
func (r *Rollout) Ended() bool { return r.State == Finished || r.State == Returned }
