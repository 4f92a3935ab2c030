package guard

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
)

// May reports whether the caller may do what is needed within the vault of the call. It is for what is decided again and again behind
// one record, such as each event of a stream, and records nothing. Everything that it admits is told in the same answer.
func (g *Guard) May(call *Call, need *Need) bool {
	return call.Caller != nil && call.Vault != nil && need.Scope == "" && g.decide(context.Background(), call, need) == nil
}

// Renew brings a call that lasts up to the present: its instant, its vault and what decides about access to it. It fails when the
// request would be refused if it came now: a fault.Unauthenticated when the caller no longer counts, a fault.NotFound when the vault
// is gone, a fault.Forbidden when the network rules keep the caller's address out, a fault.Unavailable when the node is too far behind to know. It records nothing, and no rate counts it.
func (g *Guard) Renew(ctx context.Context, call *Call) error {
	call.Started = g.Clock.Now()
	g.Begin(call)
	if err := g.current(call, &network); err != nil {
		return err
	}
	if !call.Caller.Live(call.Started) {
		return fault.New(fault.Unauthenticated, "the token has ended or was withdrawn: sign in again")
	}
	v, err := g.View(ctx, call.Vault.Vault.Name)
	if err != nil {
		return err
	}
	if v.Vault.ID != call.Vault.Vault.ID {
		return fault.New(fault.NotFound, "the vault %q was deleted, and another has its name now", v.Vault.Name)
	}
	call.Vault = v
	if ok, why := v.admits(call); !ok {
		return authz.NetworkRefusal(why, call.Caller.subject(), call.Address, v.Vault)
	}
	return nil
}
