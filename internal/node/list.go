package node

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// State says how a node is.
type State string

// The states of a node.
const (
	Live    State = "live"
	Unheard State = "silent"
	Stopped State = "stopped"
)

// Member is a node as the others see it.
type Member struct {
	store.Node
	State State
	// Quiet is the time since the node was last heard of, by the store's clock.
	Quiet time.Duration
	// Behind is how many entries of the journal its watchers have not seen; meaningful while it is live.
	Behind int64
	// Own is true for the node of this process.
	Own bool
}

// Members lists all nodes in the order of their ids, as of one transaction. The node of this process is live.
func (r *Registry) Members(ctx context.Context) (list []Member, err error) {
	err = r.Store.View(ctx, func(tx store.Tx) error {
		list, err = Members(ctx, tx)
		return err
	})
	for i := range list {
		if m := &list[i]; m.Process == r.process {
			since := max(0, int64(r.seen()-m.Position))
			m.Own = true
			m.State, m.Position, m.Behind = Live, m.Position+store.Position(since), max(0, m.Behind-since)
		}
	}
	return list, err
}

// Members lists all nodes in a transaction.
func Members(ctx context.Context, tx store.Tx) ([]Member, error) {
	nodes, err := tx.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	now, err := tx.Clock(ctx)
	if err != nil {
		return nil, err
	}
	head, err := tx.Head(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Member, len(nodes))
	for i, n := range nodes {
		list[i] = member(n, now, head)
	}
	return list, nil
}

func member(n *store.Node, now time.Time, head store.Position) Member {
	m := Member{Node: *n, State: Live, Quiet: max(0, now.Sub(n.Seen)), Behind: max(0, int64(head-n.Position))}
	switch {
	case !n.Left.IsZero():
		m.State = Stopped
	case m.Quiet > Silent:
		m.State = Unheard
	}
	return m
}

// Sweep removes the nodes that have been gone for longer than Kept and that nothing needs, and returns their ids.
func (r *Registry) Sweep(ctx context.Context) (removed []string, err error) {
	members, err := r.Members(ctx)
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		if m.State == Live || m.Quiet <= Kept {
			continue
		}
		gone, err := r.remove(ctx, &m.Node)
		if err != nil {
			return removed, err
		}
		if gone {
			removed = append(removed, m.ID)
		}
	}
	return removed, nil
}

// remove forgets a node unless it has come back since, or something needs it.
func (r *Registry) remove(ctx context.Context, n *store.Node) (gone bool, err error) {
	err = r.Store.Update(ctx, store.NewOp(r.Clock.Now()), func(tx store.Tx) error {
		gone = false
		now, err := find(ctx, tx, n.ID)
		if err != nil || now.Process != n.Process || !now.Seen.Equal(n.Seen) {
			return err
		}
		if r.Keep != nil {
			if keep, err := r.Keep(ctx, tx, now); err != nil || keep {
				return err
			}
		}
		gone = true
		return tx.RemoveNode(ctx, n.ID)
	})
	return gone && err == nil, err
}

// Remove takes a node out of the list for good: somebody vouches that it answers nobody any more. One that lives is a fault.Conflict.
func Remove(ctx context.Context, tx store.Tx, id string) error {
	n, err := find(ctx, tx, id)
	if err != nil {
		return err
	}
	now, err := tx.Clock(ctx)
	if err != nil {
		return err
	}
	if member(n, now, n.Position).State == Live {
		return fault.New(fault.Conflict, "the node %s lives: end its process first, and try again when %s have passed", id, Silent)
	}
	return tx.RemoveNode(ctx, id)
}

func find(ctx context.Context, tx store.Tx, id string) (*store.Node, error) {
	nodes, err := tx.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if n.ID == id {
			return n, nil
		}
	}
	return nil, fault.New(fault.NotFound, "there is no node %s", id)
}
