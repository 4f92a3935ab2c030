package guard

import (
	"context"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// decide answers from the caller's flattened rights; only a refusal, or a control-plane action, takes the long way that
// can say why.
func (g *Guard) decide(ctx context.Context, call *Call, need *Need) error {
	if call.Caller == nil {
		return fault.New(fault.Unauthenticated, "this needs an authenticated caller")
	}
	if err := g.current(call, need); err != nil {
		return err
	}
	if need.Scope != "" || call.Vault == nil {
		return g.decideAt(ctx, call, need)
	}
	now := call.Started
	key := vault.NameKey(need.Name)
	if key == "" {
		if call.Caller.rights(call.Vault, now).Allows(need.Action, "", "", now) {
			return nil
		}
	} else if call.Caller.rights(call.Vault, now).Allows(need.Action, need.Kind, key, now) {
		return nil
	}
	req := authz.Request{Caller: call.Caller.subject(), Action: need.Action, Kind: need.Kind, Name: need.Name}
	if need.Name == "" {
		req.Kind = ""
	}
	d := authz.Decide(req, call.Vault.Access, now)
	return authz.Refusal(req, d, call.Vault.Vault)
}

// decideAt decides a control-plane action at a scope, from grants read for this one request.
func (g *Guard) decideAt(ctx context.Context, call *Call, need *Need) error {
	scope, err := authz.ParseScope(need.Scope)
	if err != nil {
		return err
	}
	snapshot, err := g.Snapshot(ctx, call.Caller.Tenant, scope)
	if err != nil {
		return err
	}
	req := authz.Request{Caller: call.Caller.subject(), Action: need.Action, AssignedRole: need.AssignedRole}
	d := authz.DecideAt(req, scope, snapshot, call.Started)
	if d.Allowed {
		return nil
	}
	return authz.ControlRefusal(req, d)
}

// UnknownSubscription is the reason when a scope's subscription does not exist in the caller's tenant. Whether another
// tenant has it makes no difference.
const UnknownSubscription fault.Reason = "SubscriptionNotFound"

// Snapshot compiles what decides about a scope of the control plane: the grants from the tenant down to it. A scope in a
// subscription that is not the tenant's is a fault.NotFound: a grant at "/" reaches over its own tenant only.
func (g *Guard) Snapshot(ctx context.Context, t vault.TenantID, at authz.Scope) (*authz.Snapshot, error) {
	var chain []string
	for _, s := range at.Chain() {
		chain = append(chain, s.String())
	}
	var facts authz.Facts
	err := g.Store.View(ctx, func(tx store.Tx) error {
		facts = authz.Facts{Tenant: t}
		err := ownSubscription(ctx, tx, t, at.Parts().Subscription)
		if err != nil {
			return err
		}
		if facts.Grants, err = tx.GrantsAt(ctx, t, chain...); err != nil {
			return err
		}
		facts.Roles, err = tx.Roles(ctx, t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return authz.Compile(facts), nil
}

func ownSubscription(ctx context.Context, tx store.Tx, t vault.TenantID, id vault.SubscriptionID) error {
	if id == "" {
		return nil
	}
	s, err := tx.Subscription(ctx, id)
	if fault.Is(err, fault.NotFound) || err == nil && s.Tenant != t {
		return fault.New(fault.NotFound, "the subscription %q could not be found: check its id and the tenant that you signed in to", id).
			Because(UnknownSubscription)
	}
	return err
}

// newRecord tells of one decision. It comes from a pool: hand it back with freeRecord.
func (g *Guard) newRecord(call *Call, need *Need, outcome audit.Outcome, cause error) *audit.Record {
	r := records.Get().(*audit.Record)
	r.Time = clock.Micro(call.Started)
	r.Door, r.Operation, r.Instance, r.Scope = call.Door, call.Operation, call.Instance, need.Scope
	r.Detail = need.Detail
	if need.Action.Known() && need != &network {
		r.Action = need.Action.String()
	}
	r.ClientAddress, r.CorrelationID, r.ClientRequestID = call.Address, call.Correlation, call.ClientRequest
	r.APIVersion, r.UserAgent, r.Path = call.APIVersion, call.UserAgent, call.Path
	r.ObjectKind, r.ObjectName, r.Version = string(need.Kind), need.Name, string(need.Version)
	r.Outcome = outcome
	if c := call.Caller; c != nil {
		r.Tenant = string(c.Tenant)
		r.Caller = audit.Caller{PrincipalID: string(c.Principal), AppID: c.AppID, UPN: c.UPN, Kind: string(c.Kind), Tenant: string(c.Tenant)}
	}
	if v := call.Vault; v != nil {
		r.Tenant, r.VaultID, r.VaultName = string(v.Vault.Tenant), string(v.Vault.ID), v.Vault.Name
	}
	r.Reason = need.Reason
	if cause != nil {
		r.Reason = reason(cause)
	}
	r.Status = uint16(call.status(cause))
	r.Duration = g.Clock.Now().Sub(call.Started)
	return r
}

// status is what the door answers with, as far as it is known before the answer.
func (c *Call) status(cause error) int {
	if cause == nil {
		return c.Success
	}
	if c.Status == nil {
		return 0
	}
	e := fault.As(cause)
	if e == nil {
		e = fault.New(fault.Internal, "")
	}
	return c.Status(e)
}

// reason is an error's reason, or its kind when it has none.
func reason(err error) string {
	if e := fault.As(err); e != nil && e.Reason != "" {
		return string(e.Reason)
	}
	return fault.Of(err).String()
}
