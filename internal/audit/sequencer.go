package audit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/fault"
)

// recentRows is how many of the last rows the log remembers. It must be above rowsAtOnce: after a crash only the rows
// of one unfinished round can come again.
const (
	recentRows = 4096
	rowsAtOnce = 1024
)

// recentIDs is a bounded set that forgets the oldest.
type recentIDs struct {
	ring []ID
	next int
	set  map[ID]struct{}
}

func newRecentIDs() *recentIDs { return &recentIDs{set: map[ID]struct{}{}} }

func (r *recentIDs) has(id ID) bool {
	_, ok := r.set[id]
	return ok
}

func (r *recentIDs) add(id ID) {
	if len(r.ring) < recentRows {
		r.ring = append(r.ring, id)
	} else {
		delete(r.set, r.ring[r.next])
		r.ring[r.next] = id
		r.next = (r.next + 1) % recentRows
	}
	r.set[id] = struct{}{}
}

// loadRecent reads the last rows back from the log. Blocks without rows are skipped by the index.
func (l *Log) loadRecent(ctx context.Context) (*recentIDs, error) {
	var newestFirst []ID
	err := l.blocks(ctx, true, func(x *segmentIndex, i int) (bool, error) {
		b := x.blocks[i]
		if b.changes == 0 {
			return true, nil
		}
		var ids []ID
		from := segment.Cursor{Index: b.index, Base: x.base, Offset: b.offset}
		_, err := l.seg.Read(ctx, from, x.end(i), func(_ int64, f segment.Frame) error {
			e, err := parseEnvelope(f.Payload)
			if err == nil && e.kind == kindChange {
				ids = append(ids, e.id)
			}
			return err
		})
		for k := len(ids) - 1; k >= 0; k-- {
			newestFirst = append(newestFirst, ids[k])
		}
		return len(newestFirst) < recentRows, err
	})
	recent := newRecentIDs()
	for k := min(len(newestFirst), recentRows) - 1; k >= 0; k-- {
		recent.add(newestFirst[k])
	}
	return recent, err
}

// Row is one audit row as it was committed with its change.
type Row struct {
	Position int64 // ascending in the order of commits, above 0
	ID       ID
	Frame    []byte // as Seal made it
}

// Rows is the database's side of a sequencer.
type Rows interface {
	// LastSequenced returns the highest position that Sequenced was given, or 0.
	LastSequenced(ctx context.Context) (int64, error)
	// Rows returns committed rows above after in ascending order, at most limit, without gaps that a transaction still
	// running could fill. None is not an error.
	Rows(ctx context.Context, after int64, limit int) ([]Row, error)
	// Sequenced notes that every row up to position is durable in a log. The rows may be deleted then.
	Sequenced(ctx context.Context, position int64) error
}

// SequencerConfig describes a sequencer.
type SequencerConfig struct {
	Log  *Log
	Rows Rows
	// Interval is the pause after a round that found nothing or failed; 100 ms when zero. Wake cuts it short.
	Interval time.Duration
	// Linger is the pause after Wake, so that a burst of changes is one round with one sync; none when zero.
	Linger  time.Duration
	OnError func(error) // may be nil
}

// Sequencer brings the audit rows of changes from the database into the log: append, sync, then note the position. A
// crash anywhere in between repeats a round, and the log leaves out what it has already. One sequencer serves a log.
type Sequencer struct {
	cfg  SequencerConfig
	wake chan struct{}
	// hurry is wake without the linger.
	hurry chan struct{}

	mu      sync.Mutex
	cancel  context.CancelFunc
	stopped bool
	running sync.WaitGroup

	waitMu sync.Mutex
	// waiting are the callers of CatchUp; whoever takes one from here closes it or puts it back.
	waiting []chan struct{}
}

