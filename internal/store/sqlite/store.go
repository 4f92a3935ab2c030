package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
)

// The files in the directory. SQLite keeps its log and its shared memory beside the database, under its name with -wal and
// -shm.
const (
	databaseFile = "keywright.db"
	lockFile     = "keywright.lock"
)

// Config says where the store lives.
type Config struct {
	// Dir is the directory of the store's files. It is made when missing, for this user alone.
	Dir string
	// Logger is told what nobody waits for, such as a checkpoint that failed. Nil discards it.
	Logger *slog.Logger
	// Load opens the store for a load, even when one did not end in it. Whoever sets it loads and settles, and then opens the store anew.
	Load bool
	// Faults breaks commits and checkpoints, for tests.
	Faults Faults
}

// Faults are called around every COMMIT and in checkpoints; nil functions are skipped.
type Faults struct {
	// BeforeCommit, when it returns an error, loses the group: nothing is stored.
	BeforeCommit func() error
	// AfterCommit, when it returns an error, makes a stored group look lost.
	AfterCommit func() error
	// SyncDatabase, when it returns an error, is the failure of a checkpoint's sync of the database file.
	SyncDatabase func() error
}

// Store is the engine. It implements store.Store.
type Store struct {
	log    *slog.Logger
	faults Faults
	dir    string
	lock   *os.File

	checkpointer checkpointer
	readers      *relational.Pool[*conn]

	// turn entitles to what follows.
	turn   *relational.Turn
	writer *conn
	// group is the one under way, nil between two.
	group *group
	// last is the position of the newest journal entry that the watchers have seen.
	last store.Position
	// pending counts the entries of the group under way.
	pending int64

	// loading is set while the store is open for a load. It belongs to whoever has the turn.
	loading bool

	// views counts the calls of View.
	views atomic.Int64

	// bare is set when objects were found, on opening, that do not carry their versions.
	bare bool

	// doubt is set while the log may hold a group that was reported lost: after a failed COMMIT, and after opening.
	doubt atomic.Bool
	// leases is the clock of leases.
	leases leaseClock
	// outcome is how the last group of updates ended.
	outcome relational.Outcome

	unchecked     atomic.Int64
	checkpointDue chan struct{}

	watchers relational.Watchers

	// mu guards closed and that nothing joins active once it is set.
	mu     sync.Mutex
	closed bool
	active sync.WaitGroup
	// stop is closed by Close when no caller is left; it ends the goroutines in background.
	stop       chan struct{}
	background sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Open opens the store in a directory, makes it when there is none, and starts what runs in the background, which Close stops and
// waits for. A directory that another process uses is a fault.Unavailable.
func Open(cfg Config) (_ *Store, err error) {
	if cfg.Dir == "" {
		return nil, errors.New("opening the store: no directory is configured")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s := &Store{
		log: cfg.Logger, faults: cfg.Faults, dir: dir, loading: cfg.Load,
		leases:        leaseClock{opened: time.Now()},
		turn:          relational.NewTurn(),
		checkpointDue: make(chan struct{}, 1),
		stop:          make(chan struct{}),
	}
	s.checkpointer.fault = cfg.Faults.SyncDatabase
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the store in %s: %w", dir, err), s.release())
	}
	s.turn.Pass()
	s.background.Add(2)
	go s.runCheckpoints()
	go s.runPrewarm()
	if s.bare {
		s.background.Add(1)
		go s.runCarry()
	}
	return s, nil
}

// path is the database file's.
func (s *Store) path() string { return filepath.Join(s.dir, databaseFile) }

func (s *Store) open() error {
	if err := makeDir(s.dir); err != nil {
		return err
	}
	var err error
	if s.lock, err = lockDir(s.dir, filepath.Join(s.dir, lockFile)); err != nil {
		return err
	}
	path := s.path()
	// Made here, not by SQLite, so that nobody else may read it, nor the log and shared memory that inherit its mode.
	if s.checkpointer.file, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return err
	}
	// A short wait lets readers under way finish when the log is started anew; nothing else can make the writer wait.
	if s.writer, err = newConn(path, writerCacheKiB, "busy_timeout=10", "secure_delete=ON"); err != nil {
		return err
	}
	if err := migrate(s.writer); err != nil {
		return err
	}
	if err := s.checkWhole(); err != nil {
		return err
	}
	if err := settleLeases(s.writer, s.leases.opened); err != nil {
		if err := s.tolerate(err); err != nil {
			return err
		}
	}
	if s.checkpointer.conn, err = newConn(path, readerCacheKiB, "busy_timeout=0"); err != nil {
		return err
	}
	s.readers = openReaders(path, readersFor(runtime.GOMAXPROCS(0)))
	if s.last, err = s.lastPosition(); err != nil {
		return err
	}
	if s.bare, err = s.anyBare(); err != nil {
		return err
	}
	return s.settle()
}

