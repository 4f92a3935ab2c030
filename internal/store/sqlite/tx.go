package sqlite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// tx is a transaction: a reader's own, or one savepoint of the writer's group.
type tx struct {
	conn     *conn
	writable bool
	leases   leaseClock
	// over is set when the closure has returned.
	over bool
	// broken is the error that ended SQLite's transaction; nothing may be run after it.
	broken error

	op store.Op
	// last is the newest position of the journal, entries of the group included.
	last store.Position
	// writes counts changed rows. journaled is set by those that make the update an entry of the journal.
	writes    int64
	journaled bool
	changes   []store.Change
	// noted are the objects named in changes, touched those of which a version was written.
	noted, touched []vault.ObjectID
	audited        bool
	audit          []byte
	events         []store.Event
}

// guard refuses what cannot run. A writer's statements run whatever becomes of the caller's context.
func (t *tx) guard(ctx context.Context) error {
	switch {
	case t.over:
		return fault.New(fault.Internal, "a transaction was used after its closure returned")
	case t.broken != nil:
		return t.broken
	case !t.writable:
		return ctx.Err()
	}
	return nil
}

// fail classifies an error of SQLite and remembers one that ended the transaction. Violated constraints pass unchanged.
func (t *tx) fail(err error) error {
	if endsTransaction(err) {
		t.broken = unavailable(err)
		return t.broken
	}
	return err
}

// query calls each for every row.
func (t *tx) query(ctx context.Context, query string, args []any, each func(row) error) error {
	if err := t.guard(ctx); err != nil {
		return err
	}
	return t.fail(t.conn.query(query, args, func(r row) error {
		if err := t.guard(ctx); err != nil {
			return err
		}
		return each(r)
	}))
}

// one calls read for the only row of a query, and reports whether there was one.
func (t *tx) one(ctx context.Context, query string, args []any, read func(row)) (found bool, err error) {
	err = t.query(ctx, query, args, func(r row) error {
		read(r)
		found = true
		return nil
	})
	return found && err == nil, err
}

// change is what a write means to those who follow the journal.
type change func(t *tx)

// silent makes no entry of the journal.
func silent(*tx) {}

// unseen makes an entry that names no change.
func unseen(t *tx) { t.journaled = true }

// noting names the changed record.
func noting(c store.Change) change { return func(t *tx) { t.note(c) } }

// write runs a statement that changes rows; every change passes here, and so none is missed by the journal. It returns how many
// rows were changed; when none was, nothing is noted.
func (t *tx) write(ctx context.Context, ch change, query string, args ...any) (int64, error) {
	if err := t.guard(ctx); err != nil {
		return 0, err
	}
	if !t.writable {
		return 0, fault.New(fault.Internal, "a View tried to write")
	}
	n, err := t.conn.exec(query, args...)
	if err != nil {
		return 0, t.fail(err)
	}
	if n > 0 {
		t.writes += n
		ch(t)
	}
	return n, nil
}

// mustChange runs a statement that changes or deletes one record, which must be there.
func (t *tx) mustChange(ctx context.Context, ch change, what string, key any, query string, args ...any) error {
	n, err := t.write(ctx, ch, query, args...)
	if err == nil && n == 0 {
		return notFound(what, key)
	}
	return err
}

// nearby is how far back a repeated change is looked for; a repetition does no harm.
const nearby = 16

// note adds a change to the journal entry of this update.
func (t *tx) note(c store.Change) {
	t.journaled = true
	if !slices.Contains(t.changes[max(0, len(t.changes)-nearby):], c) {
		t.changes = append(t.changes, c)
	}
}

// touch writes a row that means nothing, so that the commit is a durable one.
func (t *tx) touch() error {
	_, err := t.write(context.Background(), silent, "UPDATE meta SET value = value + 1 WHERE name = 'touch'")
	return err
}

// limit is a LIMIT clause's argument; 0 means no limit.
func limit(n int) int {
	if n <= 0 {
		return -1
	}
	return n
}

// getDoc reads the one record of a query whose only column is a document.
func getDoc[T any](ctx context.Context, t *tx, what string, key any, query string, args ...any) (*T, error) {
	var doc string
	found, err := t.one(ctx, query, args, func(r row) { doc = r.text(0) })
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, notFound(what, key)
	}
	return decode[T](doc)
}

// listDocs reads every record of a query whose only column is a document.
func listDocs[T any](ctx context.Context, t *tx, query string, args ...any) ([]*T, error) {
	var list []*T
	err := t.query(ctx, query, args, func(r row) error {
		v, err := decode[T](r.text(0))
		list = append(list, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

func decode[T any](doc string) (*T, error) {
	v := new(T)
	if err := json.Unmarshal([]byte(doc), v); err != nil {
		return nil, fmt.Errorf("decoding a stored %T: %w", v, err)
	}
	return v, nil
}
