package segment

import (
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/audit/disk"
	"github.com/keywright/keywright/internal/clock"
)

// Durability says what an acknowledged record survives.
type Durability int

// The durabilities; the package comment describes them.
const (
	OS Durability = iota
	Fsync
)

// String returns the word of the configuration file.
func (d Durability) String() string {
	if d == Fsync {
		return "fsync"
	}
	return "os"
}

// Config describes a log.
type Config struct {
	Disk       disk.FS
	Durability Durability
	// SegmentBytes is the size of every file; 64 MiB when zero, at least 4 KiB. Records longer than a segment are refused.
	SegmentBytes int64
	// ReserveBytes is what stays allocated for a full disk, rounded up to whole segments; 1 GiB when zero, none when
	// negative.
	ReserveBytes int64
	// SyncInterval is the pause between two syncs under OS; 1 s when zero.
	SyncInterval time.Duration
	// RetryInterval is the pause after a failed allocation; 1 s when zero.
	RetryInterval time.Duration
	// Committed is how many records are known to be durable, from a signed checkpoint. Open refuses a directory that
	// has fewer instead of mending it.
	Committed int64
	// OnState is called, from one goroutine, whenever the alarm or the reserve of an alarmed log changes. May be nil.
	OnState func(State)
	Clock   clock.Clock

	manual bool // tests: no goroutines but the committer
}

func (c *Config) complete() error {
	if c.Disk == nil {
		return errors.New("segment: Config.Disk is missing")
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	if c.SegmentBytes < 4<<10 {
		return fmt.Errorf("segment: SegmentBytes is %d; give at least 4096", c.SegmentBytes)
	}
	if c.ReserveBytes == 0 {
		c.ReserveBytes = 1 << 30
	}
	if c.SyncInterval <= 0 {
		c.SyncInterval = time.Second
	}
	if c.RetryInterval <= 0 {
		c.RetryInterval = time.Second
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	return nil
}
