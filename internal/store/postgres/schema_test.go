package postgres_test

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store/postgres"
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

func TestNamesOfSchemas(t *testing.T) {
	cfg := place(t)
	for _, name := range []string{"Upper", "a-b", "1a", `a"; DROP SCHEMA public; --`, "a b"} {
		cfg.Schema = name
		if _, err := postgres.Open(t.Context(), cfg); !fault.Is(err, fault.Invalid) {
			t.Errorf("the schema %q: %v, want Invalid", name, err)
		}
	}
}
