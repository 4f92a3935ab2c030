package rotation

import (
	"context"
	"slices"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Revoke ends an old version at its target. Without force it waits, as every revocation does, until nobody needs the version; with force, which takes a
// reason, it waits for nobody. A revocation that is open already is returned, or forced.
func (s *Service) Revoke(ctx context.Context, call *guard.Call, name string, v vault.VersionID, force bool, reason string) (*Run, error) {
	need := guard.Need{Action: authz.VersionRevoke, Kind: vault.Secret, Name: name, Version: v, Reason: reason}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	order := Order{Kind: ForceOrder, By: string(call.Caller.Principal), Note: reason}
	if force {
		if err := (&Run{}).mayOrder(&order); err != nil {
			return nil, s.e.Guard.Refuse(ctx, call, need, err)
		}
	}
	fresh, err := s.e.planRevocation(ctx, call.Vault.Vault, name, v)
	if err != nil {
		return nil, s.e.Guard.Refuse(ctx, call, need, err)
	}
	op := store.NewOp(s.e.now(call.Vault.Vault.Tenant))
	order.At = op.At
	id := store.RunID(vault.NewVersionID(op.At))
	var r *Run
	err = s.e.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		now := *fresh
		r, err = revocationOf(ctx, tx, now.Revocation(id, Effect{Version: now.Base, Old: []vault.VersionID{v}}, op.At))
		if err != nil {
			return err
		}
		if force {
			forced, err := r.Take(order)
			if err != nil {
				return err
			}
			r = &forced
		} else if r.Revision > 0 {
			return nil // it is on its way already
		}
		record, err := r.Record()
		if err != nil {
			return err
		}
		return tx.PutRun(ctx, record)
	})
	if err == nil {
		s.e.Wake()
	}
	return r, err
}

// planRevocation finds where the versions sit. The run that it returns is the parent of a revocation, and is never stored.
func (e *Engine) planRevocation(ctx context.Context, v *vault.Vault, name string, version vault.VersionID) (*Run, error) {
	var o *vault.Object
	var doc *policyDoc
	err := e.Store.View(ctx, func(tx store.Tx) error {
		object, stored, err := policyOf(ctx, tx, v.ID, name)
		if err != nil {
			return err
		}
		if o = object; o.Current == version {
			return fault.New(fault.Conflict, "version %s of %q is the current one: rotate first, or run an emergency rotation", version, o.Name).Because("VersionCurrent")
		}
		ver, err := tx.Version(ctx, o.ID, version)
		switch {
		case isMissing(err):
			return fault.New(fault.NotFound, "the secret %q has no version %q: list its versions", o.Name, clip(string(version))).Because("VersionNotFound")
		case err != nil:
			return err
		case ver.State == vault.Retired || ver.State == vault.Abandoned:
			return fault.New(fault.Conflict, "version %s of %q is %s: there is nothing left to revoke", version, o.Name, ver.State).Because("VersionRevoked")
		case o.LabelOf(vault.Pending) == version:
			return fault.New(fault.Conflict, "version %s of %q is pending: abort its rotation instead", version, o.Name).Because("VersionPending")
		}
		if doc, err = readPolicy(stored); err == nil && strategies[doc.Policy.Strategy].leased {
			err = notRotated(o.Name)
		}
		if err == nil {
			err = keepsBundle(o, doc)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	now := e.now(v.Tenant)
	r := newRotation(store.RunID(vault.NewVersionID(now)), now, Start{Cause: OnDemand}, doc.Policy, e.Pace)
	r.Tenant, r.Vault, r.Object, r.NameKey, r.Base, r.Driver = v.Tenant, v.ID, o.ID, vault.NameKey(o.Name), o.Current, e.Node
	d := &driver{e: e, run: r, vault: v, moves: e.Secrets.Rotation(v, r.NameKey, r.Object)}
	c := &calling{driver: d, rotator: e.rotators[r.Policy.Rotator]}
	defer c.zero()
	var seen Observation
	if err := c.look(ctx, &seen); err != nil || seen.Gone {
		return nil, err
	}
	f := seen.Facts
	r.Able = ableOf(f)
	r.Places = f.Places
	if _, known := r.Places[version]; !known {
		p, err := c.place(ctx, version)
		if err != nil {
			return nil, fault.New(fault.Conflict, "version %s of %q holds no credential in the policy's format, so nothing can be revoked: %s", version, o.Name, sentence(err))
		}
		r.Places = withPlace(r.Places, version, p)
	}
	return &r, nil
}

// revocationOf returns the object's open revocation when the version is in it, and the new one when there is none.
func revocationOf(ctx context.Context, tx store.Tx, n Run) (*Run, error) {
	open, err := tx.OpenRun(ctx, n.Object, store.RevocationRun)
	if isMissing(err) {
		return &n, nil
	}
	if err != nil {
		return nil, err
	}
	r, err := ReadRun(open)
	if err == nil && !slices.Contains(r.Old, n.Old[0]) {
		return nil, fault.New(fault.Conflict, "the revocation %s of other versions is open: wait until it ends, or abort it", r.ID).Because(store.RunOpen)
	}
	if err == nil && r.Old[0] != n.Old[0] {
		err = fault.New(fault.Conflict, "the revocation %s ends version %s first: revoke that one", r.ID, r.Old[0]).Because(store.RunOpen)
	}
	return r, err
}

// ableOf is what a rotator can do, of what was found out for a plan.
func ableOf(f *Facts) Able {
	a := Able{Creates: f.Creates, Observes: f.Observes, Terminates: f.Terminates, Probes: f.Probes}
	if f.Rotator != nil {
		a.Lockout, a.Tells = f.Rotator.LoginsBeforeLockout, f.Rotator.Evidence
	}
	return a
}

// runNotFound is what people are told of a run that is not there, whoever asks.
func runNotFound(id store.RunID) error {
	return fault.New(fault.NotFound, "the run %q was not found in this vault", clip(string(id))).Because("RunNotFound")
}

// unknownRun answers for a run or a task that was not found: who may see none learns nothing of whether it is there.
func (s *Service) unknownRun(ctx context.Context, call *guard.Call, need guard.Need, err error) error {
	if aerr := s.e.Guard.Authorize(ctx, call, &need); aerr != nil {
		return aerr
	}
	return s.e.Guard.Refuse(ctx, call, need, err)
}
