package segment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Unavailable is the reason of the error of a log that cannot take a record.
const Unavailable fault.Reason = "AuditUnavailable"

// Log is the append-only log. It is safe for concurrent use.
type Log struct {
	cfg  Config
	pool *pool

	stop    context.CancelFunc
	ctx     context.Context
	running sync.WaitGroup

	kickKeeper    chan struct{}
	kickPreparer  chan struct{}
	kickCommitter chan struct{}

	// ioMu is held while segments are synced or replaced. It is taken before mu.
	ioMu       sync.Mutex
	generation int64
	journal    journal // Fsync
	// released is behind the segments that were let go from memory; it belongs to the keeper.
	released int64

	mu     sync.Mutex
	bases  []int64
	cur    *active
	dirty  []*active // OS: full, not yet synced
	next   int64
	synced int64
	failed error // why Append fails until the log is mended
	broken error // Fsync: why the last batch failed
	closed bool
	batch  *batch        // Fsync: collects until the committer takes it
	wake   chan struct{} // closed when synced grows; nil while nobody waits
	header [frameHeader]byte
}

// Open recovers the log and starts its goroutines, which Close stops. A torn end is cut after the last whole record.
// It fails when fewer than Committed records are left.
func Open(cfg Config) (*Log, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, kickKeeper: make(chan struct{}, 1), kickPreparer: make(chan struct{}, 1), kickCommitter: make(chan struct{}, 1)}
	l.pool = &pool{d: cfg.Disk, size: cfg.SegmentBytes, backoff: cfg.RetryInterval, clock: cfg.Clock,
		target: int((max(cfg.ReserveBytes, 0) + cfg.SegmentBytes - 1) / cfg.SegmentBytes)}
	if err := l.recover(); err != nil {
		return nil, fmt.Errorf("recovering the audit log: %w", err)
	}
	l.released = l.bases[len(l.bases)-1] // those of an earlier process are not asked about one by one
	l.ctx, l.stop = context.WithCancel(context.Background())
	if cfg.Durability == Fsync {
		l.running.Go(l.commitBatches)
	}
	if !cfg.manual {
		l.running.Go(l.keepReserve)
		if cfg.Durability == OS {
			l.running.Go(l.syncEach)
			l.running.Go(l.prepareEach)
		}
	}
	return l, nil
}

// Append adds a record and returns its position once it is as durable as the log promises. It fails with
// fault.Unavailable when the log cannot be written, or when ctx ends while the record waits for its sync; the record
// may then be in the log all the same. Under OS it neither blocks on the disk nor allocates.
func (l *Log) Append(ctx context.Context, payload []byte) (int64, error) {
	if len(payload) == 0 || len(payload) > MaxRecord || FirstOffset+frameLen(payload) > l.cfg.SegmentBytes {
		return 0, fault.New(fault.TooLarge, "an audit record of %d bytes is empty or longer than a segment takes", len(payload))
	}
	if l.cfg.Durability == Fsync {
		return l.appendBatched(ctx, payload)
	}
	return l.appendMapped(payload)
}

// Sync makes every acknowledged record durable.
func (l *Log) Sync() error {
	if l.cfg.Durability == Fsync {
		return nil // an acknowledged record is
	}
	return l.syncMapped()
}

// Bases returns the first positions of the segments in ascending order.
func (l *Log) Bases() []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.bases)
}

// WaitSynced returns the number of durable records as soon as it is above n. It fails when ctx ends or the log is
// closed.
func (l *Log) WaitSynced(ctx context.Context, n int64) (int64, error) {
	for {
		l.mu.Lock()
		if l.synced > n {
			defer l.mu.Unlock()
			return l.synced, nil
		}
		if l.closed {
			defer l.mu.Unlock()
			return l.synced, errClosed()
		}
		if l.wake == nil {
			l.wake = make(chan struct{})
		}
		wake := l.wake
		l.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// notify wakes those who wait for synced or for the end. The caller holds mu.
func (l *Log) notify() {
	if l.wake != nil {
		close(l.wake)
		l.wake = nil
	}
}

// Close stops the goroutines, makes every acknowledged record durable and closes the files. It is safe to call twice.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.notify()
	l.mu.Unlock()
	l.stop()
	l.running.Wait()
	err := l.Sync()
	l.ioMu.Lock()
	defer l.ioMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range append(l.dirty, l.cur) {
		err = errors.Join(err, a.close())
	}
	l.dirty = nil
	return err
}

// usable returns why the log cannot be appended to. The caller holds mu.
func (l *Log) usable() error {
	if l.closed {
		return errClosed()
	}
	if l.failed != nil {
		return unavailable(l.failed)
	}
	return nil
}

func errClosed() error {
	return fault.New(fault.Unavailable, "the audit log is closed; try again when the server is up").Because(Unavailable)
}

func unavailable(cause error) error {
	return &fault.Error{Kind: fault.Unavailable, Reason: Unavailable, Err: cause, RetryAfter: time.Second,
		Message: "the audit log cannot take a record, so nothing may be answered; an operator must free its disk or replace it"}
}
