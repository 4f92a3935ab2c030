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

// Rotation tunes the engine of rotations. Its zero value is what the engine usually does.
type Rotation struct {
	// Pace holds the waits of runs, Leasing those of leases, Caps how many runs are at work at once, Poll how often the queue is looked at.
	Pace    rotation.Pace
	Leasing rotation.Leasing
	Caps    rotation.Caps
	Poll    time.Duration
	// Failpoint is called at every point of a run, and may end the process. It is for tests of crashes, and nil in production.
	Failpoint func(rotation.Point) error
}

// openRotation makes the engine of rotations, which openCore starts when all else is there.
func (k *core) openRotation(c *Config) error {
	adapters, err := rotators(c)
	if err != nil {
		return err
	}
	r := c.Rotation
	// A process has an identity of its own among those who hold leases: the one before may have died with a call to a target under way.
	k.engine, err = rotation.New(rotation.Config{Store: k.store, Guard: k.guard, Secrets: k.secrets, Rotators: adapters,
		Evidence: &evidence{k.ledger}, Clock: c.Clock, Logger: c.Logger, Node: k.audit.node + "/" + vault.NewGUID(), Pace: r.Pace, Leasing: r.Leasing, Caps: r.Caps,
		Poll: r.Poll, Observe: k.metrics.rotations.observe, Failpoint: r.Failpoint})
	if err != nil {
		return err
	}
	k.rotation = rotation.NewService(k.engine)
	return nil
}

// rotationStopTimeout is how long calls to targets that are under way at the end of the process may go on. What is dropped then is found out by
// whoever continues the run.
const rotationStopTimeout = 500 * time.Millisecond

// startRotation begins to drive runs. They end before everything that they work with.
func (k *core) startRotation() {
	k.engine.Start(context.Background())
	k.onShutdown(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, rotationStopTimeout)
		defer cancel()
		k.engine.Stop(ctx)
		return nil
	})
}

// evidence lets the engine ask the ledger.
type evidence struct{ ledger *ledger.Ledger }

func ledgerObject(o rotation.Subject) ledger.Object {
	return ledger.Object{Tenant: o.Tenant, Vault: o.Vault, Kind: vault.Secret, Name: o.NameKey}
}

// consumersOf is what a rotation policy tells about the consumers of its secret. Whether the target has to show who is logged in is the engine's to
// judge: it depends on which accounts the old credential and the new one belong to.
func consumersOf(p *rotation.Policy) ledger.Policy {
	return ledger.Policy{Poll: p.CacheTTL.Std(), MaxConnectionLife: p.MaxConnectionLife.Std(), Grace: p.Grace.Std(), Window: p.Observation.Std()}
}

// Verdict implements rotation.Evidence.
func (e *evidence) Verdict(ctx context.Context, o rotation.Subject, old, replacing vault.VersionID, since time.Time, p *rotation.Policy) (rotation.Verdict, error) {
	safe, waiting, whole, _, err := e.ledger.Verdict(ctx, ledgerObject(o), old, replacing, since, consumersOf(p))
	if err != nil {
		return rotation.Verdict{}, err
	}
	v := rotation.Verdict{Safe: safe, Whole: whole}
	for _, h := range waiting {
		v.Waiting = append(v.Waiting, rotation.Holder{Principal: string(h.Principal), Instance: h.Instance, Why: h.Reason, Last: h.Last})
	}
	return v, nil
}

// Seen implements rotation.Evidence.
func (e *evidence) Seen(ctx context.Context, o rotation.Subject, v vault.VersionID, sessions []rotator.Session, at time.Time) error {
	seen := ledger.Observation{Object: ledgerObject(o), Version: v, At: at}
	for _, s := range sessions {
		seen.Sessions = append(seen.Sessions, ledger.Session{Address: clientAddress(s.Address), Since: s.Since})
	}
	return e.ledger.Seen(ctx, seen)
}

// clientAddress reads what a target tells of where a client is: an address, or one with a port. It is invalid for anything else, such as a host name.
func clientAddress(text string) netip.Addr {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr()
	}
	a, _ := netip.ParseAddr(text)
	return a
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
