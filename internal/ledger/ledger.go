package ledger

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
)

// Config makes a Ledger. Store, Log, Node, Clock and Logger are required.
type Config struct {
	Store store.Store
	// Log is the node's audit log, and Node its persistent id.
	Log  *audit.Log
	Node string
	// Durability is the log's. Boot identifies the running of the machine: what a process left to the operating system is lost only when it
	// changes. An empty one is never the same as another.
	Durability audit.Durability
	Boot       string
	Clock      clock.Clock
	Logger     *slog.Logger

	// Reader reads the logs of other nodes; nil where this node has the store for itself. Process is then the id of this process, for the owners of leases,
	// and the caller hooks Changed to the store's commits.
	Reader  *archive.Reader
	Process string

	// Linger is how long facts are gathered for one transaction; a second when zero. Pace is how long the log is left alone after a look at it;
	// 50 ms when zero. Neither delays who waits.
	Linger, Pace time.Duration
	// Takeover is the time between two looks for nodes that are gone; 2 s when zero.
	Takeover time.Duration
	// MaxConsumers bounds the versions that are remembered of consumers between their reads, about 90 bytes each; 262,144 when zero.
	MaxConsumers int
}

// Coarse is by how much the last delivery in the store may be older than the truth after a crash.
const Coarse = time.Minute

const (
	// rowsAtOnce bounds the rows that one transaction changes, so that writers wait for milliseconds only.
	rowsAtOnce = 1024
	// rowsQueued bounds the rows that wait for the store, about a kilobyte each.
	rowsQueued = 8192
	// recordsAtOnce bounds the records that are read while queries wait.
	recordsAtOnce = 4096
	// The position alone is stored after so many records or so long: that is what a restart reads again, at a microsecond each.
	recordsUnstored = 1 << 18
	storedEvery     = 30 * time.Second
)

// Ledger follows the node's audit log and answers who holds what. It is safe for concurrent use.
type Ledger struct {
	Config
	// reader names the log among those whose position the store keeps.
	reader string
	whole  time.Time
	// up is when this process began to hear.
	up time.Time

	lifecycle sync.Mutex
	cancel    context.CancelFunc
	running   sync.WaitGroup
	stopped   bool

	// wake makes the projection stop lingering. It has room for one.
	wake chan struct{}

	// mu guards what follows.
	mu        sync.Mutex
	tail      *audit.Tail
	memory    memory
	pending   []*change
	queued    map[store.HoldingKey]*change
	addresses map[netip.Addr]string
	resources map[principal.ID]string
	// committed is up to where the store has taken in the log, wanted how far somebody waits for, since when something is queued.
	committed, wanted int64
	since, storedAt   time.Time
	// interrupt ends a wait for records.
	interrupt context.CancelFunc
	// level is when the projection had last taken in everything.
	level time.Time
	// moved is closed and made anew when committed grows.
	moved chan struct{}
	// asked is the position of the last question of any node, answered up to which one this node has answered, and lastAsk that question. asking are
	// this node's own, with their positions.
	asked, answered store.Position
	lastAsk         store.OpID
	asking          map[store.OpID]store.Position
}

// New finds out where the projection of the log has come to, and whether the log may have lost its tail. Start begins to follow it.
func New(ctx context.Context, c Config) (*Ledger, error) {
	if c.Store == nil || c.Log == nil || c.Node == "" || c.Clock == nil || c.Logger == nil {
		return nil, errors.New("a ledger needs a store, the node's audit log and id, a clock and a logger")
	}
	if c.Linger <= 0 {
		c.Linger = time.Second
	}
	if c.Pace <= 0 {
		c.Pace = 50 * time.Millisecond
	}
	if c.Takeover <= 0 {
		c.Takeover = 2 * time.Second
	}
	if c.MaxConsumers <= 0 {
		c.MaxConsumers = 1 << 18
	}
	l := &Ledger{Config: c, wake: make(chan struct{}, 1), moved: make(chan struct{}), level: c.Clock.Now(), storedAt: c.Clock.Now(), up: clock.Micro(c.Clock.Now())}
	l.forget()
	l.queued, l.asking = make(map[store.HoldingKey]*change), make(map[store.OpID]store.Position)
	if c.Reader != nil && c.Process == "" {
		return nil, errors.New("a ledger of several nodes needs the id of its process")
	}
	if err := l.resume(ctx); err != nil {
		return nil, err
	}
	return l, nil
}

// forget empties what is remembered of consumers. Everything in it must be stored.
func (l *Ledger) forget() {
	l.memory = newMemory()
	l.addresses, l.resources = make(map[netip.Addr]string), make(map[principal.ID]string)
}

// Start begins to follow the log, until Stop is called.
func (l *Ledger) Start(ctx context.Context) error {
	l.lifecycle.Lock()
	defer l.lifecycle.Unlock()
	if l.cancel != nil || l.stopped {
		return fault.New(fault.Internal, "the ledger was started before; make a new one")
	}
	ctx, l.cancel = context.WithCancel(ctx)
	l.running.Go(func() { l.run(ctx) })
	if l.Reader != nil {
		l.running.Go(func() { l.adoptEach(ctx) })
	}
	return nil
}

// stopTimeout bounds what is left to do at the end, and flushTimeout the part of it that may be left undone.
const stopTimeout, flushTimeout = time.Second, 750 * time.Millisecond

