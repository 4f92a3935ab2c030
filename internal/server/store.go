package server

import (
	"context"
	"path/filepath"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/postgres"
	"github.com/keywright/keywright/internal/store/sqlite"
)

// Database is a PostgreSQL database that several nodes share; see postgres.Config.
type Database struct {
	// DSN is the connection string; empty for the embedded store in the server's directory.
	DSN string
	// PasswordFile, when it is not empty, holds the password.
	PasswordFile string
	// Schema is the schema that the nodes have to themselves; empty for "keywright".
	Schema string
}

// engine is a store as the server opens it.
type engine interface {
	store.Store
	store.Dumper
	// Alarm says what an operator has to see to although the store works.
	Alarm() error
	// Waits tells how long callers of the store wait for their turn.
	Waits() store.Waits
}

// engineName is what backups call the engine.
func (c *Config) engineName() string {
	if c.Database.DSN == "" {
		return "sqlite"
	}
	return "postgres"
}

// openStore opens the engine that is configured.
func openStore(ctx context.Context, c *Config) (engine, error) {
	if c.Database.DSN == "" {
		return sqlite.Open(sqlite.Config{Dir: filepath.Join(c.Dir, storeDir), Logger: c.Logger})
	}
	return postgres.Open(ctx, postgres.Config{DSN: c.Database.DSN, PasswordFile: c.Database.PasswordFile, Schema: c.Database.Schema, Logger: c.Logger})
}
