package sqlite

import (
	"context"
	"fmt"

	"github.com/keywright/keywright/internal/store/relational"
)

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
		script := fmt.Sprintf("BEGIN IMMEDIATE;\n%s\nPRAGMA user_version=%d;\nCOMMIT;", relational.Steps[version], version+1)
		if _, err := c.exec(script); err != nil {
			return fmt.Errorf("bringing the schema to version %d: %w", version+1, err)
		}
	}
	return nil
}
