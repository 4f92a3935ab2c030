package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
)

// Inspection is what can be known of a store without being its server.
type Inspection struct {
	// Schema counts the steps of the schema that the database has, Known those that this program knows.
	Schema, Known int
	// Newest is when the newest entry of the journal was committed; zero when there is none.
	Newest time.Time
}

// Inspect reads a store that another process may be serving: it takes no lock of the store, changes nothing, and leaves the log as it is; where there is none it
// leaves an empty one. read, if not nil, gets
// one committed state, unless the schema is another than this program's. A directory without a store is a fault.NotFound.
func Inspect(ctx context.Context, dir string, read func(store.Tx) error) (i Inspection, err error) {
	path := filepath.Join(dir, databaseFile)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return i, fault.New(fault.NotFound, "there is no store in %s", dir)
	}
	c, err := readConn(path)
	if err != nil {
		return i, fmt.Errorf("reading the store in %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	i.Known = len(relational.Steps)
	if i.Schema, err = pragma(ctx, c, "user_version"); err != nil || i.Schema != i.Known {
		return i, err
	}
	if _, err := c.exec("BEGIN"); err != nil {
		return i, fmt.Errorf("reading the store in %s: %w", dir, classify(err))
	}
	defer c.exec("ROLLBACK")
	if err := c.query(ctx, "SELECT at FROM journal ORDER BY position DESC LIMIT 1", nil, func(r relational.Row) error {
		i.Newest = r.Instant(0)
		return nil
	}); err != nil {
		return i, fmt.Errorf("reading the journal in %s: %w", dir, classify(err))
	}
	if read == nil {
		return i, nil
	}
	t := relational.View(c, func(context.Context) (time.Time, error) { return time.Now(), nil })
	defer t.End()
	return i, read(&t)
}

// readConn opens a connection that can do nothing but read. SQLite copies the log into the database when its last connection is closed, but for such a one.
func readConn(path string) (*conn, error) {
	return openConn(path, sqlite.OpenReadOnly, "query_only=ON", "busy_timeout=1000")
}

func pragma(ctx context.Context, c *conn, name string) (value int, err error) {
	err = c.query(ctx, "PRAGMA "+name, nil, func(r relational.Row) error {
		value = int(r.Integer(0))
		return nil
	})
	return value, classify(err)
}
