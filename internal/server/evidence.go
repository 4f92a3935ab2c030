package server

import (
	"context"
	"net/netip"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/ledger"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// evidence lets rotations ask the ledger. The grace after a promotion and the time for which a target has to be quiet are left to the engine, which knows
// why it waits; the ledger judges consumers.
type evidence struct{ ledger *ledger.Ledger }

var _ rotation.Evidence = evidence{}

func held(o rotation.Subject) ledger.Object {
	return ledger.Object{Tenant: o.Tenant, Vault: o.Vault, Kind: vault.Secret, Name: o.NameKey}
}

// Verdict implements rotation.Evidence.
func (e evidence) Verdict(ctx context.Context, o rotation.Subject, old, replacing vault.VersionID, since time.Time, p *rotation.Policy) (rotation.Verdict, error) {
	v, err := e.ledger.Ask(ctx, held(o), ledger.Question{Old: old, New: replacing, Since: since,
		Policy: ledger.Policy{Poll: p.CacheTTL.Std(), MaxConnectionLife: p.MaxConnectionLife.Std()}})
	if err != nil {
		return rotation.Verdict{}, err
	}
	out := rotation.Verdict{Safe: v.Safe, Whole: v.Whole}
	for _, h := range v.WaitingFor {
		last := h.Last
		if h.Seen.After(last) {
			last = h.Seen
		}
		out.Waiting = append(out.Waiting, rotation.Holder{Principal: string(h.Principal), Instance: h.Instance, Why: h.Reason, Last: last})
	}
	return out, nil
}

// Seen implements rotation.Evidence.
func (e evidence) Seen(ctx context.Context, o rotation.Subject, v vault.VersionID, sessions []rotator.Session, at time.Time) error {
	seen := ledger.Observation{Object: held(o), Version: v, At: at}
	for _, s := range sessions {
		a, _ := netip.ParseAddr(s.Address) // one that the target names otherwise is not known
		seen.Sessions = append(seen.Sessions, ledger.Session{Address: a, Since: s.Since})
	}
	return e.ledger.Seen(ctx, seen)
}

// consumersOf tells what an object's rotation policy says about its consumers, and when a run last promoted a version; nothing without a policy.
func (k *core) consumersOf(ctx context.Context, o ledger.Object) (p ledger.Policy, promoted time.Time, err error) {
	var r rotation.Policy
	err = k.store.View(ctx, func(tx store.Tx) error {
		object, err := tx.Object(ctx, o.Vault, o.Kind, o.Name)
		if err != nil {
			return err
		}
		policy, err := tx.Policy(ctx, object.ID)
		if err == nil {
			r, promoted, err = rotation.Stored(policy)
		}
		return err
	})
	if err != nil && !fault.Is(err, fault.NotFound) {
		return p, promoted, err
	}
	return ledger.Policy{Poll: r.CacheTTL.Std(), MaxConnectionLife: r.MaxConnectionLife.Std(), Grace: r.Grace.Std(), Window: r.Observation.Std()}, promoted, nil
}
