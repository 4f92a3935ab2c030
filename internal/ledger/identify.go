package ledger

import (
	"context"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// maxSmall bounds the addresses and resources that are remembered. Beyond it all are forgotten, and looked up anew.
const maxSmall = 1 << 14

// identify finds the instance of a record's caller.
func (l *Ledger) identify(ctx context.Context, r *audit.Record) (instance string, weak bool, err error) {
	resource := ""
	if r.Caller.Kind == string(principal.ManagedIdentity) {
		if resource, err = l.resource(ctx, vault.TenantID(r.Caller.Tenant), principal.ID(r.Caller.PrincipalID)); err != nil {
			return "", false, err
		}
	}
	if r.Instance == "" && resource == "" {
		if known, ok := l.addresses[r.ClientAddress]; ok {
			return known, true, nil
		}
		if len(l.addresses) >= maxSmall {
			clear(l.addresses)
		}
		known := atAddress(r.ClientAddress)
		l.addresses[r.ClientAddress] = known
		return known, true, nil
	}
	instance, weak = Instance(r.Instance, resource, r.ClientAddress)
	return instance, weak, nil
}

// resource finds the resource that a managed identity belongs to; "" for an identity that is gone.
func (l *Ledger) resource(ctx context.Context, t vault.TenantID, id principal.ID) (string, error) {
	if known, ok := l.resources[id]; ok {
		return known, nil
	}
	found := ""
	err := l.Store.View(ctx, func(tx store.Tx) error {
		p, err := tx.Principal(ctx, t, id)
		if err == nil {
			found = p.Resource
		}
		return err
	})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return "", err
	}
	if len(l.resources) >= maxSmall {
		clear(l.resources)
	}
	l.resources[id] = found
	return found, nil
}
