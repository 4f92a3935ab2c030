package rotation

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Rehearsal is what a run would do now, found out without a change.
type Rehearsal struct {
	Policy Policy
	// Current is the version that the run would replace, Next where the new value would go, Places where the versions sit.
	Current vault.VersionID
	Next    Place
	Places  map[vault.VersionID]Place
	// Problem is why the run would not begin, and Reason its code; empty for a run that can. Waits is true when it would begin by itself later.
	Problem string
	Reason  Reason
	Waits   bool
	// System, Warnings and Took are what the preflight at the target found and how long that was; empty where nothing can look.
	System   string
	Warnings []string
	Took     time.Duration
	// Length is how long the rotation would take without waits for people: that of the last one, when Measured is true, else an estimate from the
	// preflight. 0 is not known.
	Length   time.Duration
	Measured bool
	// Revoke are the versions that would be revoked, Earliest how long after the promotion that could happen at the soonest, Deadline after
	// which Overdue happens; 0 is never.
	Revoke             []vault.VersionID
	Earliest, Deadline time.Duration
	Overdue            Then
	// AtRisk are the consumers that hold the current version: the revocation waits for them.
	AtRisk []Holder
}

// stepsAtTarget is about how many conversations with the target a rotation has besides its preflight: the change and the proof of it, and the login
// before the promotion. It serves for an estimate only.
const stepsAtTarget = 3

// Rehearse does everything that a run would do but for the effect: it plans, reaches the target, and checks the rights there. The current credential
// logs in once; nothing changes, and no run is opened.
func (s *Service) Rehearse(ctx context.Context, call *guard.Call, name string) (r *Rehearsal, err error) {
	need := guard.Need{Action: authz.RotationRun, Kind: vault.Secret, Name: name, Detail: "rehearsal"}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		r, err = s.e.rehearse(ctx, call, name)
		return err
	})
	return r, err
}

func (e *Engine) rehearse(ctx context.Context, call *guard.Call, name string) (*Rehearsal, error) {
	var o *vault.Object
	var doc *policyDoc
	v, now := call.Vault.Vault, e.Clock.Now()
	err := e.Store.View(ctx, func(tx store.Tx) error {
		object, stored, err := policyOf(ctx, tx, v.ID, name)
		if err != nil {
			return err
		}
		o = object
		doc, err = readPolicy(stored)
		return err
	})
	if err != nil {
		return nil, err
	}
	r := newRotation(store.RunID(vault.NewVersionID(now)), now, Start{Cause: OnDemand}, doc.Policy, e.Pace)
	r.Tenant, r.Vault, r.Object, r.NameKey = v.Tenant, v.ID, o.ID, vault.NameKey(o.Name)
	ctx, cancel := context.WithTimeout(ctx, r.Pace.Call.Std())
	defer cancel()
	c := e.alone(v, r)
	defer c.zero()
	out := &Rehearsal{Policy: doc.Policy, Deadline: doc.Policy.Deadline.Std(), Overdue: doc.Policy.overdue(), Length: doc.State.Length.Std(), Measured: doc.State.Length > 0}
	return out, c.rehearse(ctx, out)
}

// alone is a call that belongs to no run in the journal, and changes nothing.
func (e *Engine) alone(v *vault.Vault, r Run) *calling {
	d := &driver{e: e, run: r, vault: v, moves: e.Secrets.Rotation(v, r.NameKey, r.Object)}
	return &calling{driver: d, rotator: e.rotators[r.Policy.Rotator]}
}

func (c *calling) rehearse(ctx context.Context, out *Rehearsal) error {
	var o Observation
	if err := c.look(ctx, &o); err != nil {
		return c.wouldFail(out, err)
	}
	if o.Gone {
		return noSecret(c.run.NameKey)
	}
	f := o.Facts
	out.Current, out.Places = f.Current, f.Places
	if err := c.atRisk(ctx, out); err != nil {
		return err
	}
	plan, refusal := MakePlan(&c.run.Policy, f, false)
	if refusal != nil {
		out.Problem, out.Reason, out.Waits = refusal.Message, refusal.Reason, refusal.Wait
		return nil
	}
	out.Next, out.Revoke, out.Earliest = plan.Next, plan.Revoke, c.run.earliestRevocation()
	if strategies[c.run.Policy.Strategy].byHand {
		return nil
	}
	began := c.e.Clock.Now()
	err := c.preflight(ctx, Effect{Kind: CallPreflight, Version: f.Current, Place: plan.Next}, &o)
	out.Took = c.e.Clock.Now().Sub(began)
	if err != nil {
		return c.wouldFail(out, err)
	}
	out.System, out.Warnings = o.Report.System, o.Report.Warnings
	if !out.Measured {
		out.Length = out.Took * (1 + stepsAtTarget)
	}
	return nil
}

// wouldFail notes a failure that a run would have had too.
func (c *calling) wouldFail(out *Rehearsal, err error) error {
	out.Problem = scrub(err.Error(), c.values...)
	switch classOf(err) {
	case rotator.Denied:
		out.Reason = Denied
	case rotator.Misconfigured:
		out.Reason = Misconfigured
	default:
		out.Reason, out.Waits = Retrying, true
	}
	return nil
}

// atRisk asks the ledger who would break if the current version died now.
func (c *calling) atRisk(ctx context.Context, out *Rehearsal) error {
	if out.Current == "" {
		return nil
	}
	v, err := c.e.Evidence.Verdict(ctx, c.subject(), out.Current, "", c.e.Clock.Now(), &c.run.Policy)
	out.AtRisk = v.Waiting
	return err
}

// earliestRevocation is how long after a promotion the old version stays at least.
func (r *Run) earliestRevocation() time.Duration {
	durable := r.Policy.ReplicationLag + r.Pace.Settle
	if !r.overlap() {
		return durable.Std()
	}
	return max(r.Policy.Grace, durable, r.Policy.Observation).Std()
}
