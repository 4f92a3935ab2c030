package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // which tests look into the database with

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
)

func TestAFileThatIsNoDatabase(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "keywright.db"), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := sqlite.Open(sqlite.Config{Dir: dir})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), "is damaged") || !strings.Contains(err.Error(), "restore a backup") {
		t.Errorf("opening it: %v, want an Unavailable that says what to do", err)
	}
}

func TestOneProcessPerDirectory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, sqlite.Config{Dir: dir})
	_, err := sqlite.Open(sqlite.Config{Dir: dir})
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(err.Error(), dir) {
		t.Errorf("opening a store twice: %v, want an Unavailable that names the directory", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, sqlite.Config{Dir: dir}).Close(); err != nil {
		t.Error(err)
	}
}

func TestFilesAreForThisUserAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := open(t, sqlite.Config{Dir: dir})
	defer s.Close()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) < 3 {
		t.Fatalf("the directory holds %v, %v; want the database, its log and the lock", files, err)
	}
	for _, f := range append(files, nil) {
		path := dir
		if f != nil {
			path = filepath.Join(dir, f.Name())
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has the mode %v: others may use it", path, info.Mode())
		}
	}
}

func TestRefusesTheSchemaOfANewerRelease(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, sqlite.Config{Dir: dir}).Close(); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", filepath.Join(dir, "keywright.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version=1000"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(sqlite.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "newer release") {
		t.Errorf("Open = %v, want it to name a newer release", err)
	}
}

// TestDoubtIsSettledByAWrite: the frames of a failed COMMIT may lie in the log, so nobody is told that it did not happen before
// something was written over them.
func TestDoubtIsSettledByAWrite(t *testing.T) {
	var failing atomic.Bool
	s := open(t, sqlite.Config{Dir: t.TempDir(), Faults: sqlite.Faults{BeforeCommit: func() error {
		if failing.Load() {
			return errors.New("the disk is slow to say no")
		}
		return nil
	}}})
	defer s.Close()
	op := store.NewOp(time.Now())
	failing.Store(true)
	err := s.Update(t.Context(), op, func(tx store.Tx) error { return tx.PutSetting(t.Context(), "a", nil) })
	if !fault.Is(err, fault.Unavailable) {
		t.Fatalf("Update = %v, want Unavailable", err)
	}
	if _, err := s.Committed(t.Context(), op.ID); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Committed = %v while nothing can be written, want Unavailable", err)
	}
	failing.Store(false)
	if done, err := s.Committed(t.Context(), op.ID); done || err != nil {
		t.Errorf("Committed = %v, %v; want false", done, err)
	}
}

// TestFullDisk fills a small file system: writes are refused in words, reads go on, and writes resume by themselves.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("mounting a small file system: %v", err)
		}
		t.Skipf("SKIPPED: this test mounts a small file system, for which it has to be root: %v", err)
	}
	defer unix.Unmount(dir, 0)
	s := open(t, sqlite.Config{Dir: dir})
	defer s.Close()
	ctx := t.Context()
	now := time.Now()
	put := func(name string) error {
		now = now.Add(time.Millisecond)
		return s.Update(ctx, store.NewOp(now), func(tx store.Tx) error { return tx.PutSetting(ctx, name, make([]byte, 50_000)) })
	}
	stored := 0
	var err error
	for ; stored < 100 && err == nil; stored++ {
		err = put("s" + time.Duration(stored).String())
	}
	stored--
	if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.As(err).Message, "disk is full") {
		t.Fatalf("writing to a full disk: %v, want an Unavailable that says so", err)
	}
	read := func(ctx context.Context) error {
		return s.View(ctx, func(tx store.Tx) error {
			for i := range stored {
				if _, err := tx.Setting(ctx, "s"+time.Duration(i).String()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := read(ctx); err != nil {
		t.Errorf("reading on a full disk: %v", err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size=16m"); err != nil {
		t.Fatal(err)
	}
	if err := put("after"); err != nil {
		t.Errorf("writing when there is room again: %v", err)
	}
	if err := s.Health(ctx); err != nil {
		t.Errorf("Health = %v when there is room again", err)
	}
	if err := read(ctx); err != nil {
		t.Errorf("reading afterwards: %v", err)
	}
}

// TestLogStaysSmall goes on writing until the log has less than was written: checkpoints keep up and start it anew. Without
// them the log always has more than that.
func TestLogStaysSmall(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, sqlite.Config{Dir: dir})
	defer s.Close()
	ctx := t.Context()
	const least, most, rows, size = 60, 400, 200, 2400
	for i := range most {
		err := s.Update(ctx, store.NewOp(time.Now()), func(tx store.Tx) error {
			for j := range rows {
				if err := tx.PutSetting(ctx, time.Duration(i*rows+j).String(), make([]byte, size)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(dir, "keywright.db-wal"))
		if err != nil {
			t.Fatal(err)
		}
		if written := int64((i + 1) * rows * size); i >= least && info.Size() < written {
			t.Logf("the log has %d KiB after %d KiB were written", info.Size()>>10, written>>10)
			return
		}
		time.Sleep(time.Duration(max(5, i-least)) * time.Millisecond) // a busy machine gets ever more time for the checkpoint
	}
	t.Errorf("after %d updates the log still has as much as was written", most)
}

// TestPanicOfAWatcher: watchers run in the goroutine of whoever commits, whose server may recover. The update is committed, and
// the store goes on.
func TestPanicOfAWatcher(t *testing.T) {
	t.Parallel()
	s := open(t, sqlite.Config{Dir: t.TempDir()})
	defer s.Close()
	put := func() error {
		return s.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error { return tx.PutSetting(t.Context(), "a", nil) })
	}
	stop := s.Watch(func(*store.Commit) { panic("broken") })
	func() {
		defer func() {
			if recover() != "broken" {
				t.Error("the panic did not reach the caller")
			}
		}()
		put()
	}()
	stop()
	if err := s.Probe(t.Context()); err != nil {
		t.Errorf("a write that makes no entry, after the panic: %v", err)
	}
	if err := put(); err != nil {
		t.Errorf("Update after the panic: %v", err)
	}
	err := s.View(t.Context(), func(tx store.Tx) error {
		list, err := tx.Commits(t.Context(), 0, 0)
		if len(list) != 2 {
			t.Errorf("the journal has %d entries, want 2", len(list))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
