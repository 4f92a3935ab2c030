package audit

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/fault"
)

// Filter selects records. A zero field selects everything; fields are joined by and.
type Filter struct {
	From, To      time.Time // From inclusive, To exclusive
	Tenant        string
	VaultID       string
	VaultName     string
	PrincipalID   string
	ObjectKind    string
	ObjectName    string
	Action        string
	Operation     string
	Outcome       Outcome
	CorrelationID string
	// NewestFirst turns the order round; it is the order of the log, which is that of time but for clock steps.
	NewestFirst bool
	// Limit is the largest number of records; no limit when zero.
	Limit int
	// Cursor is Record.Cursor of the last record that was seen; the query goes on behind it.
	Cursor string
}

// span is what a filter says about places and times.
type span struct{ from, to, minTime, maxTime int64 }

func (f *Filter) span(records int64) (span, error) {
	s := span{0, records, math.MinInt64, math.MaxInt64}
	if !f.From.IsZero() {
		s.minTime = f.From.UnixMicro()
		if f.From.Nanosecond()%1000 > 0 {
			s.minTime++
		}
	}
	if !f.To.IsZero() {
		s.maxTime = f.To.Add(-time.Nanosecond).UnixMicro()
	}
	if f.Cursor == "" {
		return s, nil
	}
	seen, err := strconv.ParseInt(f.Cursor, 10, 64)
	if err != nil || seen < 0 {
		return s, fault.New(fault.Invalid, "the cursor %q is none that an audit query gave; leave it out to begin anew", f.Cursor)
	}
	if f.NewestFirst {
		s.to = min(s.to, seen)
	} else {
		s.from = seen + 1
	}
	return s, nil
}

func (f *Filter) matches(r *Record) bool {
	if r.Shredded && (f.VaultID != "" || f.VaultName != "" || f.PrincipalID != "" || f.ObjectKind != "" || f.ObjectName != "" ||
		f.Action != "" || f.Operation != "" || f.Outcome != 0 || f.CorrelationID != "") {
		return false
	}
	is := func(want, got string) bool { return want == "" || want == got }
	return is(f.VaultID, r.VaultID) && is(f.VaultName, r.VaultName) && is(f.PrincipalID, r.Caller.PrincipalID) &&
		is(f.ObjectKind, r.ObjectKind) && is(f.ObjectName, r.ObjectName) && is(f.Action, r.Action) && is(f.Operation, r.Operation) &&
		is(f.CorrelationID, r.CorrelationID) && (f.Outcome == 0 || f.Outcome == r.Outcome)
}

// Query returns the records that the filter selects, among those that were acknowledged when it began. An error ends
// the sequence. Bodies are opened only when time and tenant fit. It takes no lock that an append waits for.
func (l *Log) Query(ctx context.Context, f Filter) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		s, err := f.span(l.seg.State().Records)
		if err != nil {
			yield(nil, err)
			return
		}
		left := f.Limit
		if left <= 0 {
			left = math.MaxInt
		}
		err = l.blocks(ctx, f.NewestFirst, func(x *segmentIndex, i int) (bool, error) {
			if b := x.blocks[i]; b.max < s.minTime || b.min > s.maxTime || b.index >= s.to || x.end(i) <= s.from {
				return true, nil
			}
			records, err := l.selected(ctx, x, i, &f, s)
			if err != nil {
				return false, err
			}
			for _, r := range records {
				if left--; left < 0 || !yield(r, nil) {
					return false, nil
				}
			}
			return left > 0, nil
		})
		if err != nil {
			yield(nil, fmt.Errorf("querying the audit log: %w", err))
		}
	}
}

// selected returns the records of the i-th block that the filter selects, in the filter's order.
func (l *Log) selected(ctx context.Context, x *segmentIndex, i int, f *Filter, s span) ([]*Record, error) {
	var records []*Record
	from := segment.Cursor{Index: x.blocks[i].index, Base: x.base, Offset: x.blocks[i].offset}
	_, err := l.seg.Read(ctx, from, x.end(i), func(_ int64, fr segment.Frame) error {
		e, err := parseEnvelope(fr.Payload)
		if err != nil {
			return err
		}
		if fr.Index < s.from || fr.Index >= s.to || e.micros < s.minTime || e.micros > s.maxTime ||
			f.Tenant != "" && f.Tenant != e.tenant {
			return nil
		}
		r, err := open(l.cfg.Sealer, e, fr.Index)
		if err == nil && f.matches(r) {
			records = append(records, r)
		}
		return err
	})
	if f.NewestFirst {
		slices.Reverse(records)
	}
	return records, err
}

// blocks calls fn for each block of the log in order, or from the last to the first, until fn returns false.
func (l *Log) blocks(ctx context.Context, newestFirst bool, fn func(x *segmentIndex, i int) (bool, error)) error {
	bases := l.seg.Bases()
	ends := append(slices.Clone(bases[1:]), l.seg.State().Records)
	for k := range bases {
		if newestFirst {
			k = len(bases) - 1 - k
		}
		x, err := l.indexOf(ctx, bases[k], ends[k], k < len(bases)-1)
		if err != nil {
			return err
		}
		for i := range x.blocks {
			if newestFirst {
				i = len(x.blocks) - 1 - i
			}
			if more, err := fn(x, i); err != nil || !more {
				return err
			}
		}
	}
	return nil
}
