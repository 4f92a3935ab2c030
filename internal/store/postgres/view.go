package postgres

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
)

// view is the transaction of a View.
type view struct {
	store *Store
	conn  *conn
	begun bool
}

// View implements store.Store. fn must not write, and must not call the store's Close.
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	c, err := s.readers.Get(ctx)
	if err != nil {
		s.leave()
		return err
	}
	v := &view{store: s, conn: c}
	t := relational.View(v, v.clock)
	defer func() {
		t.End()
		v.end()
	}()
	return fn(&t)
}

// end gives the connection back. Nobody waits for the end of a transaction that only read.
func (v *view) end() {
	if !v.begun || v.conn.dead() {
		v.store.giveBack(v.conn)
		v.store.leave()
		return
	}
	go func() {
		defer v.store.leave()
		defer v.store.giveBack(v.conn)
		ctx, cancel := context.WithTimeout(context.Background(), cancelTimeout)
		defer cancel()
		if _, err := v.conn.run(ctx, control("ROLLBACK")); err != nil {
			v.conn.cut()
		}
	}()
}

// Query implements relational.Conn. The first one begins the transaction. The server may have closed a connection that lay idle; nothing was answered
// then, and another connection is tried.
func (v *view) Query(ctx context.Context, query string, args []any, each func(relational.Row) error) error {
	if v.begun {
		return v.conn.query(ctx, query, args, each)
	}
	old := v.conn.used
	err := v.begin(ctx, query, args, each)
	if err != nil && old && !v.begun && v.conn.dead() && ctx.Err() == nil {
		c, opening := v.store.replaceReader(ctx)
		if opening != nil {
			return opening
		}
		v.conn = c
		err = v.begin(ctx, query, args, each)
	}
	return err
}

func (v *view) begin(ctx context.Context, query string, args []any, each func(relational.Row) error) error {
	s, err := newStatement(query, args)
	if err != nil {
		return err
	}
	rows := 0
	s.each = func(r relational.Row) error {
		rows++
		return each(r)
	}
	_, err = v.conn.run(ctx, control("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"), s)
	v.begun = err == nil || rows > 0 || !v.conn.dead()
	return err
}

var errReads = fault.New(fault.Internal, "a View tried to write")

// Exec implements relational.Conn.
func (v *view) Exec(context.Context, string, []any) (int64, error) { return 0, errReads }

// Expect implements relational.Conn.
func (v *view) Expect(context.Context, int64, string, []any) (int64, error) { return 0, errReads }

// clock asks the database for the time.
func (v *view) clock(ctx context.Context) (now time.Time, err error) {
	err = v.Query(ctx, selectClock, nil, func(r relational.Row) error {
		now = r.Instant(0)
		return nil
	})
	return now, err
}

// selectClock is the database's clock in microseconds. It goes on within a transaction.
const selectClock = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
