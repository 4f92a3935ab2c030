package relational

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Tx is a transaction of an engine. It implements store.Tx.
type Tx struct {
	conn     Conn
	writable bool
	// clock is the database's clock of leases.
	clock func(context.Context) (time.Time, error)
	// over is set when the closure has returned.
	over bool
	// broken is the error that ended the transaction; nothing may be run after it.
	broken error

	op store.Op
	// last is the newest position of the journal.
	last store.Position
	// writes counts changed rows. journaled is set by those that make the update an entry of the journal.
	writes    int64
	journaled bool
	changes   []store.Change
	// noted are the objects named in changes, touched those of which a version was written.
	noted, touched []vault.ObjectID
	carried        carried
	audited        bool
	audit          []byte
	events         []store.Event
}

var _ store.Tx = (*Tx)(nil)

// View returns a transaction that only reads. The clock is that by which leases run out.
func View(conn Conn, clock func(context.Context) (time.Time, error)) Tx {
	return Tx{conn: conn, clock: clock}
}

// Update returns a transaction of one operation that may write. last is the newest position of the journal, that of updates of the same commit included.
func Update(conn Conn, clock func(context.Context) (time.Time, error), op store.Op, last store.Position) Tx {
	return Tx{conn: conn, clock: clock, writable: true, op: op, last: last}
}

// End says that the closure has returned, or never will: nothing of it may use the transaction any more.
func (t *Tx) End() { t.over = true }

// Broken returns the error that ended the transaction, or nil.
func (t *Tx) Broken() error { return t.broken }

// Writes returns how many rows were changed.
func (t *Tx) Writes() int64 { return t.writes }

// guard refuses what cannot run. A writer's statements run whatever becomes of the caller's context.
func (t *Tx) guard(ctx context.Context) error {
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

// fail remembers an error that ended the transaction.
func (t *Tx) fail(err error) error {
	if err != nil && t.broken == nil && fault.Is(err, fault.Unavailable) {
		t.broken = err
	}
	return err
}

// query calls each for every row.
func (t *Tx) query(ctx context.Context, query string, args []any, each func(Row) error) error {
	if err := t.guard(ctx); err != nil {
		return err
	}
	if t.writable {
		ctx = context.Background()
	}
	return t.fail(t.conn.Query(ctx, query, args, each))
}

// one calls read for the only row of a query, and reports whether there was one.
func (t *Tx) one(ctx context.Context, query string, args []any, read func(Row)) (found bool, err error) {
	err = t.query(ctx, query, args, func(r Row) error {
		read(r)
		found = true
		return nil
	})
	return found && err == nil, err
}

// change is what a write means to those who follow the journal.
type change func(t *Tx)

// silent makes no entry of the journal.
func silent(*Tx) {}

// unseen makes an entry that names no change.
func unseen(t *Tx) { t.journaled = true }

// noting names the changed record.
func noting(c store.Change) change { return func(t *Tx) { t.note(c) } }

// write runs a statement and returns how many rows it changed; when none was, nothing is noted. Every change passes here or through put, and so none is
// missed by the journal.
func (t *Tx) write(ctx context.Context, ch change, query string, args ...any) (int64, error) {
	if err := t.guardWrite(ctx); err != nil {
		return 0, err
	}
	n, err := t.conn.Exec(context.Background(), query, args)
	return n, t.wrote(ch, n, err)
}

// put is write for a statement that changes at least one row if all goes well, so that an engine need not wait for it.
func (t *Tx) put(ctx context.Context, ch change, query string, args ...any) (int64, error) {
	if err := t.guardWrite(ctx); err != nil {
		return 0, err
	}
	n, err := t.conn.Expect(context.Background(), 1, query, args)
	return n, t.wrote(ch, n, err)
}

// arrange runs a statement that makes no entry of the journal and about whose outcome nobody asks.
func (t *Tx) arrange(ctx context.Context, query string, args ...any) error {
	if err := t.guardWrite(ctx); err != nil {
		return err
	}
	n, err := t.conn.Expect(context.Background(), 0, query, args)
	return t.wrote(silent, n, err)
}

func (t *Tx) guardWrite(ctx context.Context) error {
	if err := t.guard(ctx); err != nil {
		return err
	}
	if !t.writable {
		return fault.New(fault.Internal, "a View tried to write")
	}
	return nil
}

func (t *Tx) wrote(ch change, n int64, err error) error {
	if err != nil {
		return t.fail(err)
	}
	if n > 0 {
		t.writes += n
		ch(t)
	}
	return nil
}

// mustChange runs a statement that changes or deletes one record, which must be there.
func (t *Tx) mustChange(ctx context.Context, ch change, what string, key any, query string, args ...any) error {
	n, err := t.put(ctx, ch, query, args...)
	if err == nil && n == 0 {
		return notFound(what, key)
	}
	return err
}

// swap runs a compare-and-swap: a statement that changes no row when the revision is not the one that was read.
func (t *Tx) swap(ctx context.Context, ch change, what string, key any, query string, args ...any) error {
	n, err := t.put(ctx, ch, query, args...)
	if err == nil && n == 0 {
		return stale(what, key)
	}
	return err
}

// nearby is how far back a repeated change is looked for; a repetition does no harm.
const nearby = 16

// note adds a change to the journal entry of this update.
func (t *Tx) note(c store.Change) {
	t.journaled = true
	if !slices.Contains(t.changes[max(0, len(t.changes)-nearby):], c) {
		t.changes = append(t.changes, c)
	}
}

// Touch writes a row that means nothing, so that the commit is a durable one.
func (t *Tx) Touch(ctx context.Context) error {
	_, err := t.write(ctx, silent, "UPDATE meta SET value = value + 1 WHERE name = 'touch'")
	return err
}

// limit is a LIMIT clause's argument; 0 means no limit.
func limit(n int) int {
	if n <= 0 {
		return math.MaxInt64
	}
	return n
}

// getDoc reads the one record of a query whose only column is a document.
func getDoc[T any](ctx context.Context, t *Tx, what string, key any, query string, args ...any) (*T, error) {
	var doc string
	found, err := t.one(ctx, query, args, func(r Row) { doc = r.Text(0) })
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, notFound(what, key)
	}
	return decode[T](doc)
}

// listDocs reads every record of a query whose only column is a document.
func listDocs[T any](ctx context.Context, t *Tx, query string, args ...any) ([]*T, error) {
	var list []*T
	err := t.query(ctx, query, args, func(r Row) error {
		v, err := decode[T](r.Text(0))
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
