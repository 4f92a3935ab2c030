package rotation

import (
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rollout"
)

// RolloutPolicy is the rollout of a policy.
type RolloutPolicy struct {
	Rings  []rollout.Ring      `json:"rings"`
	Return rollout.ReturnRules `json:"return,omitzero"`
	// Probe is the URL that tells the health of the application, for gates and returns that ask for it.
	Probe string `json:"probe,omitempty"`
}

// checkRollout reports what would never come true: a gate without its evidence holds for ever.
func checkRollout(doc []byte, rings Rings) error {
	var p RolloutPolicy
	if err := strict(doc, &p); err != nil {
		return err
	}
	if _, err := rollout.New("candidate", "base", p.Rings, p.Return); err != nil {
		return err
	}
	probes, logins := p.Return.Probes > 0, p.Return.Failures != nil || p.Return.FailurePermille > 0
	for i := range p.Rings {
		g := &p.Rings[i].Gate
		probes = probes || g.Probe
		logins = logins || g.MaxFailures != nil || g.MinLogins > 0
	}
	switch {
	case logins:
		return fault.New(fault.Invalid, "a gate counts logins or failures at the target, which no target tells yet: ask for usedPercent, a probe, a time or an approval instead")
	case probes && p.Probe == "":
		return fault.New(fault.Invalid, "a gate or the return asks for a health probe: give its URL as probe")
	case p.Probe != "":
		return rings.CheckProbe(p.Probe)
	}
	return nil
}
