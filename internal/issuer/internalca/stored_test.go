package internalca_test

import (
	"testing"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/issuer/internalca/recordstest"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

func TestStoredRecords(t *testing.T) {
	s, err := sqlite.Open(sqlite.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	recordstest.Run(t, func(t *testing.T) internalca.Records {
		r, err := internalca.NewStored(internalca.StoredConfig{Store: s, Authority: store.Authority{ID: string(vault.NewVersionID(start))}, Clock: clock.System{}})
		if err != nil {
			t.Fatal(err)
		}
		return r
	})
	if _, err := internalca.NewStored(internalca.StoredConfig{Store: s, Clock: clock.System{}}); err == nil {
		t.Error("records of no authority")
	}
}
