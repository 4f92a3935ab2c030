package node

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// How long a node may be silent. A beat is one small transaction of the whole node.
const (
	// BeatEvery is the time between beats of nodes that share a store.
	BeatEvery = time.Second
	// Lapse is how long after its last acknowledged beat a node counts itself as cut off: several beats may fail, as they do while a database
	// fails over.
	Lapse = 5 * time.Second
	// Silent is how long after its last beat the others count a node as dead. The difference to Lapse is more than the clocks of two machines
	// drift apart in that time.
	Silent = 10 * time.Second
	// Kept is how long a node that is silent or has stopped stays in the list.
	Kept = 7 * 24 * time.Hour
)

// Config makes a Registry. Store, Clock, Logger and ID are required.
type Config struct {
	Store  store.Store
	Clock  clock.Clock
	Logger *slog.Logger
	// ID is the node's, see Identify; Host the machine's name, Version the program's.
	ID, Host, Version string
	// Every is the time between beats; BeatEvery when zero.
	Every time.Duration
	// Keep is asked, in the transaction that would remove a node which is long gone, whether something still needs it. Nil needs none.
	Keep func(context.Context, store.Tx, *store.Node) (bool, error)
}

// Registry keeps one node in the list of all. The caller hooks Changed to the store's commits.
type Registry struct {
	Config
	process string
	// position is that of the newest commit that the watchers have seen.
	position atomic.Int64
	// beaten is before the last acknowledged beat, in nanoseconds by the process's own clock since begun; replaced is set when another process is
	// the node.
	begun    time.Time
	beaten   atomic.Int64
	replaced atomic.Bool
}

// New checks the configuration.
func New(c Config) (*Registry, error) {
	if c.Store == nil || c.Clock == nil || c.Logger == nil || c.ID == "" {
		return nil, errors.New("the registry of nodes needs a store, a clock, a logger and the node's id")
	}
	if c.Every == 0 {
		c.Every = BeatEvery
	}
	return &Registry{Config: c, process: string(vault.NewVersionID(c.Clock.Now())), begun: c.Clock.Now()}, nil
}

// Changed hears of a commit. It belongs to the store's watchers.
func (r *Registry) Changed(c *store.Commit) { r.position.Store(int64(c.Position)) }

// Process is the id of this process, which no other has: for the owners of leases.
func (r *Registry) Process() string { return r.ID + "/" + r.process }

// Join makes this process the node.
func (r *Registry) Join(ctx context.Context) error {
	at := r.Clock.Now()
	err := r.Store.Update(ctx, store.NewOp(at), func(tx store.Tx) error {
		head, err := tx.Head(ctx)
		if err != nil {
			return err
		}
		return tx.JoinNode(ctx, &store.Node{ID: r.ID, Process: r.process, Host: r.Host, Version: r.Version, Position: max(head, r.seen())})
	})
	if err == nil {
		r.beat(at)
	}
	return err
}

func (r *Registry) seen() store.Position { return store.Position(r.position.Load()) }

func (r *Registry) beat(at time.Time) { r.beaten.Store(int64(at.Sub(r.begun))) }

// Run beats until ctx ends, and then leaves. It also removes the nodes that are long gone.
func (r *Registry) Run(ctx context.Context) {
	tick := time.NewTicker(r.Every)
	defer tick.Stop()
	for failed := false; ; {
		select {
		case <-ctx.Done():
			r.leave()
			return
		case <-tick.C:
		}
		err := r.Beat(ctx)
		if ctx.Err() != nil {
			continue
		}
		if err != nil && !failed {
			r.Logger.ErrorContext(ctx, "the node cannot renew its row in the store; it is tried again", "node", r.ID, "after", r.Every, "error", err)
		}
		failed = err != nil
	}
}

// Beat renews the node's row. A node that was removed while it was away joins again; one in whose place another process is does not.
func (r *Registry) Beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Lapse)
	defer cancel()
	at := r.Clock.Now()
	err := r.Store.Update(ctx, store.NewOp(at), func(tx store.Tx) error { return tx.BeatNode(ctx, r.ID, r.process, r.seen()) })
	switch e := fault.As(err); {
	case err == nil:
		r.beat(at)
	case e != nil && e.Kind == fault.NotFound:
		return r.Join(ctx)
	case e != nil && e.Reason == store.NodeReplaced:
		r.replaced.Store(true)
	}
	return err
}

// leaveTimeout bounds how long the end of a process waits to tell of it.
const leaveTimeout = time.Second

// leave tells the others that nobody has to wait for this node. Its context is over by then.
func (r *Registry) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	err := r.Store.Update(ctx, store.NewOp(r.Clock.Now()), func(tx store.Tx) error { return tx.LeaveNode(ctx, r.ID, r.process) })
	if err != nil {
		r.Logger.WarnContext(ctx, "the node ends without telling the others, which wait for it a while", "node", r.ID, "error", err)
	}
}

// CutOff says for how long this process has had to count itself as cut off, since the last beat that was acknowledged: zero while one was lately, for ever when
// another process is the node.
func (r *Registry) CutOff() time.Duration {
	if r.replaced.Load() {
		return math.MaxInt64
	}
	if quiet := r.Clock.Now().Sub(r.begun) - time.Duration(r.beaten.Load()); quiet > max(Lapse, 2*r.Every) {
		return quiet
	}
	return 0
}