// settle makes durable what a process that was killed may have left in the operating system's memory, and the names of new
// files. Until that worked the store is in doubt; a full disk does not keep it from being read.
func (s *Store) settle() error {
	s.doubt.Store(true)
	if err := s.begin(); err != nil {
		s.rollback()
		return s.tolerate(err)
	}
	if _, err := s.writer.exec("COMMIT"); err != nil {
		s.rollback()
		return s.tolerate(err)
	}
	s.doubt.Store(false)
	if err := s.checkpointer.file.Sync(); err != nil {
		return fmt.Errorf("syncing the database: %w", err)
	}
	return syncDir(s.dir)
}

func (s *Store) tolerate(err error) error {
	if !endsTransaction(err) {
		return err
	}
	s.outcome.Set(s.log, unavailable(err))
	s.log.Error("the store can be read, but not written", "error", err)
	return syncDir(s.dir)
}

// makeDir makes the directory and its name durable.
func makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// enter counts a caller in, unless the store is closed; leave counts it out.
func (s *Store) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed()
	}
	s.active.Add(1)
	return nil
}

func (s *Store) leave() { s.active.Done() }

// View implements store.Store. fn must not call the store.
func (s *Store) View(ctx context.Context, fn func(store.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.views.Add(1)
	c, err := s.readers.Get(ctx)
	if err != nil {
		return err
	}
	t := relational.View(c, s.leaseNow).Carrying()
	defer func() {
		t.End()
		s.giveBack(c)
	}()
	if _, err := c.exec("BEGIN"); err != nil {
		return unavailable(err)
	}
	return fn(&t)
}

// Watch implements store.Store. stop is safe to call twice, but not from within fn.
func (s *Store) Watch(fn func(*store.Commit)) (stop func()) { return s.watchers.Watch(fn) }

// Fresh implements store.Store: nobody else writes, and what is written here is shown before it is acknowledged.
func (s *Store) Fresh() time.Time { return time.Now() }

// Waits tells how long callers waited for a connection of readers, and for their turn to write.
func (s *Store) Waits() store.Waits {
	return store.Waits{Reads: s.readers.Wait(), Writes: s.turn.Wait()}
}

// Committed implements store.Store.
func (s *Store) Committed(ctx context.Context, id store.OpID) (bool, error) {
	if s.doubt.Load() {
		// A group that was reported lost may still be in the log. Writing over it, durably, decides.
		if err := s.probe(ctx); err != nil {
			return false, err
		}
	}
	var found bool
	err := s.View(ctx, func(t store.Tx) (err error) {
		found, err = t.(*relational.Tx).Committed(ctx, id)
		return err
	})
	return found, err
}

// Health implements store.Store. After a failed group it tries a write, so that it notices by itself when the disk is well.
func (s *Store) Health(ctx context.Context) error {
	if s.outcome.Failed() || s.doubt.Load() {
		if err := s.probe(ctx); err != nil {
			return err
		}
	}
	return s.View(ctx, func(t store.Tx) error {
		_, err := t.Tenant(ctx, "")
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		return err
	})
}

// Close implements store.Store. It is safe to call twice.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.active.Wait()
	close(s.stop)
	s.background.Wait()
	return s.release()
}

// release closes everything that open got to. SQLite copies the log into the database when its last connection is closed.
func (s *Store) release() error {
	if s.checkpointer.failed.Load() {
		// The log is the only whole copy, and SQLite would remove it. The end of the process leaves it, and until then the lock
		// keeps this process, too, from opening the store again.
		return nil
	}
	var errs []error
	if s.readers != nil {
		s.readers.Empty(func(c *conn) { errs = append(errs, c.close()) })
	}
	for _, c := range []*conn{s.checkpointer.conn, s.writer} {
		if c != nil {
			errs = append(errs, c.close())
		}
	}
	for _, f := range []*os.File{s.checkpointer.file, s.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}
