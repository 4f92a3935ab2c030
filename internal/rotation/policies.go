package rotation

import (
	"context"
	"encoding/json"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/schedule"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// PolicyInfo is a policy as people see it.
type PolicyInfo struct {
	Name   string `json:"name"`
	Policy Policy `json:"policy"`
	// DueAt is when the next run is due and Cause why; zero for never by itself.
	DueAt     time.Time `json:"dueAt,omitzero"`
	Cause     Cause     `json:"cause,omitempty"`
	Succeeded time.Time `json:"succeeded,omitzero"`
	Revision  int64     `json:"revision"`
}

// ReadPolicy reads a stored policy.
func ReadPolicy(p *store.Policy) (*PolicyInfo, error) {
	d, err := readPolicy(p)
	if err != nil {
		return nil, err
	}
	return &PolicyInfo{Name: p.NameKey, Policy: d.Policy, DueAt: p.DueAt, Cause: d.State.Cause, Succeeded: d.State.Succeeded, Revision: p.Revision}, nil
}

// surroundings are what the policy is checked against in this server.
func (e *Engine) surroundings(p *Policy) Surroundings {
	s := Surroundings{Schedule: func(text string) error { _, err := schedule.Parse(text); return err }}
	if e.Rings != nil {
		s.Rollout = func(doc []byte) error { return checkRollout(doc, e.Rings) }
	}
	r := e.rotators[p.Rotator]
	if r == nil {
		return s
	}
	d := r.Describe()
	s.Rotator = &d
	_, s.Creates = r.(rotator.Creator)
	_, s.Provisions = r.(rotator.Provisioner)
	s.Config = func() error { return r.Check(p.Target) }
	return s
}

// SetPolicy gives a secret its rotation policy, or another one. Who writes a policy decides to which system values are sent, so the caller must
// be allowed to read them: the secret's own, and the administrator's.
func (s *Service) SetPolicy(ctx context.Context, call *guard.Call, name string, p *Policy) error {
	need := guard.Need{Action: authz.RotationPolicyWrite, Kind: vault.Secret, Name: name}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	if err := s.mayRead(ctx, call, name, p); err != nil {
		return err
	}
	if err := Invalid(p.Check(s.e.surroundings(p))); err != nil {
		return s.e.Guard.Refuse(ctx, call, need, err)
	}
	v, op := call.Vault.Vault, store.NewOp(s.e.now(call.Vault.Vault.Tenant))
	return s.e.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		o, err := live(ctx, tx, v.ID, name)
		if err != nil {
			return err
		}
		if err := acyclic(ctx, tx, v, o, p); err != nil {
			return err
		}
		if err := registered(ctx, tx, v.Tenant, p.Function); err != nil {
			return err
		}
		stored, err := tx.Policy(ctx, o.ID)
		doc := &policyDoc{State: policyState{Set: op.At}}
		switch {
		case isMissing(err):
			stored = &store.Policy{Object: o.ID, Tenant: v.Tenant, Vault: v.ID, Kind: o.Kind, NameKey: vault.NameKey(o.Name)}
		case err != nil:
			return err
		default:
			if doc, err = readPolicy(stored); err != nil {
				return err
			}
			if err := keepsBundle(o, doc); err != nil {
				return err
			}
			if doc.State.Set.IsZero() {
				doc.State.Set = op.At
			}
		}
		if err := adoptChild(ctx, tx, v, o.ID, doc.Policy.DependsOn, false); err != nil {
			return err
		}
		if err := adoptChild(ctx, tx, v, o.ID, p.DependsOn, true); err != nil {
			return err
		}
		doc.Policy = *p
		n := *stored
		return putPolicy(ctx, tx, &n, doc, o, op.At)
	})
}

// PutPolicy is SetPolicy, and returns the policy as it is in force.
func (s *Service) PutPolicy(ctx context.Context, call *guard.Call, name string, p *Policy) (info *PolicyInfo, err error) {
	if err := s.SetPolicy(ctx, call, name, p); err != nil {
		return nil, err
	}
	err = s.e.Store.View(ctx, func(tx store.Tx) error {
		_, stored, err := policyOf(ctx, tx, call.Vault.Vault.ID, name)
		if err == nil {
			info, err = ReadPolicy(stored)
		}
		return err
	})
	return info, err
}

// RefusePolicy answers for a policy that cannot be read: with all of its mistakes for who may set one, and with a refusal for everybody else.
func (s *Service) RefusePolicy(ctx context.Context, call *guard.Call, name string, document []byte) error {
	need := guard.Need{Action: authz.RotationPolicyWrite, Kind: vault.Secret, Name: name}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	return s.e.Guard.Refuse(ctx, call, need, Invalid(CheckDocument(document, s.e.surroundings)))
}

