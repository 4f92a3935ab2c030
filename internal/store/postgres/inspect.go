package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
)

// Inspection is what can be known of a store without being one of its servers.
type Inspection struct {
	// Schema counts the steps of the schema that the database has, Known those that this release knows, Needs those that a release must know.
	Schema, Known, Needs int
	// Skew is by how much this machine's clock is ahead of the database's, to within Within.
	Skew, Within time.Duration
}

// Inspect reads a store that others may be serving, and changes nothing. read, if not nil, gets one committed state, unless this release cannot read the schema. A
// database without the schema is a fault.NotFound.
func Inspect(ctx context.Context, cfg Config, read func(store.Tx) error) (i Inspection, err error) {
	if cfg.Schema == "" {
		cfg.Schema = "keywright"
	}
	s := &Store{config: cfg, log: cfg.Logger}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	c, err := s.connect(ctx, reader)
	if err != nil {
		return i, err
	}
	defer c.close()
	i.Known = len(relational.Steps)
	asked := time.Now()
	if err := c.query(ctx, selectClock, nil, func(r relational.Row) error {
		i.Within = time.Since(asked)
		i.Skew = asked.Add(i.Within / 2).Sub(r.Instant(0))
		return nil
	}); err != nil {
		return i, fmt.Errorf("reading the database's clock: %w", err)
	}
	there := false
	if err := c.query(ctx, "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = 'schema_steps'", []any{cfg.Schema}, func(relational.Row) error {
		there = true
		return nil
	}); err != nil {
		return i, fmt.Errorf("looking for the schema: %w", err)
	}
	if !there {
		return i, fault.New(fault.NotFound, "there is no store in the schema %s of the database", cfg.Schema)
	}
	if err := c.query(ctx, "SELECT taken, needs FROM schema_steps WHERE name = 'store'", nil, func(r relational.Row) error {
		i.Schema, i.Needs = int(r.Integer(0)), int(r.Integer(1))
		return nil
	}); err != nil {
		return i, fmt.Errorf("reading the schema's version: %w", err)
	}
	if read == nil || i.Schema < i.Known || i.Needs > i.Known {
		return i, nil
	}
	if _, err := c.run(ctx, control("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")); err != nil {
		return i, err
	}
	t := relational.View(reading{c}, func(context.Context) (time.Time, error) { return time.Now(), nil })
	defer t.End()
	return i, read(&t)
}

// reading is a connection within a transaction that reads.
type reading struct{ c *conn }

// Query implements relational.Conn.
func (r reading) Query(ctx context.Context, query string, args []any, each func(relational.Row) error) error {
	return r.c.query(ctx, query, args, each)
}

// Exec implements relational.Conn.
func (reading) Exec(context.Context, string, []any) (int64, error) { return 0, errReads }

// Expect implements relational.Conn.
func (reading) Expect(context.Context, int64, string, []any) (int64, error) { return 0, errReads }
