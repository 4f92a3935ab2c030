package rotation

import (
	"context"
	"crypto/subtle"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// look gathers the facts for the planner.
func (c *calling) look(ctx context.Context, o *Observation) error {
	f := &Facts{Places: map[vault.VersionID]Place{}}
	err := c.e.Store.View(ctx, func(tx store.Tx) error {
		object, err := c.moves.Find(ctx, tx)
		if err != nil {
			return err
		}
		f.Current, f.Previous, f.Pending = object.Current, object.LabelOf(vault.Previous), object.LabelOf(vault.Pending)
		if f.Previous != "" {
			ver, err := tx.Version(ctx, object.ID, f.Previous)
			if err != nil {
				return err
			}
			f.PreviousGone = ver.State == vault.Retired || ver.State == vault.Abandoned
		}
		if p, err := tx.Policy(ctx, object.ID); err == nil {
			doc, err := readPolicy(p)
			if err != nil {
				return err
			}
			for v, place := range doc.State.Places {
				f.Places[v] = place
			}
		} else if !isMissing(err) {
			return err
		}
		open, err := tx.OpenRun(ctx, object.ID, store.RevocationRun)
		if isMissing(err) {
			return nil
		}
		if err != nil {
			return err
		}
		r, err := ReadRun(open)
		if err != nil {
			return err
		}
		f.Revoking = r.Old
		for _, v := range r.Old { // the policy remembers those of the last run alone
			if _, known := f.Places[v]; !known {
				f.Places[v] = r.Places[v]
			}
		}
		return nil
	})
	switch {
	case isMissing(err):
		o.Gone = true
		return nil
	case err != nil:
		return err
	}
	c.abilities(f)
	c.run.Places = f.Places
	for _, v := range []vault.VersionID{f.Current, f.Previous} {
		if v == "" {
			continue
		}
		p, err := c.place(ctx, v)
		switch {
		case fault.Is(err, fault.Invalid) && v == f.Current:
			f.Unreadable = sentence(err)
		case fault.Is(err, fault.Invalid):
		case err != nil:
			return err
		default:
			f.Places[v] = p
		}
	}
	if f.Creates && (c.run.Policy.Strategy == rotator.NKeys || len(c.run.Policy.Slots) > 0) {
		if err := c.count(ctx, f); err != nil {
			return err
		}
	}
	o.Facts = f
	return nil
}

func (c *calling) abilities(f *Facts) {
	if c.rotator == nil {
		return
	}
	d := c.rotator.Describe()
	f.Rotator, f.Probes = &d, true
	if blind, ok := c.rotator.(rotator.Blind); ok {
		f.Probes = blind.Probes(c.run.Policy.Target)
	}
	_, f.Creates = c.rotator.(rotator.Creator)
	_, f.Observes = c.rotator.(rotator.Observer)
	_, f.Terminates = c.rotator.(rotator.Terminator)
}

// count counts the keys that the target has, and finds the one of the current value where it shows values.
func (c *calling) count(ctx context.Context, f *Facts) error {
	t, err := c.target(ctx)
	if err != nil {
		return err
	}
	var current rotator.Credential
	if f.Current != "" && f.Unreadable == "" {
		if current, err = c.credential(ctx, f.Current); err != nil {
			return err
		}
	}
	slots, err := c.rotator.(rotator.Creator).Slots(ctx, t, c.run.Policy.Accounts[0])
	if err != nil {
		return err
	}
	f.Keys = len(slots)
	if p := f.Places[f.Current]; len(slots) == 1 && f.Current != "" && p.KeyID == "" && p.Slot == "" {
		// The only key that there is is the current one: the preflight proves that it logs in.
		f.Places[f.Current] = Place{Account: slots[0].Account, Slot: slots[0].Slot, KeyID: slots[0].KeyID}
	}
	for _, s := range slots {
		if len(s.Value) > 0 && subtle.ConstantTimeCompare(s.Value, current.Value) == 1 {
			f.Places[f.Current] = Place{Account: s.Account, Slot: s.Slot, KeyID: s.KeyID}
		}
		s.Value.Zero()
	}
	return nil
}
