package server

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

// Rotation tunes the engine of rotations. Its zero value is what the engine usually does.
type Rotation struct {
	// Pace holds the waits of runs, Leasing those of leases, Caps how many runs are at work at once, Poll how often the queue is looked at.
	Pace    rotation.Pace
	Leasing rotation.Leasing
	Caps    rotation.Caps
	Poll    time.Duration
	// Files lets policies name files and programs of this machine, as the rotator for NATS needs it: whoever may write a policy of a secret can then change
	// and run what the server may. Without it that rotator is not there.
	Files bool
	// Programs are the absolute paths of what policies with the rotator exec may run; with none, they can run nothing.
	Programs []string
	// MaxAge is how old secrets may become that neither expire nor have a limit of their own or of their vault; 0 limits nothing.
	MaxAge time.Duration
	// Adapters are further rotators, beside those that the program has. It is for tests, and empty in production.
	Adapters []rotator.Rotator
	// Failpoint is called at every point of a run, and may end the process. It is for tests of crashes, and nil in production.
	Failpoint func(rotation.Point) error
}

// openRotation makes the engine of rotations, which openCore starts when all else is there.
func (k *core) openRotation(c *Config, base string) error {
	adapters, err := k.rotators(c, base)
	if err != nil {
		return err
	}
	r := c.Rotation
	adapters = append(adapters, r.Adapters...)
	// A process has an identity of its own among those who hold leases: the one before may have died with a call to a target under way.
	k.engine, err = rotation.New(rotation.Config{Store: k.store, Guard: k.guard, Secrets: k.secrets, Certificates: k.certificates, Rotators: adapters,
		Evidence: throughParts{evidence{k.ledger}, k.composed}, Rings: &rings{ledger: k.ledger, groups: k.identity.GroupsOf, probe: network(c), clock: c.Clock, failed: make(map[vault.VersionID]int)},
		Clock: c.Clock, Logger: c.Logger, Node: k.audit.node + "/" + vault.NewGUID(), Machine: k.audit.node, Pace: r.Pace, Leasing: r.Leasing, Caps: r.Caps,
		Poll: r.Poll, MaxAge: r.MaxAge, Observe: k.metrics.rotations.observe, Failpoint: r.Failpoint})
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
