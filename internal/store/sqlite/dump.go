package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
)

var (
	_ store.Dumper = (*Store)(nil)
	_ store.Loader = (*Store)(nil)
)

// Dump implements store.Dumper. It has a connection of its own, so that it takes none from readers. The log grows by what others write until it ends.
func (s *Store) Dump(ctx context.Context, to store.Sink) (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	c, err := newConn(s.path(), readerCacheKiB, "busy_timeout=1000", "query_only=ON")
	if err != nil {
		return unavailable(err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if _, err := c.exec("BEGIN"); err != nil {
		return unavailable(err)
	}
	tables, err := tablesOf(c)
	if err != nil {
		return err
	}
	return relational.DumpTables(ctx, c, tables, to)
}

// tablesOf lists the tables of the schema, in the order of their names, without what repeats what is there already.
func tablesOf(c *conn) (list []*store.Table, err error) {
	err = c.query(context.Background(), `SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\'
		ORDER BY t.name, c.name`, nil, func(r relational.Row) error {
		if n := len(list); n == 0 || list[n-1].Name != r.Text(0) {
			list = append(list, &store.Table{Name: r.Text(0)})
		}
		if last := list[len(list)-1]; !relational.IsCarried(last.Name, r.Text(1)) {
			last.Columns = append(last.Columns, r.Text(1))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	return list, nil
}

// checkWhole refuses a store in which a load did not end, unless it is opened for a load.
func (s *Store) checkWhole() error {
	found, err := relational.Loading(context.Background(), s.writer)
	if err != nil || !found || s.loading {
		return err
	}
	return fault.New(fault.Unavailable, "a restore into this store did not end: run it again; nothing else may use the store until then")
}

// alone lends the writer's connection, between two groups.
func (s *Store) alone(fn func(c *conn) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.turn.Claim()
	defer s.turn.Pass()
	return fn(s.writer)
}

// commitAlone runs a transaction of the writer that makes no entry of the journal.
func (s *Store) commitAlone(fn func(relational.Conn) error) error {
	if err := s.begin(); err != nil {
		s.rollback()
		return unavailable(err)
	}
	counted := &counting{conn: s.writer}
	if err := fn(counted); err != nil {
		s.rollback()
		return err
	}
	if err := s.commitDurably(); err != nil {
		s.rollback()
		s.doubt.Store(true)
		return unavailable(err)
	}
	s.wrote(counted.changes)
	return nil
}

// counting counts what is changed, so that checkpoints keep pace.
type counting struct {
	*conn
	changes int64
}

func (c *counting) Exec(ctx context.Context, query string, args []any) (int64, error) {
	n, err := c.conn.Exec(ctx, query, args)
	c.changes += n
	return n, err
}

func (c *counting) Expect(ctx context.Context, _ int64, query string, args []any) (int64, error) {
	return c.Exec(ctx, query, args)
}

// Empty implements store.Loader.
func (s *Store) Empty(ctx context.Context) (empty bool, err error) {
	err = s.alone(func(c *conn) error {
		tables, err := tablesOf(c)
		if err == nil {
			empty, err = relational.Empty(ctx, c, tables)
		}
		return err
	})
	return empty, err
}

// Load implements store.Loader. It passes the turn on after each transaction, so that checkpoints come by.
func (s *Store) Load(ctx context.Context, from store.Source, more []store.Tombstone) (done store.Loaded, err error) {
	var tables []*store.Table
	err = s.alone(func(c *conn) (err error) {
		if !s.loading {
			return fault.New(fault.Internal, "the store was not opened for a load")
		}
		tables, err = tablesOf(c)
		return err
	})
	if err != nil {
		return done, err
	}
	done, err = relational.Load(ctx, tables, from, more, func(fn func(relational.Conn) error) error {
		return s.alone(func(*conn) error { return s.commitAlone(fn) })
	})
	if err != nil {
		return done, err
	}
	return done, s.alone(func(*conn) error {
		s.last, err = s.lastPosition()
		return err
	})
}

// Settle implements store.Loader.
func (s *Store) Settle(ctx context.Context) error {
	return s.alone(func(*conn) error {
		err := s.commitAlone(func(c relational.Conn) error { return relational.Settle(ctx, c) })
		if err == nil {
			s.loading = false
		}
		return err
	})
}
