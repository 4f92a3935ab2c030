package segment

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// pageBytes is the largest unit of which a failed write may lose a part: the memory page on every platform we build for.
const pageBytes = 4096

// appendMapped copies a record into the mapping: payload first, so that a length is never there without its payload.
func (l *Log) appendMapped(payload []byte) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return 0, err
	}
	if l.cur.full || l.cur.off+frameLen(payload) > l.cfg.SegmentBytes {
		if err := l.roll(); err != nil {
			return 0, unavailable(err)
		}
	}
	putFrameHeader(&l.header, payload)
	a := l.cur
	err := a.m.Write(payload, a.off+frameHeader)
	if err == nil {
		err = a.m.Write(l.header[:], a.off)
	}
	if err != nil {
		l.failed = err
		return 0, unavailable(err)
	}
	a.off += frameLen(payload)
	l.next++
	if a.off > a.ready-readyAhead/2 && a.ready < l.cfg.SegmentBytes {
		kick(l.kickPreparer)
	}
	return l.next - 1, nil
}

// readyAhead is for how many bytes behind the last record memory is made ready, so that requests do not wait for the file system in their turn: for some 2,000
// records, of which half are left when it is told to go on.
const readyAhead = 1 << 20

// prepareEach makes memory ready ahead of the records.
func (l *Log) prepareEach() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.kickPreparer:
			l.prepare()
		}
	}
}

func (l *Log) prepare() {
	l.ioMu.Lock() // no mapping is closed
	defer l.ioMu.Unlock()
	l.mu.Lock()
	a := l.cur
	from, to := max(a.ready, a.off), min(a.off+readyAhead, l.cfg.SegmentBytes)
	a.ready = max(a.ready, to)
	failed := l.failed != nil
	l.mu.Unlock()
	if !failed && a.m != nil {
		a.m.Prepare(from, to)
	}
}

// roll begins the next segment without waiting for the disk: until the next sync its name is as volatile as its
// content. The caller holds mu.
func (l *Log) roll() error {
	name, err := l.pool.take()
	kick(l.kickKeeper)
	if err != nil {
		return err
	}
	a, err := l.mapSegment(name, l.next)
	if err != nil {
		// The next segment may have its name all the same, and begins with the next record: a shorter one that had room here would be found in neither after a restart.
		l.cur.full = true
		return fmt.Errorf("beginning segment %d: %w", l.next, err)
	}
	l.dirty = append(l.dirty, l.cur)
	l.cur = a
	l.bases = append(l.bases, a.base)
	return nil
}

// mapSegment makes a reserve file the segment that begins at base.
func (l *Log) mapSegment(name string, base int64) (*active, error) {
	f, err := l.cfg.Disk.Open(name)
	if err != nil {
		return nil, err
	}
	a := &active{base: base, f: f, off: FirstOffset}
	if a.m, err = f.Map(l.cfg.SegmentBytes); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	err = a.m.Write(Header{Base: base, Generation: l.generation}.encode(), 0)
	if err == nil {
		err = l.cfg.Disk.Rename(name, Name(base))
	}
	if err != nil {
		return nil, errors.Join(err, a.close())
	}
	return a, nil
}

// syncEach syncs the mapping at each interval.
func (l *Log) syncEach() {
	ticker := time.NewTicker(l.cfg.SyncInterval)
	defer ticker.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-ticker.C:
			if l.syncMapped() != nil {
				kick(l.kickKeeper) // it reports the alarm
			}
		}
	}
}

// syncMapped makes what is in the mappings durable, oldest first. An error closes the log, and the attempt to mend it
// comes at once.
func (l *Log) syncMapped() error {
	l.ioMu.Lock()
	defer l.ioMu.Unlock()
	l.mu.Lock()
	if l.failed != nil {
		l.mu.Unlock()
		return l.mend()
	}
	full, cur, off, next := l.dirty, l.cur, l.cur.off, l.next
	clean := next == l.synced && len(full) == 0
	l.mu.Unlock()
	if clean {
		return nil
	}
	if err := l.syncSegments(full, cur, off); err != nil {
		l.mu.Lock()
		l.failed = fmt.Errorf("syncing the audit log: %w", err)
		l.mu.Unlock()
		return l.mend()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirty = l.dirty[len(full):]
	cur.synced = off
	l.synced = next
	l.notify()
	var err error
	for _, a := range full {
		err = errors.Join(err, a.close())
	}
	return err
}

func (l *Log) syncSegments(full []*active, cur *active, off int64) error {
	for _, a := range full {
		if err := a.m.Sync(a.synced, a.off); err != nil {
			return err
		}
	}
	if err := cur.m.Sync(cur.synced, off); err != nil {
		return err
	}
	if len(full) > 0 {
		return l.cfg.Disk.SyncDir()
	}
	return nil
}

// mend writes every record that is not known to be durable into a new segment and opens the log again. It reads them
// back through the page cache and takes them only if every checksum holds; otherwise the log stays closed, because
// acknowledged records are gone. The caller holds ioMu; nothing is appended while the log has failed.
func (l *Log) mend() error {
	l.mu.Lock()
	cause, next := l.failed, l.next
	doubtful := append(append([]*active{}, l.dirty...), l.cur)
	l.mu.Unlock()
	frames, base, err := readBack(doubtful, next)
	if err != nil {
		return errors.Join(cause, fmt.Errorf("reading back the records that may not be on the disk: %w", err))
	}
	last, bases, err := l.rewrite(frames, base)
	if err != nil {
		return errors.Join(cause, fmt.Errorf("rewriting the records that may not be on the disk: %w", err))
	}
	if last.m, err = last.f.Map(l.cfg.SegmentBytes); err != nil {
		return errors.Join(cause, err, last.f.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range doubtful {
		err = errors.Join(err, a.close())
	}
	l.replaced(last, bases)
	l.dirty, l.failed, l.synced = nil, nil, next
	l.notify()
	return err
}

// readBack returns the frames from the first that shares a page with an unsynced one up to the record next.
func readBack(doubtful []*active, next int64) (frames []byte, base int64, err error) {
	base = math.MaxInt64
	page := doubtful[0].synced &^ (pageBytes - 1)
	for i, a := range doubtful {
		until := next
		if i+1 < len(doubtful) {
			until = doubtful[i+1].base
		}
		reached, _, err := Scan(a.f, FirstOffset, a.base, until, func(f Frame) error {
			if i > 0 || f.Offset+frameLen(f.Payload) > page {
				base = min(base, f.Index)
				frames = AppendFrame(frames, f.Payload)
			}
			return nil
		})
		if err == nil && reached < until {
			err = &DamageError{0, reached, fmt.Sprintf("the records from here to %d are gone", until)}
		}
		if err != nil {
			return nil, 0, err
		}
	}
	return frames, min(base, next), nil
}
