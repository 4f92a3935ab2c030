package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit/disk"
	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/merkle"
)

// Durability says what an acknowledged record survives.
type Durability = segment.Durability

// OS survives the death of the process, Fsync that of the machine.
const (
	OS    = segment.OS
	Fsync = segment.Fsync
)

// CheckpointSink takes a copy of a signed checkpoint to where an attacker on this machine cannot reach it. It is called
// from one goroutine, never on the log's path, with the latest checkpoint; after an error it is called again later.
type CheckpointSink func(ctx context.Context, signed []byte) error

// Config describes a node's log.
type Config struct {
	// Dir is the directory; Open locks it. Tests give Disk instead.
	Dir  string
	Disk disk.FS
	// Node is the persistent id of this server.
	Node string
	// Origin names this log in its checkpoints, for ever. A restored node begins a log of another origin.
	Origin string
	// Signer signs checkpoints (Ed25519) and Verifier is its public half.
	Signer   note.Signer
	Verifier note.Verifier
	Sealer   Sealer

	Durability Durability
	// SegmentBytes, ReserveBytes, SyncInterval: as in segment.Config.
	SegmentBytes, ReserveBytes int64
	SyncInterval               time.Duration
	// CheckpointInterval is the longest time that a durable record waits for a checkpoint; 10 s when zero.
	CheckpointInterval time.Duration
	// CheckpointRecords is after how many records a checkpoint is due at once; 100,000 when zero.
	CheckpointRecords int64
	// Sinks each get checkpoints in a goroutine of their own: one that hangs delays none of the others.
	Sinks []CheckpointSink
	// OnState hears of alarms and of a shrinking reserve, OnError of failures behind the request path, which are tried
	// again. Both may be nil.
	OnState func(segment.State)
	OnError func(error)
	Clock   clock.Clock
}

// Log is the audit log of one node. It is safe for concurrent use.
type Log struct {
	cfg   Config
	dir   *disk.Dir // when Open made it
	seg   *segment.Log
	sinks []chan []byte // of one place each, in the order of Config.Sinks

	lifecycle sync.Mutex
	started   bool
	stopped   bool
	cancel    context.CancelFunc
	running   sync.WaitGroup

	treeMu sync.Mutex // guards what follows
	tree   *merkle.Tree
	tiles  *tiles
	points *checkpoints
	last   merkle.Checkpoint
	lastAt time.Time
	cursor segment.Cursor

	indexMu sync.Mutex
	tail    *segmentIndex // of the segment that is written

	recentMu sync.Mutex
	recent   *recentIDs
}

// Open recovers the log in the directory. Records can be appended at once; Start begins the work behind them. Open
// refuses, with fault.Conflict, a directory that lacks anything that its last checkpoint covers.
func Open(cfg Config) (*Log, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	l := &Log{cfg: cfg}
	for range cfg.Sinks {
		l.sinks = append(l.sinks, make(chan []byte, 1))
	}
	if cfg.Disk == nil {
		dir, err := disk.OpenDir(cfg.Dir)
		if err != nil {
			return nil, fmt.Errorf("opening the audit log: %w", err)
		}
		l.dir, l.cfg.Disk = dir, dir
	}
	if err := l.open(); err != nil {
		return nil, errors.Join(err, l.closeFiles())
	}
	return l, nil
}

