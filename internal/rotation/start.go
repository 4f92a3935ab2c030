package rotation

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Run starts a run now. Another that is open already is a fault.Conflict, except for an urgent cause: that makes the open one urgent.
func (s *Service) Run(ctx context.Context, call *guard.Call, name string, start Start) (*Run, error) {
	need := guard.Need{Action: authz.RotationRun, Kind: vault.Secret, Name: name}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	if err := s.mayRun(ctx, call, name); err != nil {
		return nil, err
	}
	if err := checkStart(&start); err != nil {
		return nil, s.e.Guard.Refuse(ctx, call, need, err)
	}
	start.Actor, start.Parent = string(call.Caller.Principal), ""
	leak := s.e.planLeak(ctx, call.Vault.Vault, name, &start)
	op := store.NewOp(s.e.now(call.Vault.Vault.Tenant))
	id, revocation := store.RunID(vault.NewVersionID(op.At)), store.RunID(vault.NewVersionID(op.At))
	need.Reason = fmt.Sprintf("run %s: %s", id, start.Cause)
	var r *Run
	err := s.e.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		_, p, err := policyOf(ctx, tx, call.Vault.Vault.ID, name)
		if err != nil {
			return err
		}
		doc, err := readPolicy(p)
		if err != nil {
			return err
		}
		open, err := tx.OpenRun(ctx, p.Object, doc.Policy.runs())
		switch {
		case err == nil && start.Cause.Urgent():
			r, err = hurry(ctx, tx, p, open, start, op.At)
		case err == nil, isMissing(err):
			r, err = s.e.enqueue(ctx, tx, p, id, start, op.At)
		}
		if err != nil || leak == nil {
			return err
		}
		return endLeak(ctx, tx, leak, revocation, r, start, op.At)
	})
	if err == nil {
		s.e.Wake()
	}
	return r, err
}

func checkStart(s *Start) error {
	switch s.Cause {
	case OnDemand, Emergency, FirstDeploy:
	case Leaked:
		if s.Version == "" {
			return fault.New(fault.Invalid, "name the version that leaked")
		}
	default:
		return fault.New(fault.Invalid, "%q is no cause that people give: use %s, %s, %s or %s", clip(string(s.Cause)), OnDemand, Leaked, Emergency, FirstDeploy)
	}
	if len(s.Note) > maxTextBytes {
		return fault.New(fault.Invalid, "the note has %d bytes: at most %d are allowed", len(s.Note), maxTextBytes)
	}
	return nil
}

// enqueue puts a run into the queue.
func (e *Engine) enqueue(ctx context.Context, tx store.Tx, p *store.Policy, id store.RunID, start Start, now time.Time) (*Run, error) {
	doc, err := readPolicy(p)
	if err != nil {
		return nil, err
	}
	if strategies[doc.Policy.Strategy].leased {
		return nil, notRotated(p.NameKey)
	}
	r := newRotation(id, now, start, doc.Policy, e.Pace)
	if doc.Policy.runs() == store.AuthorityRun {
		r.Kind, r.State, r.History[0].To = store.AuthorityRun, Surveying, Surveying
	}
	r.Tenant, r.Vault, r.Object, r.NameKey, r.Need = p.Tenant, p.Vault, p.Object, p.NameKey, doc.State.Length
	if r.Incident = incidentOf(start, now); r.Incident != nil {
		if err := report(ctx, tx, p, &r); err != nil {
			return nil, err
		}
	}
	record, err := r.Record()
	if err != nil {
		return nil, err
	}
	return &r, tx.PutRun(ctx, record)
}

func notRotated(name string) error {
	return fault.New(fault.Conflict, "the credentials of %q are leased one by one and never rotated: lease one, or revoke leases", clip(name)).Because("Leased")
}

// hurry makes an open run urgent.
func hurry(ctx context.Context, tx store.Tx, p *store.Policy, open *store.Run, start Start, now time.Time) (*Run, error) {
	r, err := ReadRun(open)
	if err != nil {
		return nil, err
	}
	n, err := r.Take(Order{Kind: HurryOrder, At: now, By: start.Actor, Note: start.Note, Version: start.Version, Cause: start.Cause, Exposed: start.Exposed})
	if err != nil {
		return nil, err
	}
	n.Rank = urgentRank
	if n.Incident == nil {
		n.Incident = incidentOf(start, now)
	}
	if start.Cause == Leaked {
		if err := report(ctx, tx, p, &n); err != nil {
			return nil, err
		}
	}
	record, err := n.Record()
	if err != nil {
		return nil, err
	}
	return &n, tx.PutRun(ctx, record)
}
