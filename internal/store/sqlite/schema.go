package sqlite

import (
	"context"
	"fmt"

	"github.com/keywright/keywright/internal/store/relational"
)

// ownSteps are what this engine adds to a step of the common schema, by its number.
var ownSteps = map[int]string{19: relational.CarrySchema + "DROP INDEX holdings_principal;"}

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
		if err := c.script(script); err != nil {
			return fmt.Errorf("bringing the schema to version %d: %w", version+1, err)
		}
	}
	return nil
}
