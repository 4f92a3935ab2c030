package segment

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/keywright/keywright/internal/fault"
)

// recover finds the end of the log, cuts what is torn behind it, and makes all of it durable: a killed process leaves
// records in the page cache. It looks at one segment that ends below Committed at most, so that its time does not grow
// with the log.
func (l *Log) recover() error {
	names, err := l.cfg.Disk.List()
	if err != nil {
		return err
	}
	if err := l.pool.adopt(names); err != nil {
		return err
	}
	if l.bases, err = Bases(l.cfg.Disk); err != nil {
		return err
	}
	if len(l.bases) > 0 && l.bases[0] > 0 {
		return fault.New(fault.Conflict, "audit records 0 to %d are missing although later ones are there; run audit verify, restore the"+
			" directory, or move it away to begin a new log", l.bases[0]-1)
	}
	// From the segment before, even where one begins with the first uncommitted record: that one may have lost its header, and the generation is known from one
	// that has it. A log that went on in an older generation would lose what it writes at the next recovery.
	start, _ := slices.BinarySearch(l.bases, l.cfg.Committed)
	if start > 0 {
		start--
	}
	if err := l.checkFrom(start); err != nil {
		return err
	}
	if l.next < l.cfg.Committed {
		return l.missing(l.next, errors.New("the files end there"))
	}
	if len(l.bases) == 0 {
		return l.begin()
	}
	return l.resume()
}

// checkFrom reads the segments from the i-th on and removes what is superseded or stands behind a gap. It leaves in
// next how many records there are.
func (l *Log) checkFrom(i int) error {
	if len(l.bases) > 0 {
		l.next = l.bases[i]
	}
	for ; i < len(l.bases); i++ {
		base := l.bases[i]
		h, err := l.readHeader(base)
		if err == nil && h.Generation < l.generation {
			if err := l.cfg.Disk.Remove(Name(base)); err != nil {
				return err
			}
			l.bases = slices.Delete(l.bases, i, i+1)
			i--
			continue
		}
		if damaged := new(DamageError); errors.As(err, &damaged) || err == nil && base > l.next {
			return l.abandonFrom(i, err)
		} else if err != nil {
			return err
		}
		l.generation = h.Generation
		if l.next, err = l.count(base); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) readHeader(base int64) (h Header, err error) {
	f, err := l.cfg.Disk.Open(Name(base))
	if err != nil {
		return Header{}, err
	}
	defer closing(f, &err)
	return ReadHeader(f, base)
}

// count returns the position behind the last whole record of the segment.
func (l *Log) count(base int64) (next int64, err error) {
	f, err := l.cfg.Disk.Open(Name(base))
	if err != nil {
		return 0, err
	}
	defer closing(f, &err)
	next, _, err = Scan(f, FirstOffset, base, math.MaxInt64, nil)
	if damage := new(DamageError); errors.As(err, &damage) {
		if next < l.cfg.Committed {
			return 0, l.missing(next, err)
		}
		err = nil
	}
	return next, err
}

// abandonFrom sets aside the segments from the i-th on, which stand behind a gap: a power loss kept them and lost
// records before them, none of which was known to be durable.
func (l *Log) abandonFrom(i int, cause error) error {
	if l.next < l.cfg.Committed {
		return l.missing(l.next, cause)
	}
	for _, base := range l.bases[i:] {
		if err := l.cfg.Disk.Rename(Name(base), fmt.Sprintf("lost-%020d-%d", base, l.generation)); err != nil {
			return err
		}
	}
	l.bases = l.bases[:i]
	return l.cfg.Disk.SyncDir()
}

func (l *Log) missing(from int64, cause error) error {
	return fault.Wrap(cause, fault.Conflict, "audit records %d to %d are missing or damaged although a signed checkpoint"+
		" covers them; run audit verify, restore the directory, or move it away to begin a new log", from, l.cfg.Committed-1)
}

// begin makes the first segment of an empty log.
func (l *Log) begin() error {
	a, err := l.create(0, nil)
	if err != nil {
		return err
	}
	l.bases = []int64{0}
	return l.use(a)
}

// resume makes the last segment current and everything durable. The records that no checkpoint covers are written
// again in place before the sync: the process before may have died after a failed sync, whose pages are marked clean
// and are not on the disk. Whatever stands behind the last record is zeroed: a shorter record written over it must not
// make an old one readable again.
func (l *Log) resume() error {
	last := len(l.bases) - 1
	for i, base := range l.bases[:last] {
		if l.bases[i+1] <= l.cfg.Committed {
			continue // a checkpoint is signed after the sync
		}
		a, err := l.refresh(base, l.bases[i+1])
		if err == nil {
			err = errors.Join(a.f.Sync(), a.f.Close())
		}
		if err != nil {
			return err
		}
	}
	a, err := l.refresh(l.bases[last], l.next)
	if err != nil {
		return err
	}
	if err = l.clearTail(a); err == nil {
		err = l.use(a)
	}
	if err != nil {
		return errors.Join(err, a.f.Close())
	}
	return nil
}

// refresh writes the segment's frames from the first uncommitted one up to the record until over themselves.
func (l *Log) refresh(base, until int64) (*active, error) {
	f, err := l.cfg.Disk.Open(Name(base))
	if err != nil {
		return nil, err
	}
	from := int64(-1)
	_, end, err := Scan(f, FirstOffset, base, until, func(f Frame) error {
		if from < 0 && f.Index >= l.cfg.Committed {
			from = f.Offset &^ (pageBytes - 1)
		}
		return nil
	})
	if base >= l.cfg.Committed {
		from = 0
	} else if from < 0 {
		from = end
	}
	buf := make([]byte, 256<<10)
	for at := from; err == nil && at < end; {
		var n int
		if n, err = f.ReadAt(buf[:min(int64(len(buf)), end-at)], at); n > 0 {
			_, err = f.WriteAt(buf[:n], at)
		}
		at += int64(n)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("refreshing segment %d: %w", base, err), f.Close())
	}
	return &active{base: base, f: f, off: end}, nil
}

func (l *Log) clearTail(a *active) error {
	size, err := a.f.Size()
	if err != nil {
		return err
	}
	if size < l.cfg.SegmentBytes {
		if err := a.f.Allocate(l.cfg.SegmentBytes); err != nil {
			return err
		}
	}
	if err := a.f.Zero(a.off, max(size, l.cfg.SegmentBytes)); err != nil {
		return err
	}
	if err := a.f.Sync(); err != nil {
		return err
	}
	a.synced = a.off
	return l.cfg.Disk.SyncDir()
}

// use makes a, whose whole content is durable, the segment that is written.
func (l *Log) use(a *active) (err error) {
	if l.cfg.Durability == OS {
		if a.m, err = a.f.Map(l.cfg.SegmentBytes); err != nil {
			return err
		}
	}
	l.cur = a
	l.synced = l.next
	l.journal = journal{base: l.next}
	if l.cfg.Durability == Fsync {
		return l.journal.load(a, l.next)
	}
	return nil
}

// load reads the frames that share the last page of the segment.
func (j *journal) load(a *active, next int64) error {
	j.base = a.base
	_, _, err := Scan(a.f, FirstOffset, a.base, next, func(f Frame) error {
		j.tail = AppendFrame(j.tail, f.Payload)
		if len(j.tail) > 4*MaxRecord {
			j.trim(f.Offset + frameLen(f.Payload))
		}
		return nil
	})
	j.trim(a.off)
	return err
}
