package sqlite_test

import (
	"database/sql"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/store/relational"
	"github.com/keywright/keywright/internal/store/sqlite"
)

// A database of every schema that there was opens: it has the tables and columns of a new one, every row is as it was, and a release that knows no more than
// the older schema writes on.
func TestEverySchemaOpens(t *testing.T) {
	fresh := t.TempDir()
	if err := open(t, sqlite.Config{Dir: fresh}).Close(); err != nil {
		t.Fatal(err)
	}
	want := columns(t, database(t, fresh))
	for steps := 1; steps <= len(relational.Steps); steps++ {
		t.Run(fmt.Sprint("Step", steps), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			db := database(t, dir)
			for n := range steps {
				run(t, db, sqlite.Step(n+1))
			}
			run(t, db, fmt.Sprint("PRAGMA user_version=", steps))
			old := columns(t, db)
			for table, cols := range old {
				insert(t, db, table, cols, 1)
			}
			before := rows(t, db, old)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if err := open(t, sqlite.Config{Dir: dir}).Close(); err != nil {
				t.Fatal(err)
			}
			db = database(t, dir)
			if got := columns(t, db); !maps.EqualFunc(got, want, slices.Equal[[]column]) {
				t.Errorf("the schema is %v, that of a new store %v", got, want)
			}
			if after := rows(t, db, old); !maps.EqualFunc(after, before, slices.Equal[[]string]) {
				t.Errorf("the rows are %v, they were %v", after, before)
			}
			for table, cols := range old {
				insert(t, db, table, cols, 2)
			}
		})
	}
}

type column struct{ name, kind string }

func database(t *testing.T, dir string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "keywright.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func run(t *testing.T, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.Exec(query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// columns lists the columns of every table, by name.
func columns(t *testing.T, db *sql.DB) map[string][]column {
	t.Helper()
	found, err := db.Query("SELECT t.name, c.name, c.type FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' ORDER BY t.name, c.name")
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	all := make(map[string][]column)
	for found.Next() {
		var table string
		var c column
		if err := found.Scan(&table, &c.name, &c.kind); err != nil {
			t.Fatal(err)
		}
		all[table] = append(all[table], c)
	}
	return all
}

// insert writes a row that has a value in every column.
func insert(t *testing.T, db *sql.DB, table string, cols []column, n int) {
	t.Helper()
	var names []string
	var values []any
	for _, c := range cols {
		names = append(names, `"`+c.name+`"`)
		switch c.kind {
		case "INTEGER":
			values = append(values, n)
		case "BLOB":
			values = append(values, []byte{0, byte(n), 255})
		default:
			values = append(values, fmt.Sprint(c.name, "-", n))
		}
	}
	run(t, db, `INSERT INTO "`+table+`" (`+strings.Join(names, ", ")+") VALUES (?"+strings.Repeat(", ?", len(values)-1)+")", values...)
}

// rows reads what the columns hold.
func rows(t *testing.T, db *sql.DB, tables map[string][]column) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	for table, cols := range tables {
		var names []string
		for _, c := range cols {
			names = append(names, `quote("`+c.name+`")`)
		}
		found, err := db.Query("SELECT " + strings.Join(names, ` || ' ' || `) + ` FROM "` + table + `" ORDER BY 1`)
		if err != nil {
			t.Fatal(err)
		}
		for found.Next() {
			var row string
			if err := found.Scan(&row); err != nil {
				t.Fatal(err)
			}
			if table != "meta" || strings.Contains(row, "name-") { // the engine counts in the others
				all[table] = append(all[table], row)
			}
		}
		found.Close()
	}
	return all
}
