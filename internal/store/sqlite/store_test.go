package sqlite_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEngine(t *testing.T) {
	storetest.Run(t, func(t *testing.T, faults *storetest.Faults) storetest.Opener {
		dir := newPlace(t)
		t.Cleanup(func() { allCarried(t, dir) })
		return func(t *testing.T) store.Store {
			return open(t, sqlite.Config{Dir: dir, Faults: sqlite.Faults{BeforeCommit: faults.BeforeCommit, AfterCommit: faults.AfterCommit}})
		}
	}, storetest.Capabilities{})
}

// template makes an empty store once; most of the time of a short test would go into the steps of the schema.
var template = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "keywright-template-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	s, err := sqlite.Open(sqlite.Config{Dir: dir})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "keywright.db"))
})

// newPlace returns a directory with an empty store.
func newPlace(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	db, err := template()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keywright.db"), db, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t testing.TB, cfg sqlite.Config) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
