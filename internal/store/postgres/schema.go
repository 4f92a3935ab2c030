package postgres

import (
	"context"
	"fmt"
	"regexp"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store/relational"
)

// schemaName is what a schema may be called, so that it needs no quotes anywhere.
var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// migrate brings the schema to the newest version, one transaction a step. Processes that start at once take turns by the row that counts the steps.
//
// A schema that a newer release has taken further is used as it is, as long as that release says that this one may: needs is how many steps a release must know.
func (s *Store) migrate(ctx context.Context, c *conn) error {
	if err := s.found(ctx, c); err != nil {
		return err
	}
	for {
		done, err := s.takeStep(ctx, c)
		if done || err != nil {
			return err
		}
	}
}

// found makes the schema and the row that counts its steps, unless they are there. Of two that try at once one may fail, and finds them the next time.
func (s *Store) found(ctx context.Context, c *conn) (err error) {
	for range attempts {
		there := false
		if err := c.query(ctx, "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = 'schema_steps'", []any{s.config.Schema},
			func(relational.Row) error { there = true; return nil }); err != nil {
			return err
		}
		if there {
			err = nil
			break
		}
		_, err = c.run(ctx, control("CREATE SCHEMA IF NOT EXISTS "+s.config.Schema))
		if err == nil {
			_, err = c.run(ctx, control("CREATE TABLE IF NOT EXISTS schema_steps (name TEXT PRIMARY KEY, taken BIGINT NOT NULL, needs BIGINT NOT NULL)"))
		}
		if err != nil && c.dead() {
			return err
		}
	}
	if err != nil {
		return fmt.Errorf("making the schema %s: %w", s.config.Schema, err)
	}
	_, err = c.exec(ctx, "INSERT INTO schema_steps (name, taken, needs) VALUES ('store', 0, 0) ON CONFLICT (name) DO NOTHING")
	return err
}

// takeStep takes one step under the lock of the row, and reports whether there is none left.
func (s *Store) takeStep(ctx context.Context, c *conn) (done bool, err error) {
	defer func() {
		if err != nil && !c.dead() {
			c.run(ctx, control("ROLLBACK"))
		}
	}()
	var taken, needs int
	look := &statement{query: "SELECT taken, needs FROM schema_steps WHERE name = 'store' FOR UPDATE", each: func(r relational.Row) error {
		taken, needs = int(r.Integer(0)), int(r.Integer(1))
		return nil
	}}
	if _, err := c.run(ctx, control("BEGIN"), look); err != nil {
		return false, fmt.Errorf("reading the schema's version: %w", err)
	}
	known := len(relational.Steps)
	switch {
	case needs > known:
		return false, fault.New(fault.Conflict, "the store was changed by a newer release (schema %d, of which a release must know %d steps; this one knows %d): start that release, or restore a backup",
			taken, needs, known)
	case taken >= known:
		_, err := c.run(ctx, control("COMMIT"))
		return true, err
	}
	if err := c.script(ctx, step(relational.Steps[taken])); err != nil {
		return false, fmt.Errorf("bringing the schema to version %d: %w", taken+1, err)
	}
	count, err := newStatement("UPDATE schema_steps SET taken = ?, needs = ? WHERE name = 'store'", []any{taken + 1, max(needs, relational.Needs)})
	if err != nil {
		return false, err
	}
	if _, err := c.run(ctx, count, control("COMMIT")); err != nil {
		return false, fmt.Errorf("bringing the schema to version %d: %w", taken+1, err)
	}
	s.log.Info("the store's schema was extended", "version", taken+1)
	return false, nil
}
