package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/internal/store/postgres"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/store/storetest"
)

// copies is room for one store of this engine.
func copies(t *testing.T) storetest.Copies {
	cfg := place(t)
	load := cfg
	load.Load = true
	return storetest.Copies{
		Open: func() (storetest.Dumpable, error) { return postgres.Open(t.Context(), cfg) },
		Load: func() (storetest.Loadable, error) { return postgres.Open(t.Context(), load) },
		Tables: func() []string {
			ctx := context.Background()
			c, err := pgx.Connect(ctx, cfg.DSN)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(ctx)
			rows, err := c.Query(ctx, "SELECT tablename::text FROM pg_tables WHERE schemaname = $1 AND tablename <> 'schema_steps'", cfg.Schema)
			if err != nil {
				t.Fatal(err)
			}
			names, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil {
				t.Fatal(err)
			}
			return names
		},
	}
}

// embedded is room for one store of the other engine.
func embedded(t *testing.T) storetest.Copies {
	dir := t.TempDir()
	return storetest.Copies{
		Open: func() (storetest.Dumpable, error) { return sqlite.Open(sqlite.Config{Dir: dir}) },
		Load: func() (storetest.Loadable, error) { return sqlite.Open(sqlite.Config{Dir: dir, Load: true}) },
	}
}

// What one engine dumps the other loads, and every row is the same.
func TestCopies(t *testing.T) {
	t.Run("WithinPostgreSQL", func(t *testing.T) { storetest.RunCopies(t, copies, copies) })
	t.Run("FromEmbedded", func(t *testing.T) { storetest.RunCopies(t, embedded, copies, "Whole", "Tombstones") })
	t.Run("ToEmbedded", func(t *testing.T) { storetest.RunCopies(t, copies, embedded, "Whole", "Tombstones") })
}

// hidden is a database that numbers the rows of tables which have no primary key, and shows the number as a column.
func hidden(t *testing.T) storetest.Copies {
	cfg := place(t)
	load := cfg
	load.Load = true
	open := func(c postgres.Config) (*postgres.Store, error) {
		s, err := postgres.Open(t.Context(), c)
		if err == nil {
			rewrite(t, cfg, "ALTER TABLE versions ADD COLUMN IF NOT EXISTS rowid BIGSERIAL")
		}
		return s, err
	}
	return storetest.Copies{Open: func() (storetest.Dumpable, error) { return open(cfg) }, Load: func() (storetest.Loadable, error) { return open(load) }}
}

// The numbers of a database's own are no part of a dump.
func TestHiddenColumnsAreNotCopied(t *testing.T) {
	t.Run("Out", func(t *testing.T) { storetest.RunCopies(t, hidden, embedded, "Whole") })
	t.Run("In", func(t *testing.T) { storetest.RunCopies(t, embedded, hidden, "Whole") })
}
