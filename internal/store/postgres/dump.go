package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
)

var (
	_ store.Dumper = (*Store)(nil)
	_ store.Loader = (*Store)(nil)
)

// dumpTimeout bounds the reading of one table by a dump, and with it how long the database keeps what was overwritten since.
const dumpTimeout = 24 * time.Hour

// Dump implements store.Dumper. It has a connection of its own.
func (s *Store) Dump(ctx context.Context, to store.Sink) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	c, err := s.connect(ctx, reader)
	if err != nil {
		return err
	}
	defer c.close()
	c.timeout = dumpTimeout
	if _, err := c.run(ctx, control("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")); err != nil {
		return err
	}
	tables, err := tablesOf(ctx, c)
	if err != nil {
		return err
	}
	return relational.DumpTables(ctx, &streaming{c}, tables, to)
}

// streaming reads tables of any size. The first error of a reader ends the connection, so that nobody waits for rows that nobody wants.
type streaming struct{ *conn }

// Query implements relational.Conn.
func (c *streaming) Query(ctx context.Context, query string, args []any, each func(relational.Row) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	err := c.query(ctx, query, args, func(r relational.Row) error {
		if failed == nil {
			if failed = each(r); failed != nil {
				cancel()
			}
		}
		return failed
	})
	if failed != nil {
		return failed
	}
	return err
}

// Exec implements relational.Conn.
func (c *streaming) Exec(context.Context, string, []any) (int64, error) { return 0, errReads }

// Expect implements relational.Conn.
func (c *streaming) Expect(context.Context, int64, string, []any) (int64, error) { return 0, errReads }

// hiddenColumn is what CockroachDB adds to a table without a primary key, and lists among its columns (CockroachDB, "Hidden columns"). It means nothing
// elsewhere, and no table of ours has a column of that name.
const hiddenColumn = "rowid"

// tablesOf lists the tables of the schema, in the order of their names.
func tablesOf(ctx context.Context, c *conn) (list []*store.Table, err error) {
	err = c.query(ctx, `SELECT CAST(table_name AS TEXT), CAST(column_name AS TEXT) FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name <> 'schema_steps' AND column_name <> ?`, []any{hiddenColumn}, func(r relational.Row) error {
		i := slices.IndexFunc(list, func(t *store.Table) bool { return t.Name == r.Text(0) })
		if i < 0 {
			i, list = len(list), append(list, &store.Table{Name: r.Text(0)})
		}
		list[i].Columns = append(list[i].Columns, r.Text(1))
		return nil
	})
	for _, t := range list {
		slices.Sort(t.Columns)
	}
	slices.SortFunc(list, func(a, b *store.Table) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return list, err
}

// checkWhole refuses a store in which a load did not end, unless it is opened for a load.
func (s *Store) checkWhole(ctx context.Context) error {
	found, err := relational.Loading(ctx, inTransaction{s.writer})
	if err != nil || !found || s.config.Load {
		return err
	}
	return fault.New(fault.Unavailable, "a restore into this store did not end: run it again; nothing else may use the store until then")
}

// Empty implements store.Loader.
func (s *Store) Empty(ctx context.Context) (empty bool, err error) {
	err = s.bulk(ctx, func(b *bulk) error {
		tables, err := tablesOf(ctx, b.conn)
		if err == nil {
			empty, err = relational.Empty(ctx, b, tables)
		}
		return err
	})
	return empty, err
}

// Load implements store.Loader.
func (s *Store) Load(ctx context.Context, from store.Source, more []store.Tombstone) (done store.Loaded, err error) {
	if !s.config.Load {
		return done, fault.New(fault.Internal, "the store was not opened for a load")
	}
	err = s.bulk(ctx, func(b *bulk) error {
		tables, err := tablesOf(ctx, b.conn)
		if err != nil {
			return err
		}
		done, err = relational.Load(ctx, tables, from, more, b.commit)
		return err
	})
	return done, err
}

// Settle implements store.Loader.
func (s *Store) Settle(ctx context.Context) error {
	return s.bulk(ctx, func(b *bulk) error {
		return b.commit(func(c relational.Conn) error { return relational.Settle(ctx, c) })
	})
}

// bulkAtOnce is how many statements go out together.
const bulkAtOnce = 500

// bulk runs the transactions of a load on a connection of its own. It implements relational.Conn.
type bulk struct {
	conn  *conn
	queue []*statement
}

func (s *Store) bulk(ctx context.Context, fn func(*bulk) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	c, err := s.connect(ctx, writer)
	if err != nil {
		return err
	}
	defer c.close()
	c.timeout = stepTimeout // a table is emptied by one statement
	return fn(&bulk{conn: c})
}

// commit runs one transaction, under the lock of all writers.
func (b *bulk) commit(fn func(relational.Conn) error) error {
	ctx := context.Background()
	if _, err := b.conn.run(ctx, control("BEGIN ISOLATION LEVEL READ COMMITTED"), &statement{query: lockPosition, least: -1}); err != nil {
		return unavailable(err)
	}
	err := fn(b)
	if err == nil {
		err = b.flush()
	}
	b.queue = nil
	if err != nil {
		if !b.conn.dead() {
			b.conn.run(ctx, control("ROLLBACK"))
		}
		return err
	}
	_, err = b.conn.run(ctx, control("COMMIT"))
	return unavailable(err)
}

func (b *bulk) flush() error {
	if len(b.queue) == 0 {
		return nil
	}
	list := b.queue
	b.queue = nil
	_, err := b.conn.run(context.Background(), list...)
	return err
}

// Query implements relational.Conn.
func (b *bulk) Query(ctx context.Context, query string, args []any, each func(relational.Row) error) error {
	if err := b.flush(); err != nil {
		return err
	}
	return b.conn.query(ctx, query, args, each)
}

// Exec implements relational.Conn.
func (b *bulk) Exec(ctx context.Context, query string, args []any) (int64, error) {
	if err := b.flush(); err != nil {
		return 0, err
	}
	return b.conn.exec(ctx, query, args...)
}

// Expect implements relational.Conn.
func (b *bulk) Expect(_ context.Context, least int64, query string, args []any) (int64, error) {
	q, err := newStatement(query, args)
	if err != nil {
		return 0, err
	}
	if b.queue = append(b.queue, q); len(b.queue) >= bulkAtOnce {
		err = b.flush()
	}
	return least, err
}
