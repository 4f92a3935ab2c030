package rotation

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

func (d *driver) subject() Subject {
	return Subject{Tenant: d.run.Tenant, Vault: d.run.Vault, Object: d.run.Object, NameKey: d.run.NameKey}
}

// witness asks the target who is logged in with the old credential, tells the ledger, and asks that for its verdict.
func (c *calling) witness(ctx context.Context, e Effect, o *Observation) error {
	switch off, err := c.e.Paused(ctx, c.run.Tenant); {
	case err != nil:
		return rotator.Fail(rotator.NotApplied, err, "whether the clock of this server is right could not be looked up")
	case off != 0:
		return rotator.Fail(rotator.NotApplied, nil, "the clock of this server was moved by %s: who still needs the old version cannot be told until it is right again, or somebody resumes", off.Round(time.Second))
	}
	w := &Witness{}
	m := &machine{Run: c.run}
	if observer, ok := c.rotator.(rotator.Observer); ok && m.tells() {
		t, err := c.targetOf(ctx, c.run.Places[e.Version].Account, "")
		if err != nil {
			return err
		}
		at := c.now()
		sessions, err := observer.Sessions(ctx, t, c.run.Places[e.Version].Account)
		if err != nil {
			return err
		}
		if err := c.e.Evidence.Seen(ctx, c.subject(), e.Version, sessions, at); err != nil {
			return err
		}
		w.Told, w.Sessions = true, len(sessions)
	}
	leave, err := c.e.lane.enter(ctx, c.run.urgent())
	if err != nil {
		return err
	}
	defer leave()
	v, err := c.e.Evidence.Verdict(ctx, c.subject(), e.Version, c.run.Current, c.run.Promoted, &c.run.Policy)
	if err != nil {
		return err
	}
	w.Safe, w.Waiting, w.Whole = v.Safe, v.Waiting, v.Whole
	o.Evidence = w
	return nil
}
