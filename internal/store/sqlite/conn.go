package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // registers the driver
)

// Sizes of a connection's page cache, in KiB. The writer's is kept small on purpose: a commit walks the whole cache after
// a page was split. Readers lean on the page cache of the operating system.
const (
	writerCacheKiB = 16 << 10
	readerCacheKiB = 4 << 10
)

// conn is one connection with its prepared statements. It serves one goroutine at a time.
type conn struct {
	sql   *sql.Conn
	stmts map[string]*sql.Stmt
}

// openDB returns the handle from which connections are taken. Nothing is opened yet.
func openDB(path string) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", OmitHost: true, Path: path}
	db, err := sql.Open("sqlite", dsn.String())
	if err != nil {
		return nil, fmt.Errorf("opening the database: %w", err)
	}
	db.SetMaxIdleConns(0)
	return db, nil
}

// newConn opens a connection and sets it up. Its statements run to their end whatever becomes of a caller's context: the driver
// would interrupt the connection, and with it the transactions of others.
func newConn(db *sql.DB, cacheKiB int, pragmas ...string) (*conn, error) {
	c, err := db.Conn(context.Background())
	if err != nil {
		return nil, fmt.Errorf("connecting to the database: %w", err)
	}
	pragmas = append([]string{
		"page_size=4096",
		"journal_mode=WAL",
		"synchronous=FULL",
		"temp_store=MEMORY",
		"wal_autocheckpoint=0",
		fmt.Sprintf("cache_size=-%d", cacheKiB),
	}, pragmas...)
	for _, p := range pragmas {
		if _, err := c.ExecContext(context.Background(), "PRAGMA "+p); err != nil {
			return nil, errors.Join(fmt.Errorf("setting %s: %w", p, err), c.Close())
		}
	}
	return &conn{sql: c, stmts: make(map[string]*sql.Stmt)}, nil
}

// stmt returns the prepared statement for a query, which is a constant of this package.
func (c *conn) stmt(query string) (*sql.Stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	s, err := c.sql.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, fmt.Errorf("preparing %q: %w", query, err)
	}
	c.stmts[query] = s
	return s, nil
}

// exec runs a statement and returns the number of rows that it changed.
func (c *conn) exec(query string, args ...any) (int64, error) {
	s, err := c.stmt(query)
	if err != nil {
		return 0, err
	}
	r, err := s.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query runs a query.
func (c *conn) query(query string, args ...any) (*sql.Rows, error) {
	s, err := c.stmt(query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(context.Background(), args...)
}

// queryRow scans the only row of a query, or returns sql.ErrNoRows.
func (c *conn) queryRow(query string, args []any, dst ...any) error {
	s, err := c.stmt(query)
	if err != nil {
		return err
	}
	return s.QueryRowContext(context.Background(), args...).Scan(dst...)
}

func (c *conn) close() error {
	var errs []error
	for _, s := range c.stmts {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.sql.Close())...)
}
