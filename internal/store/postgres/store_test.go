package postgres_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/keywright/keywright/e2e/daemon"
	"github.com/keywright/keywright/e2e/pgtest"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/postgres"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/store/storetest"
)

// server starts one PostgreSQL for all tests: each has a schema of its own.
var server = sync.OnceValues(func() (*pgtest.Server, error) {
	started.Store(true)
	return pgtest.Start(context.Background(), pgtest.Config{Settings: []string{"max_connections = 200", "autovacuum = off", "shared_buffers = 32MB"}})
})

var started atomic.Bool

func TestMain(m *testing.M) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == parallel.DefValue {
		parallel.Value.Set("4") // they mostly wait for the server
	}
	code := m.Run()
	if !started.Load() {
		os.Exit(code)
	}
	if s, err := server(); err == nil {
		if err := s.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stopping PostgreSQL:", err)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// schemas are those that tests have left: making one takes longer than most tests.
var schemas struct {
	sync.Mutex
	made int
	free []string
}

// schema returns the name of a schema that holds nothing, and keeps it for the test.
func schema(t testing.TB, s *pgtest.Server) string {
	t.Helper()
	schemas.Lock()
	defer schemas.Unlock()
	var name string
	if last := len(schemas.free) - 1; last >= 0 {
		name, schemas.free = schemas.free[last], schemas.free[:last]
		if err := s.Exec(t.Context(), "SET search_path = "+name, `DO $$ DECLARE t record; BEGIN
			FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename NOT IN ('meta', 'schema_steps') LOOP
				EXECUTE format('DELETE FROM %I', t.tablename);
			END LOOP;
			IF to_regclass('meta') IS NOT NULL THEN
				DELETE FROM meta WHERE name = 'loading'; -- a load that a test did not end
				UPDATE meta SET value = 0;
			END IF;
		END $$`); err != nil {
			t.Fatal(err)
		}
	} else {
		schemas.made++
		name = fmt.Sprintf("test_%d", schemas.made)
	}
	t.Cleanup(func() {
		schemas.Lock()
		defer schemas.Unlock()
		schemas.free = append(schemas.free, name)
	})
	return name
}

// newSchema returns the name of a schema that nobody has made.
func newSchema() string {
	schemas.Lock()
	defer schemas.Unlock()
	schemas.made++
	return fmt.Sprintf("new_%d", schemas.made)
}

// place returns the configuration of a store that nobody has used.
func place(t testing.TB) postgres.Config {
	t.Helper()
	s, err := server()
	var missing daemon.Missing
	if errors.As(err, &missing) && os.Getenv("CI") != "true" {
		t.Skip("SKIPPED, NOT PASSED: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return postgres.Config{DSN: s.AdminDSN(), Schema: schema(t, s)}
}

func open(t testing.TB, cfg postgres.Config) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEngine(t *testing.T) {
	storetest.Run(t, func(t *testing.T, faults *storetest.Faults) storetest.Opener {
		cfg := place(t)
		cfg.Faults = postgres.Faults{BeforeCommit: faults.BeforeCommit, AfterCommit: faults.AfterCommit, Resolve: faults.AfterCommit}
		return func(t *testing.T) store.Store { return open(t, cfg) }
	}, storetest.Capabilities{Remote: true})
}

// The same random history leaves the same on both engines.
func TestBothEnginesAgree(t *testing.T) {
	storetest.Compare(t, func(t *testing.T, _ *storetest.Faults) storetest.Opener {
		dir := t.TempDir()
		return func(t *testing.T) store.Store {
			s, err := sqlite.Open(sqlite.Config{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}, func(t *testing.T, _ *storetest.Faults) storetest.Opener {
		cfg := place(t)
		return func(t *testing.T) store.Store { return open(t, cfg) }
	})
}
