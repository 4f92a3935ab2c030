package sqlite_test

import (
	"context"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

func TestSmoke(t *testing.T) {
	dir := t.TempDir()
	s, err := sqlite.Open(sqlite.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	ctx := context.Background()
	o := &vault.Object{ID: vault.NewObjectID(now), Vault: vault.NewID(now), Kind: vault.Secret, Name: "Db", Created: now}
	v := &vault.Version{ID: vault.NewVersionID(now), Object: o.ID, Tags: map[string]string{"a": "b"}}
	o.Current = v.ID
	op := store.NewOp(now)
	var seen []*store.Commit
	stop := s.Watch(func(c *store.Commit) { seen = append(seen, c) })
	put := func(tx store.Tx) error {
		if err := tx.AddVersion(ctx, v); err != nil {
			return err
		}
		tx.Audit([]byte("x"))
		tx.Emit(store.Event{ID: "e"})
		return tx.PutObject(ctx, o)
	}
	if err := s.Update(ctx, op, put); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(ctx, op, put); err != store.ErrCommitted {
		t.Fatal(err)
	}
	stop()
	if len(seen) != 1 || len(seen[0].Changes) != 1 {
		t.Fatal(seen)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = sqlite.Open(sqlite.Config{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.View(ctx, func(tx store.Tx) error {
		l, err := tx.CurrentVersions(ctx, store.ObjectQuery{Vault: o.Vault, Kind: o.Kind})
		if err != nil || len(l) != 1 || l[0].Version == nil {
			t.Error(l, err)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if ok, err := s.Committed(ctx, op.ID); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if err := s.Health(ctx); err != nil {
		t.Fatal(err)
	}
}
