package postgres

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
)

// Config says where the store lives.
type Config struct {
	// DSN is a connection string as all of PostgreSQL's clients understand it, a URL or KEY=VALUE words
	// (https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING). TLS is as its sslmode says. Of several hosts the primary is used. What it leaves
	// open comes from PG… variables of the environment. It is read again for every connection, and it is never logged.
	DSN string
	// PasswordFile, when it is not empty, is a file that holds the password and nothing else; it is read for every connection. Without it the password is that of the
	// string, of PGPASSFILE or of PGPASSWORD.
	PasswordFile string
	// Schema is the schema that the store has to itself; "keywright" when empty. Lower-case letters, digits and underscores.
	Schema string
	// Load opens the store for a load, even when one did not end in it. Whoever sets it loads and settles, and then opens the store anew.
	Load bool
	// Logger is told what nobody waits for. Nil discards it.
	Logger *slog.Logger
	// Faults breaks commits, for tests.
	Faults Faults
}

// Faults are called around every COMMIT; nil functions are skipped. When one returns an error, the connection is cut there.
type Faults struct {
	// BeforeCommit loses the group: nothing is stored.
	BeforeCommit func() error
	// AfterCommit cuts the connection after the server stored the group and before its answer arrives.
	AfterCommit func() error
	// Resolve keeps the outcome of a commit whose answer was lost from being found out.
	Resolve func() error
}

// Store is the engine. It implements store.Store.
type Store struct {
	config  Config
	log     *slog.Logger
	readers *relational.Pool[*conn]
	feed    feed

	// turn entitles to what follows.
	turn *relational.Turn
	// writer is nil after it was lost.
	writer *conn
	// group is the one under way, nil between two.
	group *group

	// outcome is how the last group of updates ended.
	outcome relational.Outcome
	// notifies is set when the database can notify, following while the follower gets answers.
	notifies, following atomic.Bool
	// primary is the host and port, as the connection string has them, to which a connection was opened last.
	primary atomic.Pointer[string]

	// mu guards closed and that nothing joins active once it is set.
	mu     sync.Mutex
	closed bool
	active sync.WaitGroup
	// stop ends the follower, which background waits for.
	stop       context.CancelFunc
	background sync.WaitGroup
}

var _ store.Store = (*Store)(nil)

// Open opens the store, makes its schema when there is none, and starts to follow what other processes commit, until Close. A database that cannot be reached is a
// fault.Unavailable, a schema that a newer release made unusable for this one a fault.Conflict.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.DSN == "" {
		return nil, fault.New(fault.Invalid, "opening the store: no connection string is configured")
	}
	if cfg.Schema == "" {
		cfg.Schema = "keywright"
	}
	if !schemaName.MatchString(cfg.Schema) {
		return nil, fault.New(fault.Invalid, "opening the store: the schema's name may have lower-case letters, digits and underscores, and begins with no digit")
	}
	s := &Store{config: cfg, log: cfg.Logger, turn: relational.NewTurn()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.readers = s.openReaders()
	if err := s.open(ctx); err != nil {
		s.dropWriter()
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	follow, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.turn.Pass()
	s.background.Go(func() { s.follow(follow) })
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	var err error
	if s.writer, err = s.connect(ctx, writer); err != nil {
		return err
	}
	if err := s.migrate(ctx, s.writer); err != nil {
		return err
	}
	if err := s.checkWhole(ctx); err != nil {
		return err
	}
	asked := time.Now()
	t := relational.View(inTransaction{s.writer}, nil)
	if s.feed.last.position, err = t.Head(ctx); err != nil {
		return fmt.Errorf("reading the end of the journal: %w", err)
	}
	s.feed.fresh.Store(&asked)
	s.following.Store(true)
	return s.tellStandbys(ctx)
}

// tellStandbys says in the log what an acknowledged write outlives.
func (s *Store) tellStandbys(ctx context.Context) error {
	var names string
	err := s.writer.query(ctx, "SHOW synchronous_standby_names", nil, func(r relational.Row) error {
		names = r.Text(0)
		return nil
	})
	switch {
	case err != nil && s.writer.dead():
		return err
	case err != nil:
		s.log.Info("the store's database says nothing of standbys: acknowledged writes outlive what it promises by itself")
	case names == "":
		s.log.Info("the store's database has no synchronous standby: acknowledged writes outlive its restart, but not a fail-over to another server")
	default:
		s.log.Info("the store's database has synchronous standbys: acknowledged writes outlive a fail-over to one of them", "synchronous_standby_names", names)
	}
	return nil
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

// Watch implements store.Store. stop is safe to call twice, but not from within fn.
func (s *Store) Watch(fn func(*store.Commit)) (stop func()) { return s.feed.watchers.Watch(fn) }

// Fresh implements store.Store.
func (s *Store) Fresh() time.Time { return s.feed.freshness() }

// Waits tells how long callers waited for a connection of readers, and for their turn to write.
func (s *Store) Waits() store.Waits {
	return store.Waits{Reads: s.readers.Wait(), Writes: s.turn.Wait()}
}

// Committed implements store.Store. It looks under the lock of all writers and answers after a commit of its own, so that a transaction whose connection was lost, here or in
// another process, has ended, and what is found is durable.
func (s *Store) Committed(ctx context.Context, id store.OpID) (found bool, err error) {
	err = s.probe(ctx, func(t *relational.Tx) (err error) {
		found, err = t.Committed(ctx, id)
		return err
	})
	return found && err == nil, err
}

// Health implements store.Store. After a failed group it tries a write, so that it notices by itself when the database is well.
func (s *Store) Health(ctx context.Context) error {
	if s.outcome.Failed() {
		if err := s.probe(ctx, func(*relational.Tx) error { return nil }); err != nil {
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

// Alarm says what an operator has to see to although some requests may still be answered: that this node does not hear of other nodes' changes. It is nil while
// all is well, and a fault.Unavailable else.
func (s *Store) Alarm() error {
	if !s.following.Load() {
		return fault.New(fault.Unavailable, "the store's database does not answer: this node does not hear of other nodes' changes; check the database and the network")
	}
	return nil
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
	s.stop()
	s.background.Wait()
	s.readers.Empty((*conn).close)
	s.dropWriter()
	return nil
}
