package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/store/relational"
)

// ownSteps are what this engine adds to a step of the common schema, by its number.
var ownSteps = map[int]string{19: relational.CarrySchema + "DROP INDEX holdings_principal;", 20: relational.ClusterSchema}

// movedAtOnce is how many objects a transaction moves, and movedBetween how many are between two copies of the log into the database: some 100 MiB.
const (
	movedAtOnce  = 4096
	movedBetween = 16 * movedAtOnce
)

// moveObjects moves the objects of a store that is a release older to the table that they have now, before anybody reads them. It takes some 20 us an object. What
// ended in between goes on here.
func (s *Store) moveObjects() error {
	found := false
	if err := s.writer.query(context.Background(), "SELECT 1 FROM sqlite_schema WHERE name = 'objects_before'", nil, func(relational.Row) error {
		found = true
		return nil
	}); err != nil || !found {
		return err
	}
	began, moved := time.Now(), int64(0)
	for n := int64(1); n > 0; moved += n {
		err := s.inTransaction(func() (err error) {
			n, err = relational.MoveObjects(context.Background(), s.writer, movedAtOnce)
			if err == nil && n == 0 {
				_, err = s.writer.exec("DROP TABLE objects_before")
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("moving the objects to their new table: %w; start this release again to go on", err)
		}
		if n > 0 && moved/movedBetween != (moved+n)/movedBetween || n == 0 && moved > 0 {
			// Each object is copied and then removed.
			s.log.Info("the store's objects are laid out anew; it is ready when that is done", "steps", moved, "seconds", int(time.Since(began).Seconds()))
			if _, err := s.writer.exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
				s.checkpointer.failed.Store(true) // the log is the only whole copy
				return fmt.Errorf("copying the log of the moved objects: %w", err)
			}
		}
	}
	return nil
}

// inTransaction runs a transaction of a store that is being opened.
func (s *Store) inTransaction(fn func() error) error {
	_, err := s.writer.exec("BEGIN IMMEDIATE")
	if err == nil {
		err = fn()
	}
	if err == nil {
		_, err = s.writer.exec("COMMIT")
	}
	if err != nil {
		s.writer.exec("ROLLBACK")
	}
	return err
}

// step is a step of this engine's schema, counted from 1.
func step(n int) string { return relational.Steps[n-1] + ownSteps[n] }

// migrate brings the database to the newest schema, one transaction a step. user_version counts the steps that it has.
func migrate(c *conn) error {
	var version int
	err := c.query(context.Background(), "PRAGMA user_version", nil, func(r relational.Row) error {
		version = int(r.Integer(0))
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the schema version: %w", err)
	}
	if version > len(relational.Steps) {
		return fmt.Errorf("the store was written by a newer release (schema %d, this one knows %d): start that release, or restore a backup",
			version, len(relational.Steps))
	}
	for ; version < len(relational.Steps); version++ {
		script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA user_version=%d;\nCOMMIT;", step(version+1), version+1)
		if _, err := c.exec(script); err != nil {
			return fmt.Errorf("bringing the schema to version %d: %w", version+1, err)
		}
	}
	return nil
}
