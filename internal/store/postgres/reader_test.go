package postgres_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// A statement that nobody waited for and that changed nothing is found out, although whoever read the rows of the next one failed, and the closure went on.
func TestExpectationsOutliveReaders(t *testing.T) {
	cfg := place(t)
	s, _ := node(t, cfg)
	o := &vault.Object{ID: vault.NewObjectID(time.Now()), Vault: vault.NewID(time.Now()), Kind: vault.Secret, Name: "a", Created: time.Now()}
	for range 2 { // the second makes the first's revision stale
		if err := s.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error { return tx.PutObject(t.Context(), o) }); err != nil {
			t.Fatal(err)
		}
		o.Revision = 1
	}
	rewrite(t, cfg, "INSERT INTO roles (tenant, id, doc) VALUES ('t', 'damaged', '{')")
	err := s.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error {
		if err := tx.PutObject(t.Context(), o); err != nil {
			return err
		}
		if _, err := tx.Roles(t.Context(), "t"); err == nil {
			t.Error("a damaged row was read")
		}
		return tx.PutSetting(t.Context(), "a", nil)
	})
	if e := fault.As(err); e == nil || e.Reason != store.StaleRevision {
		t.Errorf("Update = %v, want the conflict of a stale revision", err)
	}
}