// Stop ends the projection, stores what is only in memory, and notes that the process ended in order. It blocks until all is done, and is safe to
// call twice and before Start. The log must still be open, and take no more records of requests.
func (l *Ledger) Stop() {
	l.lifecycle.Lock()
	defer l.lifecycle.Unlock()
	if l.stopped {
		return
	}
	l.stopped = true
	if l.cancel == nil {
		return
	}
	l.cancel()
	l.running.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := l.finish(ctx); err != nil {
		l.Logger.ErrorContext(ctx, "the ledger could not be closed in order; what is missing is read again from the audit log", "error", err)
	}
}

func (l *Ledger) finish(ctx context.Context) error {
	if err := l.Log.Sync(ctx); err != nil {
		return err
	}
	for target := l.Log.State().Synced; ; {
		if err := l.read(ctx); err != nil {
			return err
		}
		if err := l.commit(ctx, true); err != nil {
			return err
		}
		l.mu.Lock()
		done := l.committed >= target
		l.mu.Unlock()
		if done {
			break
		}
	}
	// What there is no time to flush is older in the store than in truth, by less than Coarse, as after a crash. Of the log nothing is missing.
	flushing, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := l.flush(flushing); err != nil && flushing.Err() == nil {
		return err
	}
	return l.mark(ctx, true)
}

// run follows the log. What fails is tried again, ever more slowly, and logged.
func (l *Ledger) run(ctx context.Context) {
	const first, most = 100 * time.Millisecond, 10 * time.Second
	pause := first
	for ctx.Err() == nil {
		err := l.step(ctx)
		if err == nil {
			pause = first
			continue
		}
		if ctx.Err() != nil {
			return
		}
		l.Logger.ErrorContext(ctx, "the ledger cannot follow the audit log; it tries again, and nothing is revoked meanwhile", "after", pause, "error", err)
		sleep(ctx, pause)
		pause = min(2*pause, most)
	}
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// step waits for records, takes in those that are there, and stores what is due.
func (l *Ledger) step(ctx context.Context) error {
	if err := l.await(ctx); err != nil {
		return err
	}
	for {
		if err := l.read(ctx); err != nil {
			return err
		}
		if err := l.commit(ctx, false); err != nil {
			return err
		}
		l.mu.Lock()
		behind := l.tail.Next() < l.Log.State().Synced
		if !behind {
			l.level = l.Clock.Now()
		}
		l.mu.Unlock()
		if !behind {
			break
		}
	}
	if err := l.answer(ctx); err != nil {
		return err
	}
	timer := time.NewTimer(l.Pace)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-l.wake:
	}
	return nil
}

// await returns when there is something to read, or when what is queued is due to be stored.
func (l *Ledger) await(ctx context.Context) error {
	l.mu.Lock()
	due := l.storedAt.Add(storedEvery)
	if len(l.pending) > 0 {
		due = l.since.Add(l.Linger)
	}
	if len(l.pending) == 0 && l.tail.Next() == l.committed {
		due = l.Clock.Now().Add(time.Hour) // there is nothing to store
	}
	if l.wanted > l.committed && l.tail.Next() >= l.wanted || l.asked > l.answered {
		l.mu.Unlock()
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, max(due.Sub(l.Clock.Now()), time.Millisecond))
	defer cancel()
	l.interrupt = cancel
	l.mu.Unlock()
	if err := l.tail.Wait(waiting); err != nil && waiting.Err() == nil {
		return err
	}
	return ctx.Err()
}

// Wait returns when every record before the index is in the ledger. It fails when ctx ends before.
func (l *Ledger) Wait(ctx context.Context, index int64) error {
	for {
		l.mu.Lock()
		if l.committed >= index {
			l.mu.Unlock()
			return nil
		}
		l.wanted = max(l.wanted, index)
		moved := l.moved
		if l.interrupt != nil {
			l.interrupt()
		}
		l.mu.Unlock()
		select {
		case l.wake <- struct{}{}:
		default:
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fault.Wrap(ctx.Err(), fault.Unavailable, "the ledger has not taken in the audit log up to record %d yet: try again, and see its lag in the metrics", index)
		}
	}
}

// CatchUp returns when everything that was recorded before the call, on any node, is in the ledger: whoever holds a version by an answer that was
// given before is found. What it shows survives a power loss. It fails with fault.Unavailable, and names the node, while one has not said what it delivered.
func (l *Ledger) CatchUp(ctx context.Context) error {
	_, err := l.settle(ctx, nil)
	return err
}

// own is CatchUp for this node alone.
func (l *Ledger) own(ctx context.Context) error {
	index := l.Log.State().Records
	if err := l.Log.Sync(ctx); err != nil {
		return err
	}
	return l.Wait(ctx, index)
}

// Lag says how far the ledger is behind the log: in records, and since when it has not had all of them.
func (l *Ledger) Lag() (records int64, behind time.Duration) {
	all := l.Log.State().Records
	l.mu.Lock()
	defer l.mu.Unlock()
	if records = max(0, all-l.tail.Next()); records > 0 {
		behind = max(0, l.Clock.Now().Sub(l.level))
	}
	return records, behind
}

// Whole is since when the ledger misses nothing that was delivered: the zero instant, or that of the last start after which the tail of the log may
// have been lost.
func (l *Ledger) Whole() time.Time { return l.whole }
