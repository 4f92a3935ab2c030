package relational

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// Audit implements store.Journal.
func (t *Tx) Audit(record []byte) {
	if !t.writable || t.audited {
		panic("store: Audit was called in a View, or twice in one Update")
	}
	t.audited, t.journaled, t.audit = true, true, bytes.Clone(record)
}

// Emit implements store.Journal.
func (t *Tx) Emit(e store.Event) {
	if !t.writable {
		panic("store: Emit was called in a View")
	}
	e.At, e.Data = clock.Micro(e.At), bytes.Clone(e.Data)
	t.journaled, t.events = true, append(t.events, e)
}

// Seal ends an update whose closure returned err: it writes the entry of the journal, nil when there is nothing to enter. An
// operation that is committed already answers so whatever its closure said, because the closure met its own effects.
func (t *Tx) Seal(ctx context.Context, err error) (*store.Commit, error) {
	t.over = false
	defer t.End()
	if err == nil {
		err = t.noteTouched(ctx)
	}
	if err == nil {
		err = t.carryDue(ctx)
	}
	if err == nil && t.journaled {
		return t.enter(ctx)
	}
	found, lookup := t.Committed(ctx, t.op.ID)
	switch {
	case lookup != nil:
		return nil, lookup
	case found:
		return nil, store.ErrCommitted
	}
	return nil, err
}

// enter writes the entry.
func (t *Tx) enter(ctx context.Context) (*store.Commit, error) {
	c := &store.Commit{Position: t.last + 1, Op: t.op, Changes: t.changes, Audit: t.audit, Events: t.events}
	var changes, events any
	for _, l := range []struct {
		column *any
		list   any
		n      int
	}{{&changes, c.Changes, len(c.Changes)}, {&events, c.Events, len(c.Events)}} {
		if l.n == 0 {
			continue
		}
		b, err := json.Marshal(l.list)
		if err != nil {
			return nil, fmt.Errorf("encoding a journal entry: %w", err)
		}
		*l.column = string(b)
	}
	_, err := t.put(ctx, silent, "INSERT INTO journal (position, op, at, changes, audit, events) VALUES (?, ?, ?, ?, ?, ?)",
		int64(c.Position), string(c.Op.ID), c.Op.At.UnixMicro(), changes, c.Audit, events)
	if taken(err) {
		return nil, store.ErrCommitted
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Committed reports whether the journal has an operation.
func (t *Tx) Committed(ctx context.Context, id store.OpID) (bool, error) {
	return t.one(ctx, "SELECT 1 FROM journal WHERE op = ?", []any{string(id)}, func(Row) {})
}

// Commits implements store.Journal.
func (t *Tx) Commits(ctx context.Context, after store.Position, n int) ([]*store.Commit, error) {
	var list []*store.Commit
	err := t.query(ctx, "SELECT position, op, at, changes, audit, events FROM journal WHERE position > ? ORDER BY position LIMIT ?",
		[]any{int64(after), limit(n)}, func(r Row) error {
			c := store.Commit{
				Position: store.Position(r.Integer(0)),
				Op:       store.Op{ID: store.OpID(r.Text(1)), At: r.Instant(2)},
				Audit:    r.Blob(4),
			}
			if err := unmarshalList(r.Text(3), &c.Changes); err != nil {
				return err
			}
			if err := unmarshalList(r.Text(5), &c.Events); err != nil {
				return err
			}
			list = append(list, &c)
			return nil
		})
	return list, err
}

// Audits implements store.Journal.
func (t *Tx) Audits(ctx context.Context, after store.Position, n int) ([]*store.Commit, error) {
	var list []*store.Commit
	err := t.query(ctx, "SELECT position, op, at, audit FROM journal WHERE position > ? ORDER BY position LIMIT ?", []any{int64(after), limit(n)}, func(r Row) error {
		list = append(list, &store.Commit{Position: store.Position(r.Integer(0)), Op: store.Op{ID: store.OpID(r.Text(1)), At: r.Instant(2)}, Audit: r.Blob(3)})
		return nil
	})
	return list, err
}

// Head implements store.Journal. The counter may be behind: a row that prunes keeps it from giving a position twice, and an engine may count along.
func (t *Tx) Head(ctx context.Context) (store.Position, error) {
	var p int64
	_, err := t.one(ctx, "SELECT value, coalesce((SELECT max(position) FROM journal), 0) FROM meta WHERE name = 'position'", nil,
		func(r Row) { p = max(r.Integer(0), r.Integer(1)) })
	return store.Position(p), err
}

func unmarshalList(column string, dst any) error {
	if column == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(column), dst); err != nil {
		return fmt.Errorf("decoding a journal entry: %w", err)
	}
	return nil
}

// Cursor implements store.Journal.
func (t *Tx) Cursor(ctx context.Context, reader string) (store.Position, error) {
	var p store.Position
	_, err := t.one(ctx, "SELECT position FROM cursors WHERE reader = ?", []any{reader},
		func(r Row) { p = store.Position(r.Integer(0)) })
	return p, err
}

// SetCursor implements store.Journal.
func (t *Tx) SetCursor(ctx context.Context, reader string, p store.Position) error {
	return t.arrange(ctx, `INSERT INTO cursors (reader, position) VALUES (?, ?)
		ON CONFLICT (reader) DO UPDATE SET position = excluded.position WHERE excluded.position > cursors.position`, reader, int64(p))
}

// PruneJournal implements store.Journal. The newest position is kept beside the journal, so that none is given out twice.
func (t *Tx) PruneJournal(ctx context.Context, p store.Position, olderThan time.Time, n int) (int, error) {
	if p < 0 {
		return 0, fault.New(fault.Internal, "the journal has no position %d", p)
	}
	if _, err := t.write(ctx, silent, "UPDATE meta SET value = ? WHERE name = 'position' AND value < ?",
		int64(t.last), int64(t.last)); err != nil {
		return 0, err
	}
	removed, err := t.write(ctx, silent, `DELETE FROM journal WHERE position IN
		(SELECT position FROM journal WHERE position <= ? AND at < ? ORDER BY position LIMIT ?)`,
		int64(p), olderThan.UnixMicro(), limit(n))
	return int(removed), err
}
