package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"zombiezen.com/go/sqlite"

	"github.com/keywright/keywright/internal/store/relational"
)

// Sizes of a connection's page cache, in KiB. The writer's is kept small on purpose: a commit walks the whole cache after
// a page was split. Readers lean on the page cache of the operating system: each commit empties theirs, so that more than this is never filled for long.
const (
	writerCacheKiB = 16 << 10
	readerCacheKiB = 2 << 10
)

// conn is one connection, which keeps its statements prepared. It serves one goroutine at a time.
//
// It stands on SQLite's own interface: a connection of database/sql takes a lock at each call, and asks SQLite for the name and type of each column at each
// query. That was a quarter of the CPU time of a View, and two thirds of its allocations.
type conn struct {
	db     *sqlite.Conn
	values [maxColumns]driver.Value
}

// maxColumns is the most that a query of this package returns.
const maxColumns = 32

// newConn opens a connection that may write, and sets it up. Its statements run to their end whatever becomes of a caller's context: an interrupt would end
// the transactions of others with them.
func newConn(path string, cacheKiB int, pragmas ...string) (*conn, error) {
	return openConn(path, sqlite.OpenReadWrite|sqlite.OpenCreate, append([]string{
		"page_size=4096",
		"journal_mode=WAL",
		"synchronous=FULL",
		"temp_store=MEMORY",
		"wal_autocheckpoint=0",
		fmt.Sprintf("cache_size=-%d", cacheKiB),
	}, pragmas...)...)
}

func openConn(path string, flags sqlite.OpenFlags, pragmas ...string) (*conn, error) {
	db, err := sqlite.OpenConn(path, flags)
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	// Of itself a connection waits for a lock without end. How long it waits here is one of the pragmas.
	db.SetBusyTimeout(0)
	c := &conn{db: db}
	for _, p := range pragmas {
		if _, err := c.exec("PRAGMA " + p); err != nil {
			return nil, errors.Join(fmt.Errorf("setting %s: %w", p, classify(err)), c.close())
		}
	}
	return c, nil
}

// script runs statements without arguments, which end with semicolons.
func (c *conn) script(text string) error {
	for text != "" {
		s, rest, err := c.db.PrepareTransient(text)
		if err != nil {
			return err
		}
		text = strings.TrimSpace(text[len(text)-rest:])
		_, err = s.Step()
		if err = errors.Join(err, s.Finalize()); err != nil {
			return err
		}
	}
	return nil
}

// stmt returns the prepared statement for a query, which is a constant of this package, with its arguments.
func (c *conn) stmt(query string, args []any) (*sqlite.Stmt, error) {
	s, err := c.db.Prepare(query)
	if err != nil {
		return nil, err
	}
	for i, a := range args {
		switch a := a.(type) {
		case nil:
			s.BindNull(i + 1)
		case string:
			s.BindText(i+1, a)
		case []byte:
			if a == nil {
				s.BindNull(i + 1)
			} else {
				s.BindBytes(i+1, a)
			}
		case int64:
			s.BindInt64(i+1, a)
		case int:
			s.BindInt64(i+1, int64(a))
		case bool:
			s.BindBool(i+1, a)
		default:
			return nil, fmt.Errorf("the argument %d of %q is a %T, which no column holds", i+1, query, a)
		}
	}
	return s, nil
}

// exec runs a statement and returns the number of rows that it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	if err := c.query(context.Background(), query, args, func(relational.Row) error { return nil }); err != nil {
		return 0, err
	}
	return int64(c.db.Changes()), nil
}

// query calls each for every row, until it returns an error or ctx ends. each must not run another statement.
func (c *conn) query(ctx context.Context, query string, args []any, each func(relational.Row) error) (err error) {
	s, err := c.stmt(query, args)
	if err != nil {
		return err
	}
	defer func() {
		if e := s.Reset(); err == nil {
			err = e
		}
	}()
	for {
		more, err := s.Step()
		if err != nil || !more {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := each(c.row(s)); err != nil {
			return err
		}
	}
}

// row returns the values of the row at which a statement is.
func (c *conn) row(s *sqlite.Stmt) relational.Row {
	values := c.values[:s.DataCount()]
	for i := range values {
		switch s.ColumnType(i) {
		case sqlite.TypeInteger:
			values[i] = s.ColumnInt64(i)
		case sqlite.TypeText:
			values[i] = s.ColumnText(i)
		case sqlite.TypeBlob:
			b := make([]byte, s.ColumnLen(i))
			s.ColumnBytes(i, b)
			values[i] = b
		default:
			values[i] = nil
		}
	}
	return values
}

// Query implements relational.Conn.
func (c *conn) Query(ctx context.Context, query string, args []any, each func(relational.Row) error) error {
	return classify(c.query(ctx, query, args, each))
}

// Exec implements relational.Conn.
func (c *conn) Exec(_ context.Context, query string, args []any) (int64, error) {
	n, err := c.exec(query, args...)
	return n, classify(err)
}

// Expect implements relational.Conn. Nothing is gained by not waiting for SQLite.
func (c *conn) Expect(_ context.Context, _ int64, query string, args []any) (int64, error) {
	n, err := c.exec(query, args...)
	return n, classify(err)
}

func (c *conn) close() error { return c.db.Close() }