func (c *Config) complete() error {
	switch {
	case c.Dir == "" && c.Disk == nil:
		return errors.New("audit: Config.Dir is missing")
	case c.Node == "" || c.Origin == "":
		return errors.New("audit: Config.Node and Config.Origin must be given")
	case c.Signer == nil || c.Verifier == nil:
		return errors.New("audit: Config.Signer and Config.Verifier must be given")
	case c.Sealer == nil:
		return errors.New("audit: Config.Sealer is missing")
	}
	if c.CheckpointInterval <= 0 {
		c.CheckpointInterval = 10 * time.Second
	}
	if c.CheckpointRecords <= 0 {
		c.CheckpointRecords = 100_000
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	return nil
}

func (l *Log) open() (err error) {
	if l.points, err = openCheckpoints(l.cfg.Disk); err != nil {
		return err
	}
	if l.points.signed != nil {
		l.last, err = merkle.OpenCheckpoint(l.points.signed, l.cfg.Origin, note.VerifierList(l.cfg.Verifier))
		if err != nil {
			return fault.Wrap(err, fault.Conflict, "the audit log's last checkpoint is not of this log and key; run audit"+
				" verify, or move the directory away to begin a new log")
		}
	}
	l.lastAt = time.Now()
	l.seg, err = segment.Open(segment.Config{Disk: l.cfg.Disk, Durability: l.cfg.Durability, SegmentBytes: l.cfg.SegmentBytes,
		ReserveBytes: l.cfg.ReserveBytes, SyncInterval: l.cfg.SyncInterval, Committed: l.last.Size,
		OnState: l.cfg.OnState, Clock: l.cfg.Clock})
	if err != nil {
		return err
	}
	return l.openTree()
}

// openTree opens the tree at the last checkpoint. Tiles that do not give its root are made again from the frames; if
// those do not give it either, the log was tampered with or damaged.
func (l *Log) openTree() (err error) {
	l.tiles = newTiles(l.cfg.Disk)
	if l.tree, err = merkle.Open(l.tiles, l.last.Size); err == nil {
		root, rootErr := l.tree.Root()
		if rootErr == nil && (l.last.Size == 0 || root == l.last.Root) {
			l.cursor.Index = l.last.Size
			return nil
		}
	}
	if l.tree, err = merkle.Open(l.tiles, 0); err != nil {
		return err
	}
	if err := l.integrate(context.Background(), l.last.Size); err != nil {
		return fmt.Errorf("making the audit log's tiles again: %w", err)
	}
	if root, err := l.tree.Root(); err != nil || root != l.last.Root {
		return fault.Wrap(errors.Join(errors.New("the root differs"), err), fault.Conflict, "the audit log's records are not"+
			" those that its last checkpoint signed; run audit verify, restore the directory, or move it away to begin a new log")
	}
	return l.tiles.sync()
}

// Append seals the record of a decision and adds it to the log. It returns once the record is as durable as the log
// promises. It fails with fault.Unavailable when the log cannot be written: the decision must then not be answered.
func (l *Log) Append(ctx context.Context, r *Record) error {
	id, at, node := r.ID, r.Time, r.Node
	if id == (ID{}) {
		id = NewID()
	}
	if at.IsZero() {
		at = l.cfg.Clock.Now()
	}
	if node == "" {
		node = l.cfg.Node
	}
	b := bufferPool.Get().(*buffers)
	defer b.release()
	frame, err := b.seal(b.frame[:0], l.cfg.Sealer, r, kindDecision, id, clock.Micro(at), node)
	if err != nil {
		return err
	}
	b.frame = frame
	_, err = l.seg.Append(ctx, frame)
	return err
}

// AppendSealed adds the frame of a change's row, as Seal made it, unless it is among the recently added ones. It
// returns like Append.
func (l *Log) AppendSealed(ctx context.Context, id ID, frame []byte) error {
	e, err := parseEnvelope(frame)
	if err != nil || e.kind != kindChange || e.id != id {
		return fault.Wrap(errors.Join(errors.New("the frame is not of this row"), err), fault.Internal,
			"the audit row %s cannot be added to the log", id)
	}
	l.recentMu.Lock()
	defer l.recentMu.Unlock()
	if l.recent == nil {
		if l.recent, err = l.loadRecent(ctx); err != nil {
			return fmt.Errorf("reading the recent audit rows: %w", err)
		}
	}
	if l.recent.has(id) {
		return nil
	}
	if _, err := l.seg.Append(ctx, frame); err != nil {
		return err
	}
	l.recent.add(id)
	return nil
}

// Sync makes every acknowledged record durable against power loss.
func (l *Log) Sync(context.Context) error { return l.seg.Sync() }

// State returns what operators watch.
func (l *Log) State() segment.State { return l.seg.State() }

// LatestCheckpoint returns the last signed checkpoint, or nil.
func (l *Log) LatestCheckpoint() []byte {
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	return l.points.signed
}

// Start begins to integrate records, to sign checkpoints and to hand them out, until Stop is called or ctx ends.
func (l *Log) Start(ctx context.Context) error {
	l.lifecycle.Lock()
	defer l.lifecycle.Unlock()
	if l.started || l.stopped {
		return fault.New(fault.Internal, "the audit log was started before; open it again")
	}
	l.started = true
	ctx, l.cancel = context.WithCancel(ctx)
	l.running.Go(func() { l.integrateEach(ctx) })
	for i, sink := range l.cfg.Sinks {
		l.running.Go(func() { l.feedSink(ctx, sink, l.sinks[i]) })
	}
	return nil
}

// Stop ends the work, signs a last checkpoint, and closes the files; Append fails from then on. It blocks until all is
// done, and is safe to call twice and before Start.
func (l *Log) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // the context of the caller has ended
	defer cancel()
	l.Shutdown(ctx)
}

// Shutdown is Stop with the caller's own bound: the last checkpoint, and its copy, are given up when ctx ends. What was acknowledged
// does not depend on them.
func (l *Log) Shutdown(ctx context.Context) {
	l.lifecycle.Lock()
	defer l.lifecycle.Unlock()
	if l.stopped {
		return
	}
	l.stopped = true
	if l.started {
		l.cancel()
		l.running.Wait()
	}
	if err := l.finish(ctx); err != nil {
		l.cfg.OnError(fmt.Errorf("closing the audit log: %w", err))
	}
}

func (l *Log) finish(ctx context.Context) error {
	err := l.Checkpoint(ctx)
	if last := l.LatestCheckpoint(); err == nil && last != nil {
		errs := make([]error, len(l.cfg.Sinks))
		var done sync.WaitGroup
		for i, sink := range l.cfg.Sinks {
			done.Go(func() { errs[i] = sink(ctx, last) })
		}
		done.Wait()
		err = errors.Join(errs...)
	}
	return errors.Join(err, l.closeFiles())
}

func (l *Log) closeFiles() error {
	var errs []error
	if l.seg != nil {
		errs = append(errs, l.seg.Close())
	}
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	if l.tiles != nil {
		errs = append(errs, l.tiles.close())
	}
	if l.points != nil {
		errs = append(errs, l.points.f.Close())
	}
	if l.dir != nil {
		errs = append(errs, l.dir.Close())
	}
	return errors.Join(errs...)
}
