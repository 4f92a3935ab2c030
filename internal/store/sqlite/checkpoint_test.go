package sqlite_test

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
)

// TestFailedSyncOfACheckpoint: when the database could not be synced, the kernel may have dropped pages that SQLite counts as
// copied, and later syncs succeed. The test plays such a kernel: whatever checkpoints write into the database from then on is gone.
// Only the log has it, and the next start must replay all of it.
func TestFailedSyncOfACheckpoint(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var armed atomic.Bool
	var syncs atomic.Int32
	told := make(chan string, 100)
	s := open(t, sqlite.Config{
		Dir:    dir,
		Logger: slog.New(slog.NewTextHandler(lines(told), nil)),
		// One sync fails, and every later one succeeds, as the kernel's do.
		Faults: sqlite.Faults{SyncDatabase: func() error {
			if armed.Load() && syncs.Add(1) == 1 {
				return errors.New("input/output error")
			}
			return nil
		}},
	})
	// Two of the first rounds make a checkpoint due, one does not. Once it has failed it stays due, so later rounds may be short.
	rounds := map[string]int{"first": 2200, "second": 2200, "third": 10, "fourth": 10}
	write := func(round string) {
		t.Helper()
		err := s.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error {
			for i := range rounds[round] {
				if err := tx.PutSetting(t.Context(), round+time.Duration(i).String(), []byte(round)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	// A reader keeps the checkpoint from copying everything: it would sync the database by itself then.
	reads, done := make(chan struct{}), make(chan struct{})
	var reader errgroup.Group
	reader.Go(func() error {
		return s.View(t.Context(), func(tx store.Tx) error {
			defer func() { <-done }()
			defer close(reads)
			_, err := tx.Setting(t.Context(), "first0s")
			return err
		})
	})
	<-reads
	before, err := os.ReadFile(filepath.Join(dir, "keywright.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Alarm(); err != nil {
		t.Errorf("Alarm = %v while all is well", err)
	}
	armed.Store(true)
	write("second")
	select {
	case line := <-told:
		for _, want := range []string{"ERROR", "nothing is lost", "input/output error", "restart"} {
			if !strings.Contains(line, want) {
				t.Errorf("the log says %q, want it to contain %q", line, want)
			}
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody was told of the failed sync")
	}
	close(done)
	if err := reader.Wait(); err != nil {
		t.Fatal(err)
	}
	// The store goes on, and leaves the log alone even when another checkpoint is due and when it is closed.
	write("third")
	if err := s.Health(t.Context()); err != nil {
		t.Errorf("Health = %v: reads and writes still work", err)
	}
	if err := s.Alarm(); !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "restart") {
		t.Errorf("Alarm = %v: an operator has to know", err)
	}
	write("fourth")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := syncs.Load(); n != 1 {
		t.Errorf("the database was synced %d times after a failure, want no other attempt", n-1)
	}

	after := t.TempDir()
	if err := os.WriteFile(filepath.Join(after, "keywright.db"), before, 0o600); err != nil {
		t.Fatal(err)
	}
	wal, err := os.ReadFile(filepath.Join(dir, "keywright.db-wal"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Fatal("the log, the only whole copy, was removed")
	} else if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(after, "keywright.db-wal"), wal, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, sqlite.Config{Dir: after})
	defer s.Close()
	err = s.View(t.Context(), func(tx store.Tx) error {
		for round, rows := range rounds {
			for i := range rows {
				if _, err := tx.Setting(t.Context(), round+time.Duration(i).String()); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

// lines sends what is written to a channel.
type lines chan<- string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}
