package relational

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// nodeSchema is the step of the schema that makes room for the nodes that work on the store.
const nodeSchema = `
CREATE TABLE nodes (id TEXT PRIMARY KEY, process TEXT NOT NULL, host TEXT NOT NULL, version TEXT NOT NULL, position INTEGER NOT NULL,
  started INTEGER NOT NULL, seen INTEGER NOT NULL, departed INTEGER);
`

// Clock implements store.Nodes.
func (t *Tx) Clock(ctx context.Context) (time.Time, error) {
	if err := t.guard(ctx); err != nil {
		return time.Time{}, err
	}
	now, err := t.clock(ctx)
	return clock.Micro(now), t.fail(err)
}

// Nodes implements store.Nodes.
func (t *Tx) Nodes(ctx context.Context) (list []*store.Node, err error) {
	err = t.query(ctx, "SELECT id, process, host, version, position, started, seen, departed FROM nodes ORDER BY id", nil, func(r Row) error {
		list = append(list, &store.Node{ID: r.Text(0), Process: r.Text(1), Host: r.Text(2), Version: r.Text(3), Position: store.Position(r.Integer(4)),
			Started: r.Instant(5), Seen: r.Instant(6), Left: r.Instant(7)})
		return nil
	})
	return list, err
}

// JoinNode implements store.Nodes.
func (t *Tx) JoinNode(ctx context.Context, n *store.Node) error {
	now, err := t.Clock(ctx)
	if err != nil {
		return err
	}
	_, err = t.write(ctx, silent, `INSERT INTO nodes (id, process, host, version, position, started, seen, departed) VALUES (?, ?, ?, ?, ?, ?, ?, NULL)
		ON CONFLICT (id) DO UPDATE SET process = excluded.process, host = excluded.host, version = excluded.version, position = excluded.position,
		started = excluded.started, seen = excluded.seen, departed = NULL`,
		n.ID, n.Process, n.Host, n.Version, int64(n.Position), now.UnixMicro(), now.UnixMicro())
	return err
}

// BeatNode implements store.Nodes.
func (t *Tx) BeatNode(ctx context.Context, id, process string, p store.Position) error {
	return t.ofNode(ctx, id, process, "UPDATE nodes SET position = ?, seen = ? WHERE id = ? AND process = ?", func(int64) int64 { return int64(p) })
}

// LeaveNode implements store.Nodes.
func (t *Tx) LeaveNode(ctx context.Context, id, process string) error {
	return t.ofNode(ctx, id, process, "UPDATE nodes SET departed = ?, seen = ? WHERE id = ? AND process = ?", func(now int64) int64 { return now })
}

// ofNode changes the row of a node for its process: the value at that instant, and when it was seen.
func (t *Tx) ofNode(ctx context.Context, id, process, query string, value func(now int64) int64) error {
	now, err := t.Clock(ctx)
	if err != nil {
		return err
	}
	changed, err := t.write(ctx, silent, query, value(now.UnixMicro()), now.UnixMicro(), id, process)
	if err != nil || changed > 0 {
		return err
	}
	there, err := t.one(ctx, "SELECT 1 FROM nodes WHERE id = ?", []any{id}, func(Row) {})
	switch {
	case err != nil:
		return err
	case there:
		return fault.New(fault.Conflict, "another process has joined as the node %s: one directory belongs to one process, so see whether it was copied", id).
			Because(store.NodeReplaced)
	}
	return notFound("node", id)
}

// RemoveNode implements store.Nodes.
func (t *Tx) RemoveNode(ctx context.Context, id string) error {
	return t.mustChange(ctx, silent, "node", id, "DELETE FROM nodes WHERE id = ?", id)
}