// NewSequencer returns a sequencer; Start runs it.
func NewSequencer(cfg SequencerConfig) (*Sequencer, error) {
	if cfg.Log == nil || cfg.Rows == nil {
		return nil, fault.New(fault.Internal, "a sequencer needs its log and its rows")
	}
	if cfg.Interval <= 0 {
		cfg.Interval = 100 * time.Millisecond
	}
	if cfg.OnError == nil {
		cfg.OnError = func(error) {}
	}
	return &Sequencer{cfg: cfg, wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}, nil
}

// Wake says that there may be new rows. It never blocks.
func (s *Sequencer) Wake() { notify(s.wake) }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// CatchUp waits until every row that was committed before the call is in the log, durable. It cuts the linger short. When ctx
// ends first the error is that of ctx: rounds fail, which OnError says, or rows come faster than they are taken in.
func (s *Sequencer) CatchUp(ctx context.Context) error {
	done := make(chan struct{})
	s.waitMu.Lock()
	s.waiting = append(s.waiting, done)
	s.waitMu.Unlock()
	notify(s.hurry)
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeWaiting returns who waits for rows that the next round is certain to see.
func (s *Sequencer) takeWaiting() []chan struct{} {
	s.waitMu.Lock()
	defer s.waitMu.Unlock()
	taken := s.waiting
	s.waiting = nil
	return taken
}

// caughtUp lets go who waited for a round that found the last row; else they wait for the next one.
func (s *Sequencer) caughtUp(taken []chan struct{}, last bool) {
	if !last {
		s.waitMu.Lock()
		defer s.waitMu.Unlock()
		s.waiting = append(taken, s.waiting...)
		return
	}
	for _, done := range taken {
		close(done)
	}
}

// Start runs rounds until Stop is called or ctx ends.
func (s *Sequencer) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil || s.stopped {
		return fault.New(fault.Internal, "the sequencer was started before")
	}
	ctx, s.cancel = context.WithCancel(ctx)
	s.running.Go(func() { s.run(ctx) })
	return nil
}

// Stop ends the rounds and waits for the one that runs. It is safe to call twice and before Start.
func (s *Sequencer) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	if s.cancel != nil {
		s.cancel()
	}
	s.running.Wait()
}

func (s *Sequencer) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-s.wake: // the round that comes sees what this one announced
		default:
		}
		taken := s.takeWaiting()
		n, err := s.Round(ctx)
		s.caughtUp(taken, err == nil && n < rowsAtOnce)
		if err != nil && ctx.Err() == nil {
			s.cfg.OnError(fmt.Errorf("sequencing audit rows: %w", err))
		}
		if n == rowsAtOnce && err == nil {
			continue
		}
		timer := time.NewTimer(s.cfg.Interval)
		select {
		case <-ctx.Done():
		case <-s.wake:
			s.linger(ctx)
		case <-s.hurry:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// linger lets a burst of changes gather, unless somebody waits for them.
func (s *Sequencer) linger(ctx context.Context) {
	timer := time.NewTimer(s.cfg.Linger)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.hurry:
	case <-timer.C:
	}
}

// Round sequences at most rowsAtOnce rows and returns how many.
func (s *Sequencer) Round(ctx context.Context) (int, error) {
	after, err := s.cfg.Rows.LastSequenced(ctx)
	if err != nil {
		return 0, err
	}
	rows, err := s.cfg.Rows.Rows(ctx, after, rowsAtOnce)
	if err != nil || len(rows) == 0 {
		return 0, err
	}
	for _, row := range rows {
		if row.Position <= after {
			return 0, fault.New(fault.Internal, "audit row %d came after row %d", row.Position, after)
		}
		after = row.Position
		if err := s.cfg.Log.AppendSealed(ctx, row.ID, row.Frame); err != nil {
			return 0, fmt.Errorf("appending audit row %d: %w", row.Position, err)
		}
	}
	if err := s.cfg.Log.Sync(ctx); err != nil {
		return 0, err
	}
	return len(rows), s.cfg.Rows.Sequenced(ctx, after)
}
