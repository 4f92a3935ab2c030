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
	if o.Kind == "" {
		o.Kind = vault.Secret
	}
	return ledger.Object{Tenant: o.Tenant, Vault: o.Vault, Kind: o.Kind, Name: o.NameKey}
}

var _ rotation.Readers = evidence{}

// Read implements rotation.Readers.
func (e evidence) Read(ctx context.Context, o rotation.Subject) (bool, error) {
	return e.ledger.Delivered(ctx, held(o))
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
		seen.Sessions = append(seen.Sessions, ledger.Session{Address: clientAddress(s.Address), Since: s.Since})
	}
	return e.ledger.Seen(ctx, seen)
}

// clientAddress reads what a target tells of where a client is: an address, or one with a port. It is invalid for anything else, such as a host name.
func clientAddress(text string) netip.Addr {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr().Unmap()
	}
	a, _ := netip.ParseAddr(text)
	return a.Unmap() // a target that listens on IPv6 shows its IPv4 clients so, and the doors show them as they are
}

// consumersOf is what a rotation policy tells about the consumers of its secret.
func consumersOf(p *rotation.Policy) ledger.Policy {
	return ledger.Policy{Poll: p.CacheTTL.Std(), MaxConnectionLife: p.MaxConnectionLife.Std(), Grace: p.Grace.Std(), Window: p.Observation.Std()}
}

// consumerPolicy tells the consumer service what the rotation policy of a secret says of its consumers, and when the current version was promoted.
func (k *core) consumerPolicy(ctx context.Context, o ledger.Object) (p ledger.Policy, promoted time.Time, err error) {
	err = k.store.View(ctx, func(tx store.Tx) error {
		object, err := tx.Object(ctx, o.Vault, o.Kind, o.Name)
		if err != nil {
			return err
		}
		stored, err := tx.Policy(ctx, object.ID)
		if err != nil {
			return err
		}
		info, err := rotation.ReadPolicy(stored)
		if err != nil {
			return err
		}
		p = consumersOf(&info.Policy)
		if object.Current == "" || info.Succeeded.IsZero() {
			return nil
		}
		current, err := tx.Version(ctx, object.ID, object.Current)
		if err == nil && !info.Succeeded.Before(current.Attributes.Created) {
			promoted = info.Succeeded // else somebody wrote the version that is current now
		}
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return ledger.Policy{}, time.Time{}, nil
	}
	return p, promoted, err
}
