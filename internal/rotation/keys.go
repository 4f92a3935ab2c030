package rotation

import (
	"context"
	"crypto/subtle"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

// slots creates, lists or takes over values that the target makes.
func (c *calling) slots(ctx context.Context, e Effect, o *Observation) error {
	creator, ok := c.rotator.(rotator.Creator)
	if !ok {
		return rotator.Fail(rotator.Misconfigured, nil, "the rotator %q makes no values", c.run.Policy.Rotator)
	}
	t, err := c.target(ctx)
	if err != nil {
		return err
	}
	if e.Kind == CallCreate {
		ch := rotator.Change{Credential: rotator.Credential{Account: e.Place.Account, Slot: e.Place.Slot}}
		if ch.Keep, err = c.keep(ctx, e.Keep); err != nil {
			return err
		}
		cred, err := creator.Create(ctx, t, ch)
		if err != nil {
			return err
		}
		c.values = append(c.values, cred.Value)
		return c.sealMade(ctx, cred, o)
	}
	slots, err := creator.Slots(ctx, t, e.Place.Account)
	if err != nil {
		return err
	}
	for _, s := range slots {
		c.values = append(c.values, s.Value)
		at := Place{Account: s.Account, Slot: s.Slot, KeyID: s.KeyID}
		if e.Kind == CallTake && at == e.Place {
			return c.sealMade(ctx, s.Credential, o)
		}
		o.Slots = append(o.Slots, Seen{Place: at, Created: s.Created, Known: c.knows(ctx, s), Shown: len(s.Value) > 0})
	}
	if e.Kind == CallTake {
		return rotator.Fail(rotator.NotApplied, nil, "the target does not show the value any more that it made")
	}
	return nil
}

// sealMade seals what the target made. Until that is stored only the target knows the value: an error leaves an orphan to be found.
func (c *calling) sealMade(ctx context.Context, cred rotator.Credential, o *Observation) error {
	if err := c.seal(ctx, cred, o); err != nil {
		return rotator.Fail(rotator.Doubt, err, "the value that the target made could not be sealed")
	}
	return nil
}

// knows reports whether one of the versions that may be at the target holds the slot's value.
func (c *calling) knows(ctx context.Context, s rotator.Slot) bool {
	for _, v := range []vault.VersionID{c.run.Base, c.run.Previous, c.run.Pending} {
		if v == "" {
			continue
		}
		if p := c.run.Places[v]; s.KeyID != "" && p.KeyID == s.KeyID {
			return true
		}
		if len(s.Value) == 0 {
			continue
		}
		if l, err := c.login(ctx, v); err == nil {
			same := subtle.ConstantTimeCompare(l.value, s.Value) == 1
			l.value.Zero()
			if same {
				return true
			}
		}
	}
	return false
}
