package rotation

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/rotator"
)

// spread takes the rollout one step further.
func (c *calling) spread(ctx context.Context, o *Observation) error {
	r, probe, err := c.rollout()
	if err != nil {
		return err
	}
	seen, err := c.e.Rings.Observe(ctx, c.subject(), r, probe)
	if err != nil {
		return err
	}
	seen.Approved = seen.Approved || slices.ContainsFunc(c.run.Orders, func(o Order) bool { return o.Kind == ApproveOrder && o.At.After(r.Changed) })
	next, decision, _ := rollout.Next(r, seen, c.now())
	o.Rollout = &Spread{Rollout: next, Done: decision == rollout.Finish, Return: decision == rollout.Return}
	return nil
}

func (c *calling) rollout() (r rollout.Rollout, probe string, err error) {
	if c.e.Rings == nil {
		return r, "", rotator.Fail(rotator.Misconfigured, nil, "this server has no rollouts")
	}
	var p RolloutPolicy
	if err := json.Unmarshal(c.run.Policy.Rollout, &p); err != nil {
		return r, "", rotator.Fail(rotator.Misconfigured, err, "the rollout of the policy cannot be read")
	}
	if c.run.Spread != nil {
		r = *c.run.Spread
		// How long a ring has been open is not known when the clock was moved since: it counts from when people took that for right, and from now when it lies ahead.
		r.Changed = earlier(later(r.Changed, c.run.Trusted), c.now())
		return r, p.Probe, nil
	}
	r, err = rollout.New(c.run.Pending, c.run.Base, p.Rings, p.Return)
	return r, p.Probe, err
}
