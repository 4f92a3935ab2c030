package storetest

import (
	"strings"
	"time"

	"github.com/keywright/keywright/internal/store"
)

var nodeReaders = strings.Fields("Clock Nodes")

var nodeMutations = []mutation{
	{method: "JoinNode", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error { return tx.JoinNode(e.ctx, newNode(82)) }},
	{method: "BeatNode", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.BeatNode(e.ctx, f.node.ID, f.node.Process, 9)
	}},
	{method: "LeaveNode", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error { return tx.LeaveNode(e.ctx, f.node.ID, f.node.Process) }},
	{method: "RemoveNode", silent: true, apply: func(e *env, f *fixture, tx store.Tx) error { return tx.RemoveNode(e.ctx, f.node.ID) }},
}

var nodeCases = []testCase{
	{name: "Nodes/Life", run: nodeLives, reopens: true},
	{name: "Nodes/Replaced", run: nodeReplaced},
	{name: "Nodes/NotFound", run: nodesNotFound},
	{name: "Nodes/Clock", run: storeClock},
}

func newNode(n int) *store.Node {
	return &store.Node{ID: hex32(n)[16:], Process: hex32(n + 1000), Host: "rack-7", Version: "v1.2.3", Position: 7}
}

// nodesIn is what states hold of nodes. Instants by the store's clock differ from one run to the next; whether there is one does not.
func nodesIn(e *env, tx store.Tx) ([]*store.Node, error) {
	nodes, err := tx.Nodes(e.ctx)
	for i, n := range nodes {
		cut := *n
		cut.Started, cut.Seen = time.Time{}, time.Time{}
		if !cut.Left.IsZero() {
			cut.Left = noon
		}
		nodes[i] = &cut
	}
	return nodes, err
}

func nodes(e *env) []*store.Node {
	e.Helper()
	return read(e, func(tx store.Tx) ([]*store.Node, error) { return tx.Nodes(e.ctx) })
}

func clockOf(e *env) time.Time {
	e.Helper()
	return read(e, func(tx store.Tx) (time.Time, error) { return tx.Clock(e.ctx) })
}

func nodeLives(e *env) {
	n, other := newNode(2), newNode(1)
	before := clockOf(e)
	e.update(func(tx store.Tx) error { return firstOf(tx.JoinNode(e.ctx, n), tx.JoinNode(e.ctx, other)) })
	e.reopen()
	got := nodes(e)
	if len(got) != 2 || got[0].ID != other.ID || got[1].ID != n.ID {
		e.Fatalf("the nodes are %v, want the two in the order of their ids", got)
	}
	joined := *got[1]
	want := *n
	want.Started, want.Seen = joined.Started, joined.Seen
	same(e, "the node that joined", &joined, &want)
	if joined.Started.Before(before) || !joined.Seen.Equal(joined.Started) {
		e.Errorf("it joined after %s, and was started at %s, seen at %s", before, joined.Started, joined.Seen)
	}
	time.Sleep(time.Millisecond)
	e.update(func(tx store.Tx) error { return tx.BeatNode(e.ctx, n.ID, n.Process, 12) })
	beaten := *nodes(e)[1]
	if !beaten.Seen.After(joined.Seen) {
		e.Errorf("after a beat it was seen at %s, before at %s", beaten.Seen, joined.Seen)
	}
	want.Seen, want.Position = beaten.Seen, 12
	same(e, "the node after a beat", &beaten, &want)
	e.update(func(tx store.Tx) error { return tx.LeaveNode(e.ctx, n.ID, n.Process) })
	left := *nodes(e)[1]
	if left.Left.Before(beaten.Seen) || !left.Left.Equal(left.Seen) {
		e.Errorf("it left at %s and was seen at %s, before at %s", left.Left, left.Seen, beaten.Seen)
	}
	e.update(func(tx store.Tx) error { return tx.RemoveNode(e.ctx, n.ID) })
	if got := nodes(e); len(got) != 1 || got[0].ID != other.ID {
		e.Errorf("the nodes are %v after one was removed", got)
	}
}

// nodeReplaced: the process that joined last is the node, whether the one before ended or not.
func nodeReplaced(e *env) {
	first, second := newNode(1), newNode(1)
	second.Process, second.Host, second.Version, second.Position = hex32(7), "rack-8", "v2", 3
	e.update(func(tx store.Tx) error { return tx.JoinNode(e.ctx, first) })
	e.update(func(tx store.Tx) error { return tx.LeaveNode(e.ctx, first.ID, first.Process) })
	e.update(func(tx store.Tx) error { return tx.JoinNode(e.ctx, second) })
	for name, use := range map[string]func(store.Tx) error{
		"BeatNode":  func(tx store.Tx) error { return tx.BeatNode(e.ctx, first.ID, first.Process, 20) },
		"LeaveNode": func(tx store.Tx) error { return tx.LeaveNode(e.ctx, first.ID, first.Process) },
	} {
		lost(e, name+" of the process before", e.try(use), store.NodeReplaced)
	}
	got := nodes(e)[0]
	want := *second
	want.Started, want.Seen = got.Started, got.Seen
	same(e, "the node", got, &want)
}

func nodesNotFound(e *env) {
	missing(e, nil, map[string]func(tx store.Tx) error{
		"BeatNode":   func(tx store.Tx) error { return tx.BeatNode(e.ctx, "x", "y", 1) },
		"LeaveNode":  func(tx store.Tx) error { return tx.LeaveNode(e.ctx, "x", "y") },
		"RemoveNode": func(tx store.Tx) error { return tx.RemoveNode(e.ctx, "x") },
	})
}

// storeClock: the clock of nodes is that of leases, and goes on.
func storeClock(e *env) {
	before := clockOf(e)
	l := acquired(e, "a", long)
	time.Sleep(time.Millisecond)
	after := clockOf(e)
	if !before.Before(after) || before.After(l.Until.Add(-long)) || after.Before(l.Until.Add(-long)) {
		e.Errorf("the clock says %s before and %s after a lease that was given at %s", before, after, l.Until.Add(-long))
	}
}
