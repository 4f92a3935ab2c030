package sqlite_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEngine(t *testing.T) {
	storetest.Run(t, func(t *testing.T, faults *storetest.Faults) storetest.Opener {
		dir := t.TempDir()
		return func(t *testing.T) store.Store {
			return open(t, sqlite.Config{Dir: dir, Faults: sqlite.Faults{BeforeCommit: faults.BeforeCommit, AfterCommit: faults.AfterCommit}})
		}
	}, storetest.Capabilities{})
}

func open(t testing.TB, cfg sqlite.Config) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
