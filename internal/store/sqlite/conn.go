package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"

	"modernc.org/sqlite"

	"github.com/keywright/keywright/internal/store/relational"
)

// Sizes of a connection's page cache, in KiB. The writer's is kept small on purpose: a commit walks the whole cache after
// a page was split. Readers lean on the page cache of the operating system: each commit empties theirs, so that more than this is never filled for long.
const (
	writerCacheKiB = 16 << 10
	readerCacheKiB = 2 << 10
)

// conn is one connection with its prepared statements. It serves one goroutine at a time.
//
// It stands on the driver's own connection: what database/sql adds, a pool, conversions and safety for many goroutines, is
// not needed here and was a fifth of the CPU time of a statement.
type conn struct {
	driver driver.Conn
	stmts  map[string]statement
	// args and values are reused by every statement.
	args   []driver.NamedValue
	values [maxColumns]driver.Value
}

// maxColumns is the most that a query of this package returns.
const maxColumns = 32

// statement is what the driver's statements can do.
type statement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// newConn opens a connection and sets it up. Its statements run to their end whatever becomes of a caller's context: the driver
// would interrupt the connection, and with it the transactions of others.
func newConn(path string, cacheKiB int, pragmas ...string) (*conn, error) {
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path}
	d, err := new(sqlite.Driver).Open(dsn.String())
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	c := &conn{driver: d, stmts: make(map[string]statement)}
	pragmas = append([]string{
		"page_size=4096",
		"journal_mode=WAL",
		"synchronous=FULL",
		"temp_store=MEMORY",
		"wal_autocheckpoint=0",
		fmt.Sprintf("cache_size=-%d", cacheKiB),
	}, pragmas...)
	for _, p := range pragmas {
		if _, err := c.exec("PRAGMA " + p); err != nil {
			return nil, errors.Join(fmt.Errorf("setting %s: %w", p, err), c.close())
		}
	}
	return c, nil
}

// stmt returns the prepared statement for a query, which is a constant of this package.
func (c *conn) stmt(query string) (statement, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	prepared, err := c.driver.Prepare(query)
	if err != nil {
		return nil, fmt.Errorf("preparing %q: %w", query, err)
	}
	s, ok := prepared.(statement)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver's statements are of the unknown type %T", prepared), prepared.Close())
	}
	c.stmts[query] = s
	return s, nil
}

// bind returns the arguments of a statement as the driver takes them. They are good until the next call.
func (c *conn) bind(args []any) []driver.NamedValue {
	c.args = c.args[:0]
	for i, a := range args {
		if n, ok := a.(int); ok {
			a = int64(n)
		}
		c.args = append(c.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return c.args
}

// exec runs a statement and returns the number of rows that it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.stmt(query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(context.Background(), c.bind(args))
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query calls each for every row, until it returns an error or ctx ends. each must not run another statement.
func (c *conn) query(ctx context.Context, query string, args []any, each func(relational.Row) error) (err error) {
	s, err := c.stmt(query)
	if err != nil {
		return err
	}
	rows, err := s.QueryContext(context.Background(), c.bind(args))
	if err != nil {
		return err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	values := c.values[:len(rows.Columns())]
	for {
		switch err := rows.Next(values); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := each(values); err != nil {
			return err
		}
	}
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

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.driver.Close())...)
}
