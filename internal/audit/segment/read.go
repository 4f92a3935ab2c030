package segment

import (
	"context"
	"fmt"
	"slices"

	"github.com/keywright/keywright/internal/fault"
)

// Cursor is a place in the log. Index alone is enough; Base and Offset, as an earlier frame told them, save reading the
// segment from its start.
type Cursor struct{ Index, Base, Offset int64 }

// Read calls fn for each record of [from.Index, until) and returns the cursor behind the last one. It fails with
// fault.Invalid when the log has fewer records, and with a *DamageError where the files are damaged.
func (l *Log) Read(ctx context.Context, from Cursor, until int64, fn func(base int64, f Frame) error) (Cursor, error) {
	l.mu.Lock()
	bases, next := slices.Clone(l.bases), l.next
	l.mu.Unlock()
	if from.Index < 0 || until > next {
		return from, fault.New(fault.Invalid, "records %d to %d were asked for and the audit log has %d", from.Index, until, next)
	}
	i, exact := slices.BinarySearch(bases, from.Index)
	if !exact {
		i--
	}
	if i < 0 { // Open refuses such a log, so the file went away since
		return from, &DamageError{Index: from.Index, Detail: "the segment that begins the log is missing"}
	}
	for ; from.Index < until; i++ {
		if err := ctx.Err(); err != nil {
			return from, err
		}
		end := until
		if i+1 < len(bases) {
			end = min(end, bases[i+1])
		}
		var err error
		if from, err = l.readSegment(bases[i], from, end, fn); err != nil {
			return from, fmt.Errorf("reading segment %d: %w", bases[i], err)
		}
	}
	return from, nil
}

func (l *Log) readSegment(base int64, from Cursor, end int64, fn func(int64, Frame) error) (_ Cursor, err error) {
	f, err := l.cfg.Disk.Open(Name(base))
	if err != nil {
		return from, err
	}
	defer closing(f, &err)
	offset, index := int64(FirstOffset), base
	if from.Base == base && from.Offset > 0 {
		offset, index = from.Offset, from.Index
	}
	reached, offset, err := Scan(f, offset, index, end, func(f Frame) error {
		if f.Index < from.Index {
			return nil
		}
		return fn(base, f)
	})
	if err == nil && reached < end {
		err = &DamageError{offset, reached, "the segment ends here, too early"}
	}
	return Cursor{Index: max(reached, from.Index), Base: base, Offset: offset}, err
}
