package rotation

import (
	"context"

	"github.com/keywright/keywright/internal/rotator"
)

func (c *calling) preflight(ctx context.Context, e Effect, o *Observation) error {
	t, err := c.targetOf(ctx, e.Place.Account, "")
	if err != nil {
		return err
	}
	p := rotator.Plan{Strategy: c.run.Policy.Strategy, Accounts: c.run.Policy.Accounts,
		Next: rotator.Credential{Account: e.Place.Account, Slot: e.Place.Slot}}
	if e.Version != "" {
		current, err := c.credential(ctx, e.Version)
		if err != nil {
			return err
		}
		p.Current = &current
	}
	report, err := c.rotator.Preflight(ctx, t, p)
	if err != nil {
		return err
	}
	o.Report = &Found{Identities: report.Identities, System: report.System, Snapshot: report.Snapshot, Warnings: report.Warnings}
	return nil
}

// change sets or revokes a credential.
func (c *calling) change(ctx context.Context, e Effect) error {
	t, err := c.targetOf(ctx, c.run.Places[e.Version].Account, e.Version)
	if err != nil {
		return err
	}
	var ch rotator.Change
	if ch.Credential, err = c.credential(ctx, e.Version); err != nil {
		return err
	}
	if ch.Keep, err = c.keep(ctx, e.Keep); err != nil {
		return err
	}
	if e.Kind == CallSet {
		return c.rotator.Set(ctx, t, ch)
	}
	return c.rotator.Revoke(ctx, t, ch)
}

func (c *calling) discard(ctx context.Context, e Effect) error {
	t, err := c.targetOf(ctx, e.Place.Account, "")
	if err != nil {
		return err
	}
	ch := rotator.Change{Credential: rotator.Credential{Account: e.Place.Account, Slot: e.Place.Slot, KeyID: e.Place.KeyID}}
	if ch.Keep, err = c.keep(ctx, e.Keep); err != nil {
		return err
	}
	return c.rotator.Revoke(ctx, t, ch)
}

func (c *calling) terminate(ctx context.Context, e Effect, o *Observation) error {
	terminator, ok := c.rotator.(rotator.Terminator)
	if !ok {
		return nil
	}
	t, err := c.targetOf(ctx, e.Place.Account, "")
	if err != nil {
		return err
	}
	o.Terminated, err = terminator.Terminate(ctx, t, e.Place.Account)
	return err
}
