package postgres_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/postgres"
	"github.com/keywright/keywright/internal/store/relational"
	"github.com/keywright/keywright/internal/vault"
)

// A schema that a newer release has extended serves the older one, unless that release says otherwise.
func TestSchemaOfANewerRelease(t *testing.T) {
	cfg := place(t)
	cfg.Schema = newSchema()
	if err := open(t, cfg).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := server()
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(t.Context(), "SET search_path = "+cfg.Schema, "UPDATE schema_steps SET taken = 1000",
		"ALTER TABLE settings ADD COLUMN added BIGINT NOT NULL DEFAULT 0", "CREATE TABLE of_tomorrow (id TEXT)"); err != nil {
		t.Fatal(err)
	}
	s := open(t, cfg)
	put(t, s, "a")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Exec(t.Context(), "UPDATE "+cfg.Schema+".schema_steps SET needs = 1000"); err != nil {
		t.Fatal(err)
	}
	if _, err := postgres.Open(t.Context(), cfg); !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "newer release") {
		t.Errorf("Open = %v, want a Conflict that names a newer release", err)
	}
}

// Every schema that a release has left is brought to the newest, with what is in it.
func TestEverySchemaIsExtended(t *testing.T) {
	cfg := place(t)
	db, err := server()
	if err != nil {
		t.Fatal(err)
	}
	cfg.Logger = slog.New(slog.DiscardHandler)
	for n := 1; n < len(relational.Steps); n++ {
		cfg.Schema = newSchema()
		if err := postgres.TakeSteps(t.Context(), cfg, n); err != nil {
			t.Fatal(err)
		}
		if err := db.Exec(t.Context(), "SET search_path = "+cfg.Schema, "INSERT INTO settings (name, value) VALUES ('kept', 'x')",
			"INSERT INTO objects (id, vault, kind, name_key, name, created, current, managed, revision) VALUES ('o', 'v', 'secret', 'n', 'N', 1, 'c', 0, 3)",
			"INSERT INTO versions (object, id, enabled, content_type, state, previous, key) VALUES ('o', 'c', 1, '', '', '', '')"); err != nil {
			t.Fatal(err)
		}
		s := open(t, cfg)
		put(t, s, "a")
		if err := s.View(t.Context(), func(tx store.Tx) error {
			if _, err := tx.Setting(t.Context(), "kept"); err != nil {
				return err
			}
			list, err := tx.CurrentVersions(t.Context(), store.ObjectQuery{Vault: "v", Kind: vault.Secret})
			if err == nil && (len(list) != 1 || list[0].Object.Revision != 3 || list[0].Version == nil) {
				t.Errorf("from %d steps on: the object and its version became %v", n, list)
			}
			return err
		}); err != nil {
			t.Errorf("from %d steps on: %v", n, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestNamesOfSchemas(t *testing.T) {
	cfg := place(t)
	for _, name := range []string{"Upper", "a-b", "1a", `a"; DROP SCHEMA public; --`, "a b"} {
		cfg.Schema = name
		if _, err := postgres.Open(t.Context(), cfg); !fault.Is(err, fault.Invalid) {
			t.Errorf("the schema %q: %v, want Invalid", name, err)
		}
	}
}
