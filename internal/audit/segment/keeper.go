package segment

import (
	"errors"
	"slices"
	"time"
)

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

// keptSegments is how many of the newest segments stay in memory: who follows the log reads them, and what is written next is on their pages soon.
const keptSegments = 2

// release lets the machine forget the segments behind the newest; whoever still follows the log there reads it from the disk. A log grows for as long as
// anybody reads a secret, and would push the database out of memory. What is new also comes to lie on pages that were in use a moment ago, which a virtual machine has from its host
// already: there, a page that it never had costs 5 us, one that it had 1 us.
func (l *Log) release() {
	l.mu.Lock()
	i, _ := slices.BinarySearch(l.bases, l.released)
	full := slices.Clone(l.bases[i:max(i, len(l.bases)-keptSegments)])
	l.mu.Unlock()
	for _, base := range full {
		if f, err := l.cfg.Disk.Open(Name(base)); err == nil {
			f.Release()
			_ = f.Close() // nothing was written through it
		}
		l.released = base + 1
	}
}

// refill allocates what the reserve lacks and prepares the next segment.
func (l *Log) refill() error {
	l.release()
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
