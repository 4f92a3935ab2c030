package rotationtest

import (
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
)

// scenario is a story that leads a run through some of the states.
type scenario struct {
	name string
	// fits says whether it can be told of the subject.
	fits func(s *Subject, p *rotation.Policy) bool
	// prepare changes the policy, and gives the case its meddling.
	prepare func(c *crash)
	// person looks at a run that is open, and may give an order.
	person func(c *crash, r *rotation.Run) error
	cause  rotation.Cause
	// end is how the rotation ends, rotation.Done when empty; kept is true when the value before stays current.
	end  rotation.State
	kept bool
}

var errLost = errors.New("the connection was reset")

func overlaps(_ *Subject, p *rotation.Policy) bool {
	return p.Strategy != rotator.Single && p.Strategy != rotator.Manual
}

func creates(s *Subject, _ *rotation.Policy) bool {
	_, ok := s.Rotator.(rotator.Creator)
	return ok
}

func sets(s *Subject, p *rotation.Policy) bool {
	return !creates(s, p) && p.Strategy != rotator.Manual
}

func byMachine(_ *Subject, p *rotation.Policy) bool { return p.Strategy != rotator.Manual }

func both(fits ...func(*Subject, *rotation.Policy) bool) func(*Subject, *rotation.Policy) bool {
	return func(s *Subject, p *rotation.Policy) bool {
		return !slices.ContainsFunc(fits, func(f func(*Subject, *rotation.Policy) bool) bool { return !f(s, p) })
	}
}

// once interferes with the first change of a kind.
func once(verb string, with error) func(string, rotator.Change) error {
	var done atomic.Bool
	return func(v string, _ rotator.Change) error {
		if v == verb && !done.Swap(true) {
			return with
		}
		return nil
	}
}

// until interferes with every change of a kind until a person has given an order.
func (c *crash) until(verb string, with error) func(string, rotator.Change) error {
	return func(v string, _ rotator.Change) error {
		if v == verb && !c.ordered {
			return with
		}
		return nil
	}
}

var scenarios = []scenario{
	{name: "plain", fits: byMachine},
	{name: "lost reply of set", fits: sets, prepare: func(c *crash) { c.meddler.after = once("set", errLost) }},
	{name: "refused value", fits: sets, prepare: func(c *crash) {
		c.refused = true
		c.meddler.before = once("set", rotator.Fail(rotator.Refused, nil, "the target does not take this value"))
	}},
	{name: "lost reply of create", fits: creates, prepare: func(c *crash) { c.meddler.after = once("create", errLost) }},
	{name: "lost reply of revoke", fits: both(byMachine, overlaps), prepare: func(c *crash) { c.meddler.after = once("revoke", errLost) }},
	{name: "abort", fits: sets, end: rotation.Aborted, kept: true, prepare: func(c *crash) {
		var done atomic.Bool
		c.meddler.after = func(verb string, _ rotator.Change) error {
			if verb == "set" && !done.Swap(true) {
				return c.order(c.rotation, rotation.Order{Kind: rotation.AbortOrder})
			}
			return nil
		}
	}},
	{name: "abort before set", fits: byMachine, end: rotation.Aborted, kept: true, prepare: func(c *crash) { c.policy.Approval = true },
		person: func(c *crash, r *rotation.Run) error {
			if r.State != rotation.Approval {
				return nil
			}
			return c.orderOnce(r.ID, rotation.Order{Kind: rotation.AbortOrder})
		}},
	{name: "approval", fits: byMachine, prepare: func(c *crash) { c.policy.Approval = true },
		person: func(c *crash, r *rotation.Run) error {
			if r.State != rotation.Approval {
				return nil
			}
			return c.orderOnce(r.ID, rotation.Order{Kind: rotation.ApproveOrder})
		}},
	{name: "rollout", fits: both(byMachine, overlaps), prepare: func(c *crash) {
		c.policy.Rollout = json.RawMessage(`{"rings":[{"name":"canary","percent":10},{"name":"all","percent":100}]}`)
	}},
	{name: "other write", fits: sets, end: rotation.Superseded, kept: true, prepare: func(c *crash) {
		var done atomic.Bool
		c.meddler.after = func(verb string, _ rotator.Change) error {
			if verb != "set" || done.Swap(true) {
				return nil
			}
			// The same credential, saved anew by somebody.
			_, err := c.w.secrets.Set(c.w.Ctx, c.w.Call(c.w.caller), c.name, secret.Input{Value: valueOf(&c.policy, c.first), Enabled: true})
			return err
		}
	}},
	{name: "adopt", fits: sets, kept: true, prepare: func(c *crash) {
		c.meddler.before = c.until("set", rotator.Fail(rotator.Denied, nil, "the right to alter accounts is missing"))
	}, person: func(c *crash, r *rotation.Run) error {
		if r.State != rotation.Stuck {
			return nil
		}
		return c.orderOnce(r.ID, rotation.Order{Kind: rotation.AdoptOrder, Version: r.Base})
	}},
	{name: "replay", fits: sets, prepare: func(c *crash) {
		c.meddler.before = c.until("set", rotator.Fail(rotator.Denied, nil, "the right to alter accounts is missing"))
	}, person: func(c *crash, r *rotation.Run) error {
		if r.State != rotation.Stuck {
			return nil
		}
		return c.orderOnce(r.ID, rotation.Order{Kind: rotation.ReplayOrder})
	}},
	{name: "replay of a creation", fits: creates, prepare: func(c *crash) {
		c.meddler.before = c.until("create", rotator.Fail(rotator.Denied, nil, "the right to make keys is missing"))
	}, person: func(c *crash, r *rotation.Run) error {
		if r.State != rotation.Stuck {
			return nil
		}
		return c.orderOnce(r.ID, rotation.Order{Kind: rotation.ReplayOrder})
	}},
	{name: "emergency", fits: byMachine, cause: rotation.Emergency},
	{name: "held at the deadline", fits: both(byMachine, overlaps), prepare: func(c *crash) {
		c.policy.Deadline = rotation.Duration(time.Millisecond)
		c.w.evidence.hold(c.name, true)
	}, person: func(c *crash, r *rotation.Run) error {
		if r.State == rotation.Held {
			c.w.evidence.hold(c.name, false)
		}
		return nil
	}},
	{name: "acknowledged and lost", fits: both(sets, overlaps), prepare: func(c *crash) { c.loseOnLook() }},
	{name: "return", fits: both(byMachine, overlaps), kept: true, prepare: func(c *crash) { c.w.evidence.hold(c.name, true) },
		person: func(c *crash, r *rotation.Run) error {
			if r.Kind != store.RevocationRun || r.State != rotation.Awaiting || len(r.Waiting) == 0 {
				return nil
			}
			err := c.orderOnce(r.ID, rotation.Order{Kind: rotation.AbortOrder})
			c.w.evidence.hold(c.name, false)
			return err
		}},
	{name: "by hand", fits: func(_ *Subject, p *rotation.Policy) bool { return p.Strategy == rotator.Manual }, person: (*crash).byHand},
}
