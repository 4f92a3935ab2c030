package rotation

import (
	"context"
	"fmt"
	"slices"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// actions are what one needs to be allowed to give an order.
var actions = map[OrderKind]authz.Action{ApproveOrder: authz.RotationApprove, AbortOrder: authz.RotationRepair, ReplayOrder: authz.RotationRepair,
	AdoptOrder: authz.RotationRepair, ForceOrder: authz.VersionRevoke, SubmitOrder: authz.RotationRun}

// Order tells a run what to do. A forced revocation needs a note that says why; nobody approves what they ordered themselves.
func (s *Service) Order(ctx context.Context, call *guard.Call, id store.RunID, o Order) (*Run, error) {
	action, ok := actions[o.Kind]
	if !ok || o.Kind == SubmitOrder {
		need := guard.Need{Action: authz.RotationRepair, Kind: vault.Secret}
		if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
			return nil, err
		}
		return nil, fault.New(fault.Invalid, "%q is not an order that people give", clip(string(o.Kind)))
	}
	r, err := s.find(ctx, call, id)
	if err != nil {
		return nil, s.unknownRun(ctx, call, guard.Need{Action: action, Kind: vault.Secret}, err)
	}
	need := guard.Need{Action: action, Kind: vault.Secret, Name: r.NameKey, Reason: fmt.Sprintf("run %s: %s: %s", id, o.Kind, o.Note)}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	o.By = string(call.Caller.Principal)
	if err := r.mayOrder(&o); err != nil {
		return nil, s.e.Guard.Refuse(ctx, call, need, err)
	}
	op := store.NewOp(s.e.now(call.Vault.Vault.Tenant))
	o.At = op.At
	var n Run
	err = s.e.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		n, err = take(ctx, tx, id, o)
		return err
	})
	if err == nil {
		s.e.Wake()
	}
	return &n, err
}

func (r *Run) mayOrder(o *Order) error {
	switch {
	case len(o.Note) > maxTextBytes:
		return fault.New(fault.Invalid, "the note has %d bytes: at most %d are allowed", len(o.Note), maxTextBytes)
	case o.Kind == ForceOrder && o.Note == "":
		return fault.New(fault.Invalid, "say why the version is revoked under its consumers: it is recorded")
	case o.Kind == ApproveOrder && (o.By == r.Start.Actor || slices.ContainsFunc(r.Orders, func(b Order) bool { return b.By == o.By && b.Kind != ApproveOrder })):
		return fault.New(fault.Forbidden, "a run is approved by somebody else than who asked for it").Because("OwnRequest")
	}
	return nil
}

// take adds an order to a stored run.
func take(ctx context.Context, tx store.Tx, id store.RunID, o Order) (Run, error) {
	stored, err := tx.Run(ctx, id)
	if err != nil {
		return Run{}, err
	}
	r, err := ReadRun(stored)
	if err != nil {
		return Run{}, err
	}
	n, err := r.Take(o)
	if err != nil {
		return Run{}, err
	}
	record, err := n.Record()
	if err != nil {
		return Run{}, err
	}
	return n, tx.PutRun(ctx, record)
}
