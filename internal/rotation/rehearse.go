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

// Rehearsal is what a run would do, found out by everything but its effects.
type Rehearsal struct {
	// Safe is true when a run would begin now; Refused says why not.
	Safe    bool   `json:"safe"`
	Refused string `json:"refused,omitempty"`
	Reason  Reason `json:"reason,omitempty"`
	Plan    Plan   `json:"plan"`
	// Policy is the secret's, Current the version that the run would replace and Holding where that sits.
	Policy  Policy          `json:"-"`
	Current vault.VersionID `json:"current,omitempty"`
	Holding Place           `json:"holding,omitzero"`
	// System is what the target says it is, Warnings what the rotator found.
	System   string   `json:"system,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	// Length is how long the change itself is likely to take, by the last one or by what the preflight took; RevokedAfter how long after it the old
	// credential goes at the earliest.
	Length Duration `json:"length"`
	// Measured is true when Length is that of the last run, and not an estimate.
	Measured     bool     `json:"measured,omitempty"`
	RevokedAfter Duration `json:"revokedAfter"`
	// AtRisk are the consumers of the current version: they have to move before it can be revoked. Gap is true when logins fail until they do.
	AtRisk []Holder `json:"atRisk,omitempty"`
	Gap    bool     `json:"gap,omitempty"`
	// Approval is true when the run would wait for somebody to agree.
	Approval bool `json:"approval,omitempty"`
	// Authorities would change, in this order, and Certificates would be made anew, in a change of an authority; Bundles are the trust bundles.
	Authorities  []Heir   `json:"authorities,omitempty"`
	Certificates []string `json:"certificates,omitempty"`
	Bundles      []string `json:"bundles,omitempty"`
}

// Plan rehearses a run of the secret: it looks, plans, reaches the target, proves rights and the current credential, makes a value that is thrown
// away, and asks who would be concerned. It changes nothing.
func (s *Service) Plan(ctx context.Context, call *guard.Call, name string) (h *Rehearsal, err error) {
	need := guard.Need{Action: authz.RotationRun, Kind: vault.Secret, Name: name, Reason: "rehearsal"}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		var p *store.Policy
		err := s.e.Store.View(ctx, func(tx store.Tx) (err error) {
			_, p, err = policyOf(ctx, tx, call.Vault.Vault.ID, name)
			return err
		})
		if err != nil {
			return err
		}
		h, err = s.e.rehearse(ctx, call.Vault.Vault, p)
		return err
	})
	return h, err
}

func (e *Engine) rehearse(ctx context.Context, v *vault.Vault, p *store.Policy) (*Rehearsal, error) {
	doc, err := readPolicy(p)
	if err != nil {
		return nil, err
	}
	now := e.now(v.Tenant)
	run := newRotation(store.RunID("rehearsal-"+string(vault.NewVersionID(now))), now, Start{Cause: OnDemand}, doc.Policy, e.Pace)
	run.Tenant, run.Vault, run.Object, run.NameKey = p.Tenant, p.Vault, p.Object, p.NameKey
	d := &driver{e: e, run: run, vault: v, moves: e.Secrets.Rotation(v, p.NameKey, p.Object), sealed: make(map[vault.VersionID]*vault.Version)}
	c := &calling{driver: d, rotator: e.rotators[doc.Policy.Rotator]}
	defer c.zero()
	h := &Rehearsal{Policy: doc.Policy, Length: doc.State.Length, Measured: doc.State.Length > 0, Gap: doc.Policy.AcceptGap, Approval: doc.Policy.Approval, RevokedAfter: doc.Policy.Grace + doc.Policy.ReplicationLag + e.Pace.Settle}
	if doc.Policy.runs() == store.AuthorityRun {
		return h, c.rehearseAuthority(ctx, h)
	}
	began := e.now(v.Tenant)
	err = c.rehearse(ctx, h)
	if h.Length == 0 {
		h.Length = Duration(3 * e.now(v.Tenant).Sub(began)) // setting and testing reach the target about as often again
	}
	return h, err
}

func (c *calling) rehearse(ctx context.Context, h *Rehearsal) error {
	var o Observation
	if err := c.look(ctx, &o); err != nil {
		return h.refuse(c, err)
	}
	if strategies[c.run.Policy.Strategy].leased {
		return c.rehearseLease(ctx, h, o.Facts)
	}
	plan, refusal := MakePlan(&c.run.Policy, o.Facts, false)
	h.Plan, h.Current, h.Holding = plan, o.Facts.Current, o.Facts.Places[o.Facts.Current]
	if refusal != nil {
		h.Refused, h.Reason = refusal.Message, refusal.Reason
		return c.risk(ctx, h, o.Facts.Current)
	}
	c.run.Plan, c.run.Base, c.run.Places = plan, o.Facts.Current, o.Facts.Places
	if !strategies[c.run.Policy.Strategy].byHand && !c.run.Policy.handsOff() {
		preflight, cancel := context.WithTimeout(ctx, c.run.Pace.Call.Std())
		defer cancel()
		if c.rotator == nil {
			return h.refuse(c, rotator.Fail(rotator.Misconfigured, nil, "this server has no rotator %q", c.run.Policy.Rotator))
		}
		if err := c.preflight(preflight, Effect{Version: c.run.Base, Place: plan.Next}, &o); err != nil {
			return h.refuse(c, err)
		}
		h.System, h.Warnings = o.Report.System, o.Report.Warnings
		if !plan.Create {
			if err := c.generate(ctx, Effect{Place: plan.Next}, &o); err != nil {
				return h.refuse(c, err)
			}
		}
	}
	h.Safe = true
	return c.risk(ctx, h, c.run.Base)
}

// rehearseLease does what comes before an account is made.
func (c *calling) rehearseLease(ctx context.Context, h *Rehearsal, f *Facts) error {
	bounded, cancel := context.WithTimeout(ctx, c.run.Pace.Call.Std())
	defer cancel()
	if c.rotator == nil {
		return h.refuse(c, rotator.Fail(rotator.Misconfigured, nil, "this server has no rotator %q", c.run.Policy.Rotator))
	}
	var o Observation
	if err := c.preflight(bounded, Effect{}, &o); err != nil {
		return h.refuse(c, err)
	}
	h.System, h.Warnings, h.Safe = o.Report.System, o.Report.Warnings, true
	return nil
}

// refuse notes why a run would not begin. Only failures of our own are errors of a rehearsal.
func (h *Rehearsal) refuse(c *calling, err error) error {
	h.Refused = scrub(err.Error(), c.values...)
	switch classOf(err) {
	case rotator.Denied:
		h.Reason = Denied
	case rotator.Misconfigured:
		h.Reason = Misconfigured
	default:
		h.Reason = Retrying
	}
	return nil
}

// risk lists who holds the version that would be replaced.
func (c *calling) risk(ctx context.Context, h *Rehearsal, current vault.VersionID) error {
	if current == "" {
		return nil
	}
	v, err := c.e.Evidence.Verdict(ctx, c.subject(), current, "", c.now().Add(-time.Second), &c.run.Policy)
	h.AtRisk = v.Waiting
	return err
}
