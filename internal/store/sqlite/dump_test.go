package sqlite_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/store/storetest"
)

// copies is room for one store.
func copies(t *testing.T) storetest.Copies {
	dir := t.TempDir()
	return storetest.Copies{
		Open: func() (storetest.Dumpable, error) { return sqlite.Open(sqlite.Config{Dir: dir}) },
		Load: func() (storetest.Loadable, error) { return sqlite.Open(sqlite.Config{Dir: dir, Load: true}) },
		Tables: func() (names []string) {
			db, err := sql.Open("sqlite", filepath.Join(dir, "keywright.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			rows, err := db.Query("SELECT name FROM sqlite_schema WHERE type = 'table'")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var name string
				if err := rows.Scan(&name); err != nil {
					t.Fatal(err)
				}
				names = append(names, name)
			}
			return names
		},
	}
}

func TestCopies(t *testing.T) { storetest.RunCopies(t, copies, copies) }