// putPolicy stores a policy with its next due date.
func putPolicy(ctx context.Context, tx store.Tx, p *store.Policy, doc *policyDoc, o *vault.Object, now time.Time) error {
	var current *vault.Version
	if o.Current != "" {
		var err error
		if current, err = tx.Version(ctx, o.ID, o.Current); err != nil {
			return err
		}
	}
	p.DueAt = doc.due(o.ID, current)
	var err error
	if p.Doc, err = json.Marshal(doc); err != nil {
		return err
	}
	return tx.PutPolicy(ctx, p)
}

// mayRead makes sure that the caller could read what the policy makes the engine read.
func (s *Service) mayRead(ctx context.Context, call *guard.Call, name string, p *Policy) error {
	own := guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: name}
	if err := s.e.Guard.Authorize(ctx, call, &own); err != nil {
		return err
	}
	if p.Admin == nil {
		return nil
	}
	there := *call
	if p.Admin.Vault != "" {
		view, err := s.e.Guard.View(ctx, p.Admin.Vault)
		if err != nil || view.Vault.Tenant != call.Vault.Vault.Tenant {
			// Another tenant's vault must look like none.
			return s.e.Guard.Refuse(ctx, call, own, fault.New(fault.NotFound, "the vault %q of the administrator's secret was not found", clip(p.Admin.Vault)))
		}
		there.Vault = view
	}
	return s.e.Guard.Authorize(ctx, &there, &guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: p.Admin.Name})
}

// Policy returns the rotation policy of a secret.
func (s *Service) Policy(ctx context.Context, call *guard.Call, name string) (info *PolicyInfo, err error) {
	need := guard.Need{Action: authz.RotationPolicyRead, Kind: vault.Secret, Name: name}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		return s.e.Store.View(ctx, func(tx store.Tx) error {
			_, p, err := policyOf(ctx, tx, call.Vault.Vault.ID, name)
			if err == nil {
				info, err = ReadPolicy(p)
			}
			return err
		})
	})
	return info, err
}

// DeletePolicy takes a secret's policy away. A run that is open goes on.
func (s *Service) DeletePolicy(ctx context.Context, call *guard.Call, name string) error {
	need := guard.Need{Action: authz.RotationPolicyWrite, Kind: vault.Secret, Name: name}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	return s.e.Guard.Commit(ctx, call, need, store.NewOp(s.e.now(call.Vault.Vault.Tenant)), func(tx store.Tx) error {
		o, p, err := policyOf(ctx, tx, call.Vault.Vault.ID, name)
		if err != nil {
			return err
		}
		doc, err := readPolicy(p)
		if err != nil {
			return err
		}
		if err := keepsBundle(o, doc); err != nil {
			return err
		}
		if err := adoptChild(ctx, tx, call.Vault.Vault, o.ID, doc.Policy.DependsOn, false); err != nil {
			return err
		}
		n := *p
		doc.Policy, doc.State = Policy{}, policyState{Exempt: doc.State.Exempt, Told: doc.State.Told, Incidents: doc.State.Incidents}
		return keep(ctx, tx, &n, doc)
	})
}

func policyOf(ctx context.Context, tx store.Tx, v vault.ID, name string) (*vault.Object, *store.Policy, error) {
	o, err := live(ctx, tx, v, name)
	if err != nil {
		return nil, nil, err
	}
	p, err := tx.Policy(ctx, o.ID)
	var doc *policyDoc
	if err == nil {
		doc, err = readPolicy(p)
	}
	if isMissing(err) || err == nil && doc.none() {
		return nil, nil, fault.New(fault.NotFound, "the secret %q has no rotation policy: set one, or check the name", o.Name).Because("RotationPolicyNotFound")
	}
	return o, p, err
}

// Policies lists the policies of a vault in the order of object ids, those after the given one first.
func (s *Service) Policies(ctx context.Context, call *guard.Call, after vault.ObjectID, limit int) (list []*PolicyInfo, next vault.ObjectID, err error) {
	need := guard.Need{Action: authz.RotationPolicyRead, Kind: vault.Secret}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		return s.e.Store.View(ctx, func(tx store.Tx) error {
			list, next = nil, ""
			found, err := tx.Policies(ctx, store.PolicyQuery{Vault: call.Vault.Vault.ID, Kind: vault.Secret, After: after, Limit: limit})
			for _, p := range found {
				info, err := ReadPolicy(p)
				if err != nil {
					return err
				}
				if info.Policy.Strategy != "" { // else it is about the secret's age alone
					list = append(list, info)
				}
			}
			if limit > 0 && len(found) == limit {
				next = found[limit-1].Object
			}
			return err
		})
	})
	return list, next, err
}
