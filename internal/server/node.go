package server

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/node"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/version"
)

// age says how far what this node remembers is behind the store, for a node that is not the only one. Both clocks of the process are asked: the monotonic one
// stands still while a machine is suspended, and the wall's can be set back.
func (k *core) age() time.Duration {
	fresh, now := k.store.Fresh(), time.Now()
	return max(now.Sub(fresh), now.Round(0).Sub(fresh.Round(0)), k.nodes.CutOff())
}

// ageOfShared is age where other nodes work on the store too, and nil elsewhere: a node that has its store to itself is never behind.
func (k *core) ageOfShared() func() time.Duration {
	if k.shared {
		return k.age
	}
	return nil
}

// soleBeat is the time between beats of a node that has its store for itself: nobody waits for them.
const soleBeat = time.Minute

// openNode makes this process the node whose files are in the directory.
func (k *core) openNode(ctx context.Context, c *Config) error {
	before, err := k.nodeBefore(ctx, c.Dir)
	if err != nil {
		return err
	}
	id, err := node.Identify(c.Dir, before)
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // it is for people, who can do without
	every := soleBeat
	if k.shared {
		every = node.BeatEvery
	}
	if k.nodes, err = node.New(node.Config{Store: k.store, Clock: c.Clock, Logger: c.Logger, ID: id, Host: host, Version: version.String(), Every: every}); err != nil {
		return err
	}
	k.onClose(wrapStop(k.store.Watch(k.nodes.Changed)))
	if err := k.nodes.Join(ctx); err != nil {
		return err
	}
	k.background(k.nodes.Run)
	k.turn, err = node.NewTurn(node.TurnConfig{Store: k.store, Clock: c.Clock, Logger: c.Logger, Name: "jobs", Owner: k.nodes.Process(), Length: cmp.Or(c.Turn, node.TurnLength),
		Slack: node.TurnSlack, Sole: !k.shared})
	return err
}

// takeTurns does the background work: what every node does for itself, and whenever it is this node's turn what only one may do. Rotations, letters and looks
// at endpoints have leases of their own.
func (k *core) takeTurns() {
	work := []func(context.Context){k.issueCertificates, k.maintainKeys, during(k.events.Start, k.events.Stop), during(k.tenancy.Start, k.tenancy.Stop),
		during(k.composed.Start, k.composed.Stop)}
	for _, j := range k.jobs() {
		repeat := func(ctx context.Context) { k.repeat(ctx, j) }
		if j.everywhere {
			k.background(repeat)
			continue
		}
		work = append(work, repeat)
	}
	k.background(func(ctx context.Context) { k.turn.Run(ctx, work...) })
}

// during is the work of a service that is started and stopped.
func during(start func(context.Context), stop func()) func(context.Context) {
	return func(ctx context.Context) {
		start(ctx)
		<-ctx.Done()
		stop()
	}
}

// nodeBefore is the id by which the node of a directory was known to a release that kept it in the store: the store was that node's alone then. A directory
// without an audit log has never been a node.
func (k *core) nodeBefore(ctx context.Context, dir string) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, auditDir)); errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	var name []byte
	err := k.store.View(ctx, func(tx store.Tx) (err error) {
		name, err = tx.Setting(ctx, nodeSetting)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		err = nil
	}
	return string(name), err
}

// sweepNodes forgets nodes that are long gone.
func (k *core) sweepNodes(ctx context.Context) error {
	removed, err := k.nodes.Sweep(ctx)
	if len(removed) > 0 {
		k.log.InfoContext(ctx, "nodes that were long gone were forgotten", "nodes", removed)
	}
	return err
}
