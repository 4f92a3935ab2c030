package server

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/keyfile"
)

// Config is what every server needs to know.
type Config struct {
	// Dir holds the server's files. It is made when missing, for this user alone.
	Dir string
	// Region is the location of vaults for which nobody names one.
	Region string
	Limits guard.Limits
	// Durability says what an acknowledged audit record of a read survives: the end of the process, or power loss.
	Durability audit.Durability
	// AuditSegmentBytes and AuditReserveBytes size the audit log's files; 0 means the log's defaults.
	AuditSegmentBytes, AuditReserveBytes int64
	// SlowRequest is how long a request takes that is logged at warn level; 0 means DefaultSlowRequest, a negative one logs none.
	SlowRequest time.Duration
	// TraceEndpoint is the URL to which traces are sent, in the OpenTelemetry protocol over HTTP; empty sends none.
	TraceEndpoint string
	// Clock is the machine's when nil, Logger discards when nil.
	Clock  clock.Clock
	Logger *slog.Logger
}

// DefaultSlowRequest is a thousand times what a cached read takes, and shorter than any client waits.
const DefaultSlowRequest = time.Second

// DefaultRegion is the location of vaults when the configuration names none.
const DefaultRegion = "local"

func (c *Config) complete() error {
	if c.Dir == "" {
		return errors.New("a server needs a directory for its files: name one with --dir")
	}
	abs, err := filepath.Abs(c.Dir)
	if err != nil {
		return err
	}
	c.Dir = abs
	if c.Region == "" {
		c.Region = DefaultRegion
	}
	if c.SlowRequest == 0 {
		c.SlowRequest = DefaultSlowRequest
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// sealFile is the key file of a development server.
const sealFile = "seal.key"

// openSeal opens the key file seal of a directory and makes its key on the first start.
func openSeal(dir string) (seal.Seal, error) {
	path := filepath.Join(dir, sealFile)
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		if err := keyfile.Create(path); err != nil {
			return nil, err
		}
	}
	return keyfile.New(keyfile.Config{Files: []string{path}})
}
