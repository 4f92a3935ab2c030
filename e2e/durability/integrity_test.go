package durability_test

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"

	_ "modernc.org/sqlite"
)

// integrity lets SQLite check every database in a directory, whatever the store calls it.
func integrity(dir string) error {
	databases, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(databases) == 0 {
		return fmt.Errorf("databases in %s: %v, %v", dir, databases, err)
	}
	for _, path := range databases {
		if err := check(path); err != nil {
			return fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
	}
	return nil
}

func check(path string) (err error) {
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var verdict string
	if err := db.QueryRow("PRAGMA integrity_check").Scan(&verdict); err != nil {
		return err
	}
	if verdict != "ok" {
		return fmt.Errorf("integrity check: %s", verdict)
	}
	return nil
}
