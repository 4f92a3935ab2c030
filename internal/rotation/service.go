package rotation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/schedule"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Service is what doors ask of rotations. Every method is one decision and one audit record, through the guard.
type Service struct{ e *Engine }

// NewService makes the service of an engine.
func NewService(e *Engine) *Service { return &Service{e} }

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
	v, op := call.Vault.Vault, store.NewOp(s.e.Clock.Now())
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

// RefusePolicy answers for a policy that cannot be read: with its mistakes for who may set one, and with a refusal for everybody else.
func (s *Service) RefusePolicy(ctx context.Context, call *guard.Call, name string, mistakes []Mistake) error {
	need := guard.Need{Action: authz.RotationPolicyWrite, Kind: vault.Secret, Name: name}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	return s.e.Guard.Refuse(ctx, call, need, Invalid(mistakes))
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

func live(ctx context.Context, tx store.Tx, v vault.ID, name string) (*vault.Object, error) {
	o, err := tx.Object(ctx, v, vault.Secret, name)
	if isMissing(err) || err == nil && o.Deleted != nil {
		return nil, fault.New(fault.NotFound, "a secret with the name %q was not found in this vault", clip(name)).Because("SecretNotFound")
	}
	return o, err
}

// acyclic refuses a policy that makes secrets wait for each other in a ring.
func acyclic(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, p *Policy) error {
	const most = 1000
	seen, todo := map[vault.ObjectID]bool{}, []*vault.Object{}
	follow := func(v *vault.Vault, p *Policy) error {
		for _, ref := range p.DependsOn {
			parent, err := find(ctx, tx, v, ref)
			if err != nil {
				return err
			}
			if parent.ID == o.ID {
				return fault.New(fault.Invalid, "the secret %q would wait for itself, by way of %q: drop one of the dependencies", o.Name, clip(ref.Name)).Because("DependencyCycle")
			}
			if !seen[parent.ID] {
				seen[parent.ID] = true
				todo = append(todo, parent)
			}
		}
		return nil
	}
	if err := follow(v, p); err != nil {
		return err
	}
	for len(todo) > 0 && len(seen) <= most {
		next := todo[0]
		todo = todo[1:]
		stored, err := tx.Policy(ctx, next.ID)
		if isMissing(err) {
			continue
		}
		if err != nil {
			return err
		}
		doc, err := readPolicy(stored)
		if err != nil {
			return err
		}
		there, err := tx.Vault(ctx, next.Vault)
		if err != nil {
			return err
		}
		if err := follow(there, &doc.Policy); err != nil {
			return err
		}
	}
	return nil
}

// find finds the secret that a policy of the vault names.
func find(ctx context.Context, tx store.Tx, v *vault.Vault, ref Reference) (*vault.Object, error) {
	if ref.Vault != "" {
		there, err := tx.VaultByName(ctx, ref.Vault)
		if isMissing(err) || err == nil && there.Tenant != v.Tenant {
			return nil, fault.New(fault.NotFound, "the vault %q was not found", clip(ref.Vault))
		}
		if err != nil {
			return nil, err
		}
		v = there
	}
	return live(ctx, tx, v.ID, ref.Name)
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
	return s.e.Guard.Commit(ctx, call, need, store.NewOp(s.e.Clock.Now()), func(tx store.Tx) error {
		o, p, err := policyOf(ctx, tx, call.Vault.Vault.ID, name)
		if err != nil {
			return err
		}
		doc, err := readPolicy(p)
		if err != nil {
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
		return nil, nil, fault.New(fault.NotFound, "the secret %q has no rotation policy: set one", o.Name).Because("RotationPolicyNotFound")
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

// Run starts a run now. Another that is open already is a fault.Conflict, except for an urgent cause: that makes the open one urgent.
func (s *Service) Run(ctx context.Context, call *guard.Call, name string, start Start) (*Run, error) {
	need := guard.Need{Action: authz.RotationRun, Kind: vault.Secret, Name: name}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	if err := checkStart(&start); err != nil {
		return nil, s.e.Guard.Refuse(ctx, call, need, err)
	}
	start.Actor, start.Parent = string(call.Caller.Principal), ""
	op := store.NewOp(s.e.Clock.Now())
	id := store.RunID(vault.NewVersionID(op.At))
	need.Reason = fmt.Sprintf("run %s: %s", id, start.Cause)
	var r *Run
	err := s.e.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		_, p, err := policyOf(ctx, tx, call.Vault.Vault.ID, name)
		if err != nil {
			return err
		}
		open, err := tx.OpenRun(ctx, p.Object, store.RotationRun)
		if err == nil && start.Cause.Urgent() {
			r, err = hurry(ctx, tx, p, open, start, op.At)
			return err
		}
		if err != nil && !isMissing(err) {
			return err
		}
		r, err = s.e.enqueue(ctx, tx, p, id, start, op.At)
		return err
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
	r := newRotation(id, now, start, doc.Policy, e.Pace)
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
	op := store.NewOp(s.e.Clock.Now())
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

// find finds a run of the call's vault. One of another vault is not found.
func (s *Service) find(ctx context.Context, call *guard.Call, id store.RunID) (r *Run, err error) {
	err = s.e.Store.View(ctx, func(tx store.Tx) error {
		stored, err := tx.Run(ctx, id)
		if isMissing(err) || err == nil && stored.Vault != call.Vault.Vault.ID {
			return runNotFound(id)
		}
		if err == nil {
			r, err = ReadRun(stored)
		}
		return err
	})
	return r, err
}

// GetRun returns one run.
func (s *Service) GetRun(ctx context.Context, call *guard.Call, id store.RunID) (r *Run, err error) {
	need := guard.Need{Action: authz.RotationRead, Kind: vault.Secret}
	if r, err = s.find(ctx, call, id); err != nil {
		return nil, s.unknownRun(ctx, call, need, err)
	}
	need.Name = r.NameKey
	return r, s.e.Guard.Read(ctx, call, &need, func() error { return nil })
}

// Runs lists runs of the call's vault, newest first.
func (s *Service) Runs(ctx context.Context, call *guard.Call, q store.RunQuery) (list []*Run, err error) {
	return s.runs(ctx, call, guard.Need{Action: authz.RotationRead, Kind: vault.Secret}, q)
}

func (s *Service) runs(ctx context.Context, call *guard.Call, need guard.Need, q store.RunQuery) (list []*Run, err error) {
	q.Tenant, q.Vault, q.DueBefore = "", call.Vault.Vault.ID, time.Time{}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		return s.e.Store.View(ctx, func(tx store.Tx) error {
			list = nil
			found, err := tx.Runs(ctx, q)
			for _, stored := range found {
				r, err := ReadRun(stored)
				if err != nil {
					return err
				}
				list = append(list, r)
			}
			return err
		})
	})
	return list, err
}
