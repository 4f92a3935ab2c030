package guard

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// NotOperator is the reason of a refusal to who is of another tenant than the installation's first.
const NotOperator fault.Reason = "NotOperator"

// Operate is Authorize for what belongs to the whole installation and not to a tenant: its operator is the first tenant. Rights in another one, which its own
// administrators give, count for nothing there.
func (g *Guard) Operate(ctx context.Context, call *Call, need *Need) error {
	if err := g.Authorize(ctx, call, need); err != nil {
		return err
	}
	first, err := g.Operator(ctx)
	if err != nil {
		return err
	}
	if call.Caller.Tenant != first {
		return g.Deny(ctx, call, *need, fault.New(fault.Forbidden, "this concerns the whole installation and is its operator's: it is done from its first tenant alone").
			Because(NotOperator))
	}
	return nil
}

// Operator finds the installation's first tenant; it is empty when there is none yet.
func (g *Guard) Operator(ctx context.Context) (first vault.TenantID, err error) {
	err = g.Store.View(ctx, func(tx store.Tx) error {
		first = ""
		tenants, err := tx.Tenants(ctx)
		var since time.Time
		for _, t := range tenants {
			if first == "" || t.Created.Before(since) {
				first, since = t.ID, t.Created
			}
		}
		return err
	})
	return first, err
}
