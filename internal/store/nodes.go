package store

import (
	"context"
	"time"
)

// Nodes keeps which nodes work on the store. Its instants are by the store's own clock, so that nobody's clock decides whether somebody
// else lives. Its changes make no entry of the journal.
type Nodes interface {
	// Clock tells the present by the store's own clock, by which leases run out too.
	Clock(ctx context.Context) (time.Time, error)
	// Nodes lists in the order of ids.
	Nodes(ctx context.Context) ([]*Node, error)
	// JoinNode inserts the node, or replaces what an earlier process of it left. Started and Seen become the present, Left none.
	JoinNode(ctx context.Context, n *Node) error
	// BeatNode notes that the process of the node lives and how far it has come: Seen becomes the present. When another process has joined in the
	// node's place, it is a fault.Conflict with reason NodeReplaced; when the node was removed, a fault.NotFound.
	BeatNode(ctx context.Context, id, process string, p Position) error
	// LeaveNode notes that the process of the node has ended in order: Left and Seen become the present. It fails like BeatNode.
	LeaveNode(ctx context.Context, id, process string) error
	// RemoveNode removes a node.
	RemoveNode(ctx context.Context, id string) error
}

// NodeReplaced is the reason of the conflict when another process has joined in a node's place.
const NodeReplaced = "NodeReplaced"

// Node is one node: a data directory, and the process that has it now or had it last.
type Node struct {
	// ID is that of the directory, 16 hexadecimal digits; Process that of the process, drawn anew by each.
	ID, Process string
	// Host is the machine's name, Version that of the program.
	Host, Version string
	// Position is the newest entry of the journal that the node's watchers have seen.
	Position Position
	// Started is when the process joined, Seen when it was last heard of, Left when it ended in order; Left is zero until then.
	Started, Seen, Left time.Time
}
