package segment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/audit/disk"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
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

// Unavailable is the reason of the error of a log that cannot take a record.
const Unavailable fault.Reason = "AuditUnavailable"

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

// State is what operators watch.
type State struct {
	Records int64 // acknowledged, or about to be
	Synced  int64 // of these, durable
	// ReserveFree and ReserveTarget count reserve segments.
	ReserveFree, ReserveTarget int
	// Alarm says why the reserve cannot be filled or the log not written; nil while all is well.
	Alarm error
	// Closed says that Append failed last and goes on failing until the log is mended or has space.
	Closed bool
}

// Log is the append-only log. It is safe for concurrent use.
type Log struct {
	cfg  Config
	pool *pool

	stop    context.CancelFunc
	ctx     context.Context
	running sync.WaitGroup

	kickKeeper    chan struct{}
	kickCommitter chan struct{}

	// ioMu is held while segments are synced or replaced. It is taken before mu.
	ioMu       sync.Mutex
	generation int64
	journal    journal // Fsync

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

// active is a segment that is being written.
type active struct {
	base   int64
	f      disk.File
	m      disk.Mapping // OS
	off    int64        // of the next frame
	synced int64        // everything before this offset is durable
}

// Open recovers the log and starts its goroutines, which Close stops. A torn end is cut after the last whole record.
// It fails when fewer than Committed records are left.
func Open(cfg Config) (*Log, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg, kickKeeper: make(chan struct{}, 1), kickCommitter: make(chan struct{}, 1)}
	l.pool = &pool{d: cfg.Disk, size: cfg.SegmentBytes, backoff: cfg.RetryInterval, clock: cfg.Clock,
		target: int((max(cfg.ReserveBytes, 0) + cfg.SegmentBytes - 1) / cfg.SegmentBytes)}
	if err := l.recover(); err != nil {
		return nil, fmt.Errorf("recovering the audit log: %w", err)
	}
	l.ctx, l.stop = context.WithCancel(context.Background())
	if cfg.Durability == Fsync {
		l.running.Go(l.commitBatches)
	}
	if !cfg.manual {
		l.running.Go(l.keepReserve)
		if cfg.Durability == OS {
			l.running.Go(l.syncEach)
		}
	}
	return l, nil
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

// State returns the present state.
func (l *Log) State() State {
	l.mu.Lock()
	s := State{Records: l.next, Synced: l.synced, Alarm: errors.Join(l.failed, l.broken), Closed: l.closed || l.failed != nil || l.broken != nil}
	l.mu.Unlock()
	l.pool.mu.Lock()
	defer l.pool.mu.Unlock()
	s.ReserveFree, s.ReserveTarget = len(l.pool.names), l.pool.target
	if s.Alarm == nil {
		s.Alarm = l.pool.err
	}
	return s
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

func (a *active) close() error {
	var err error
	if a.m != nil {
		err = a.m.Close()
	}
	return errors.Join(err, a.f.Close())
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

// keepReserve fills the reserve whenever it shrank and reports what changed.
func (l *Log) keepReserve() {
	reported := l.State()
	reported.Alarm = nil
	for {
		pause := time.Hour
		if err := l.refill(); err != nil {
			pause = l.cfg.RetryInterval
		}
		if s := l.State(); l.cfg.OnState != nil && changed(reported, s) {
			l.cfg.OnState(s)
			reported = s
		}
		timer := time.NewTimer(pause)
		select {
		case <-l.ctx.Done():
			timer.Stop()
			return
		case <-l.kickKeeper:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// refill allocates what the reserve lacks and prepares the next segment.
func (l *Log) refill() error {
	if err := l.pool.fill(); err != nil {
		return err
	}
	if l.cfg.Durability == Fsync {
		return l.pool.heat()
	}
	return nil
}

func changed(a, b State) bool {
	if (a.Alarm == nil) != (b.Alarm == nil) {
		return true
	}
	return b.Alarm != nil && (a.ReserveFree != b.ReserveFree || a.Closed != b.Closed)
}

func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// create makes a durable segment that holds frames.
func (l *Log) create(base int64, frames []byte) (*active, error) {
	name, err := l.pool.take()
	defer kick(l.kickKeeper)
	if err != nil {
		return nil, err
	}
	f, err := l.cfg.Disk.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening a reserve file: %w", err)
	}
	content := append(Header{Base: base, Generation: l.generation}.encode(), frames...)
	if _, err = f.WriteAt(content, 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.cfg.Disk.Rename(name, Name(base))
	}
	if err == nil {
		err = l.cfg.Disk.SyncDir()
	}
	if err != nil {
		_ = l.cfg.Disk.Remove(name) // best effort: it holds data, so it is no reserve; opening the log cleans it
		return nil, errors.Join(fmt.Errorf("making segment %d: %w", base, err), f.Close())
	}
	return &active{base: base, f: f, off: int64(len(content)), synced: int64(len(content))}, nil
}

// rewrite puts frames, the first of which is the record base, into new segments of a new generation and returns the
// last one. It makes them from the last to the first: the first is what supersedes, so a crash in between loses
// nothing. The segments behind it that it does not replace by name it removes.
func (l *Log) rewrite(frames []byte, base int64) (last *active, bases []int64, err error) {
	l.generation++
	var chunks [][]byte
	for first := true; first || len(frames) > 0; first = false {
		chunk, n := fitting(frames, l.cfg.SegmentBytes-FirstOffset)
		chunks, bases = append(chunks, chunk), append(bases, base)
		frames, base = frames[len(chunk):], base+n
	}
	for i := len(chunks) - 1; i >= 0; i-- {
		a, err := l.create(bases[i], chunks[i])
		if err == nil && last != nil {
			err = a.f.Close()
		} else if err == nil {
			last = a
		}
		if err != nil {
			return nil, nil, err
		}
	}
	onDisk, err := Bases(l.cfg.Disk)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range onDisk {
		if b > bases[0] && !slices.Contains(bases, b) {
			if err := l.cfg.Disk.Remove(Name(b)); err != nil {
				return nil, nil, fmt.Errorf("removing superseded segment %d: %w", b, err)
			}
		}
	}
	return last, bases, l.cfg.Disk.SyncDir()
}

// replaced makes the result of rewrite current. The caller holds mu and closes what it replaces.
func (l *Log) replaced(last *active, bases []int64) {
	i, _ := slices.BinarySearch(l.bases, bases[0])
	l.bases = append(l.bases[:i:i], bases...)
	l.cur = last
}

// fitting returns the longest run of whole frames that takes at most room bytes, and their number.
func fitting(frames []byte, room int64) (chunk []byte, n int64) {
	end := int64(0)
	for end < int64(len(frames)) {
		next := end + frameAt(frames[end:])
		if next > room {
			break
		}
		end = next
		n++
	}
	return frames[:end], n
}
