package server

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/keywright/keywright/internal/config"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/postgres"
	"github.com/keywright/keywright/internal/store/sqlite"
)

// StoreConfig says where everything is kept. Its zero value is the engine sqlite, in the server's directory.
type StoreConfig struct {
	// DSNFile holds a connection string of PostgreSQL; empty means sqlite.
	DSNFile string
	// PasswordFile holds the password alone, and is read for every connection; empty leaves it to the connection string.
	PasswordFile string
	// Schema is the schema that the store has to itself in that database; empty means keywright.
	Schema string
}

// storeDir is where the engine sqlite keeps its files, below the server's directory.
const storeDir = "store"

// engine is what both engines are beyond a store.
type engine interface {
	store.Store
	store.Dumper
	// Alarm says what an operator has to see to although the store works.
	Alarm() error
	// Waits tells how long callers of the store wait for their turn.
	Waits() store.Waits
}

// engineName is what backups call the engine.
func (s *StoreConfig) engineName() string {
	if s.DSNFile == "" {
		return "sqlite"
	}
	return "postgres"
}

// openEngine opens the engine that is configured.
func openEngine(ctx context.Context, c *Config) (engine, error) {
	if c.Store.DSNFile == "" {
		return sqlite.Open(sqlite.Config{Dir: filepath.Join(c.Dir, storeDir), Logger: c.Logger})
	}
	database, err := c.Store.database(c)
	if err != nil {
		return nil, err
	}
	return postgres.Open(ctx, database)
}

// inspect looks into the store that is configured without becoming its server. A place without a store is a fault.NotFound.
func (c *Config) inspect(ctx context.Context) error {
	if c.Store.DSNFile == "" {
		_, err := sqlite.Inspect(ctx, filepath.Join(c.Dir, storeDir), nil)
		return err
	}
	database, err := c.Store.database(c)
	if err == nil {
		_, err = postgres.Inspect(ctx, database, nil)
	}
	return err
}

func (s *StoreConfig) database(c *Config) (postgres.Config, error) {
	dsn, err := s.dsn()
	if err == nil && s.PasswordFile != "" {
		err = config.CheckSecretFile(s.PasswordFile)
	}
	return postgres.Config{DSN: dsn, PasswordFile: s.PasswordFile, Schema: s.Schema, Logger: c.Logger}, err
}

// maxDSN bounds a connection string, in bytes.
const maxDSN = 16 << 10

// dsn reads the connection string, which may hold a password, from its file.
func (s *StoreConfig) dsn() (string, error) {
	text, err := config.ReadSecretFile(s.DSNFile, maxDSN)
	dsn := strings.TrimSpace(string(text))
	if err == nil && dsn == "" {
		err = fault.New(fault.Invalid, "the file %s holds no connection string: write one, such as postgres://user@host:5432/database?sslmode=verify-full", s.DSNFile)
	}
	return dsn, err
}
