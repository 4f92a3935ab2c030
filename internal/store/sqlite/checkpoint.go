package sqlite

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"zombiezen.com/go/sqlite"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store/relational"
)

// How often the log is copied into the database: after so many row changes, and at the latest so long after a change.
const (
	checkpointChanges  = 4000
	checkpointInterval = 5 * time.Second
)

// checkpointer copies the write-ahead log into the database in the background. A checkpoint by the writer itself would
// stall every waiting update for as long as the disk takes; one that only runs beside the writer never catches up and lets
// the log grow without bound. So the bulk is copied and synced beside the writer, twice because the first round takes long
// enough for much to be written meanwhile, and the writer then does the small rest between two groups and starts the log anew
// (RESTART: a log that is overwritten is cheaper than one that is cut and grown again).
//
// The database is synced through a descriptor of our own: SQLite syncs it only when it has copied everything. It is never
// closed before SQLite's own, because closing any descriptor of a file drops the process's POSIX locks on it.
//
// After a sync that failed, the kernel may have dropped pages that SQLite counts as copied, and a later sync would succeed
// without them. Only the log still has them. So the first failure ends checkpoints for the life of the process: the log is
// kept and grows, and the next start replays all of it.
//
// A checkpoint also syncs the log, while the writer may have pages of its next group under way in it. If that sync fails, those
// pages may be gone; the writer hears of it because Linux reports a failure to every descriptor that was open then
// (https://docs.kernel.org/core-api/errseq.html): its own sync fails, and the group with it.
type checkpointer struct {
	conn *conn
	file *os.File
	// fault, when it is not nil, is asked before every sync and makes it fail, for tests.
	fault func() error
	// failed is set for good by the first failure of a disk during a checkpoint.
	failed atomic.Bool
}

// background does the part beside the writer.
func (c *checkpointer) background() error {
	for range 2 {
		if err := c.run(c.conn, "PASSIVE"); err != nil {
			return err
		}
		if err := c.sync(); err != nil {
			c.failed.Store(true)
			return fmt.Errorf("syncing the database: %w", err)
		}
	}
	return nil
}

func (c *checkpointer) sync() error {
	if c.fault != nil {
		if err := c.fault(); err != nil {
			return err
		}
	}
	return c.file.Sync()
}

// run does one checkpoint on a connection. That readers or the writer kept it from copying everything is no error.
func (c *checkpointer) run(on *conn, mode string) error {
	err := on.query(context.Background(), "PRAGMA wal_checkpoint("+mode+")", nil, func(relational.Row) error { return nil })
	if err == nil || code(err) == sqlite.ResultBusy {
		return nil
	}
	if code(err) == sqlite.ResultIOErr {
		c.failed.Store(true)
	}
	return fmt.Errorf("checkpointing (%s): %w", mode, err)
}

// runCheckpoints checkpoints whenever the writer has changed enough, until the store is closed.
func (s *Store) runCheckpoints() {
	defer s.background.Done()
	tick := time.NewTicker(checkpointInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.checkpointDue:
		case <-tick.C:
			if s.unchecked.Load() == 0 {
				continue
			}
		}
		if s.checkpointer.failed.Load() {
			continue
		}
		s.unchecked.Store(0)
		if err := s.checkpointer.background(); err != nil {
			s.warnCheckpoint(err)
			continue
		}
		s.restart()
	}
}

// restart does the part of the writer: it takes its turn, between two groups.
func (s *Store) restart() {
	s.turn.Claim()
	defer s.turn.Pass()
	if s.group != nil {
		s.end(s.group, nil)
	}
	if err := s.checkpointer.run(s.writer, "RESTART"); err != nil {
		s.warnCheckpoint(err)
	}
}

// checkpointsEnded is what operators read once a disk failed during a checkpoint.
const checkpointsEnded = "the disk failed while the store was checkpointed: nothing is lost, but the write-ahead log grows from now on; " +
	"check the disk and restart the server"

// Alarm says what an operator has to see to although reads and writes go on: that checkpoints have ended because the disk failed during
// one. It is nil while all is well, and a fault.Unavailable else.
func (s *Store) Alarm() error {
	if s.checkpointer.failed.Load() {
		return fault.New(fault.Unavailable, checkpointsEnded)
	}
	return nil
}

func (s *Store) warnCheckpoint(err error) {
	if s.checkpointer.failed.Load() {
		s.log.Error(checkpointsEnded, "error", err)
		return
	}
	s.log.Warn("the store could not be checkpointed; it is tried again", "error", err)
}

// wrote counts changes and wakes the checkpointer when there are enough.
func (s *Store) wrote(changes int64) {
	if s.unchecked.Add(changes) < checkpointChanges {
		return
	}
	select {
	case s.checkpointDue <- struct{}{}:
	default:
	}
}
