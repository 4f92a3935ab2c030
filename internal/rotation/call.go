package rotation

import (
	"bytes"
	"context"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// call lets one effect happen and says what came of it. Its own error means that the worker has to let go.
func (d *driver) call(ctx context.Context, e Effect) (Observation, error) {
	if err := d.fail(beforeCall(d.run.State)); err != nil {
		return Observation{}, err
	}
	left := d.leases.left(d.run.Pace.Call.Std())
	if left <= 0 {
		if err := d.leases.fresh(ctx); err != nil {
			return Observation{}, dropped(err)
		}
		left = d.leases.left(d.run.Pace.Call.Std())
	}
	bounded, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	c := &calling{driver: d, rotator: d.e.rotators[d.run.Policy.Rotator]}
	defer c.zero()
	obs := Observation{}
	err := c.make(bounded, e, &obs)
	obs.Of = e.Kind
	if err != nil {
		obs.Class = classOf(err)
		obs.Err = &Trouble{Class: obs.Class.String(), Message: scrub(err.Error(), c.values...)}
	}
	return obs, d.fail(afterCall(d.run.State))
}

// classOf says what is known after a failure. What a service of our own refuses changed nothing at the target.
func classOf(err error) rotator.Class {
	if c := rotator.ClassOf(err); c != rotator.Doubt {
		return c
	}
	switch {
	case fault.Is(err, fault.Invalid), fault.Is(err, fault.Forbidden), fault.Is(err, fault.Unsupported):
		return rotator.Misconfigured
	}
	return rotator.Doubt
}

// calling is one call and the values that were opened for it.
type calling struct {
	*driver
	rotator rotator.Rotator
	values  []redact.Bytes
}

func (c *calling) zero() {
	for _, v := range c.values {
		v.Zero()
	}
}

func (c *calling) make(ctx context.Context, e Effect, o *Observation) error {
	if e.Kind.ofAuthority() {
		return c.authority(ctx, e, o)
	}
	if c.rotator == nil && e.Kind != CallLook && e.Kind != CallWitness && e.Kind != CallRollout && e.Kind != CallGenerate {
		return rotator.Fail(rotator.Misconfigured, nil, "this server has no rotator %q", c.run.Policy.Rotator)
	}
	switch e.Kind {
	case CallLook:
		return c.look(ctx, o)
	case CallPreflight:
		return c.preflight(ctx, e, o)
	case CallGenerate:
		return c.generate(ctx, e, o)
	case CallSet, CallRevoke:
		return c.change(ctx, e)
	case CallDiscard:
		return c.discard(ctx, e)
	case CallProbe:
		return c.probe(ctx, e, o)
	case CallCreate, CallSlots, CallTake:
		return c.slots(ctx, e, o)
	case CallTerminate:
		return c.terminate(ctx, e, o)
	case CallRollout:
		return c.spread(ctx, o)
	case CallWitness:
		return c.witness(ctx, e, o)
	}
	return rotator.Fail(rotator.Misconfigured, nil, "%q is not a call", e.Kind)
}

func replaceAll(text string, value redact.Bytes) string {
	const shortest = 4 // anything shorter stands in every sentence
	if len(value) < shortest || !bytes.Contains([]byte(text), value) {
		return text
	}
	return strings.ReplaceAll(text, string(value.Reveal()), value.String())
}
