package archive

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"iter"
	"slices"
	"strconv"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// Answer is the result of a query over all nodes.
type Answer struct {
	Records []*audit.Record
	// Next is the filter's cursor for the records behind these.
	Next string
	// Missing tells whose records the answer lacks, of the time that the filter asks for.
	Missing []Missing
}

// Query returns the records that the filter selects in the logs of all nodes, merged by time. Within one log the order is the log's. Each change is there
// once.
func (r *Reader) Query(ctx context.Context, f audit.Filter) (*Answer, error) {
	a := &Answer{}
	m, err := r.merge(ctx, f)
	if err != nil {
		return nil, err
	}
	defer m.stop()
	for f.Limit <= 0 || len(a.Records) < f.Limit {
		rec, err := m.next(ctx)
		if err != nil {
			return nil, err
		}
		if rec == nil {
			break
		}
		a.Records = append(a.Records, rec)
	}
	a.Next, a.Missing = m.cursor(), m.missing
	return a, nil
}

// Records is Query for who takes one record after another. The filter's limit holds; what is missing is known at once.
func (r *Reader) Records(ctx context.Context, f audit.Filter) (iter.Seq2[*audit.Record, error], []Missing, error) {
	m, err := r.merge(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	return func(yield func(*audit.Record, error) bool) {
		defer m.stop()
		for n := 0; f.Limit <= 0 || n < f.Limit; n++ {
			rec, err := m.next(ctx)
			if err != nil {
				yield(nil, err)
				return
			}
			if rec == nil || !yield(rec, nil) {
				return
			}
		}
	}, m.missing, nil
}

// merge reads several logs side by side.
type merge struct {
	newestFirst bool
	streams     []*stream
	adopted     *adopted
	missing     []Missing
}

// stream is one log, of which head is the record that comes next.
type stream struct {
	log *store.AuditLog
	// records are pulled from the first look on: who never looks leaves nothing behind. pull and stop are nil before.
	records iter.Seq2[*audit.Record, error]
	pull    func() (*audit.Record, error, bool)
	stop    func()
	head    *audit.Record
	done    bool
	// at is the filter's cursor behind the last record that was taken from this log.
	at string
}

func (r *Reader) merge(ctx context.Context, f audit.Filter) (*merge, error) {
	all, peers, err := r.logs(ctx)
	if err != nil {
		return nil, err
	}
	at, err := parseCursor(f.Cursor, r.Own.Origin(), len(all))
	if err != nil {
		return nil, err
	}
	m := &merge{newestFirst: f.NewestFirst}
	if len(all) > 1 {
		m.adopted = newAdopted(r.Store)
	}
	for _, log := range all {
		own := log.Origin == r.Own.Origin()
		if gap := missing(log, peers); !own && gap != nil && (f.To.IsZero() || f.To.After(gap.Since)) && (gap.Until.IsZero() || f.From.Before(gap.Until)) {
			m.missing = append(m.missing, *gap)
		}
		one := f
		one.Limit, one.Cursor = 0, at[log.Origin]
		if one.Cursor == "" && f.NewestFirst {
			if f.Cursor != "" {
				continue // the log began after the first page, so all of it is newer
			}
			size := log.Shipped
			if own {
				size = r.Own.State().Records
			}
			one.Cursor = strconv.FormatInt(size, 10)
		}
		records := r.Own.Query(ctx, one)
		if !own {
			records = r.shipped(ctx, log, one)
		}
		m.streams = append(m.streams, &stream{log: log, at: one.Cursor, records: records})
	}
	return m, nil
}

func (m *merge) stop() {
	for _, s := range m.streams {
		if s.stop != nil {
			s.stop()
		}
	}
}

// next returns the next record of all logs; nil behind the last.
func (m *merge) next(ctx context.Context) (*audit.Record, error) {
	var first *stream
	for _, s := range m.streams {
		if err := m.fill(ctx, s); err != nil {
			return nil, err
		}
		if s.head != nil && (first == nil || m.before(s.head, first.head)) {
			first = s
		}
	}
	if first == nil {
		return nil, nil
	}
	rec := first.head
	first.head, first.at = nil, rec.Cursor()
	return rec, nil
}

func (m *merge) before(a, b *audit.Record) bool {
	if m.newestFirst {
		return a.Time.After(b.Time)
	}
	return a.Time.Before(b.Time)
}

// fill finds the stream's next record that counts.
func (m *merge) fill(ctx context.Context, s *stream) error {
	if s.pull == nil {
		s.pull, s.stop = iter.Pull2(s.records)
	}
	for s.head == nil && !s.done {
		rec, err, ok := s.pull()
		switch {
		case err != nil:
			return err
		case !ok:
			s.done = true
			return nil
		}
		if m.adopted != nil {
			rec.Log = s.log.Origin
			if rec.Change {
				counts, err := m.adopted.counts(ctx, rec.ID, rec.Time, rec.Node, s.log)
				if err != nil {
					return err
				}
				if !counts {
					s.at = rec.Cursor()
					continue
				}
			}
		}
		s.head = rec
	}
	return nil
}

// cursor is where the query goes on: of one log the index, as that log's own queries have it, of several an index for each.
func (m *merge) cursor() string {
	at := make(map[string]string, len(m.streams))
	for _, s := range m.streams {
		at[s.log.Origin] = s.at
	}
	if m.adopted == nil && len(m.streams) == 1 {
		return m.streams[0].at
	}
	text, _ := json.Marshal(at) // a map of strings can always be encoded
	return base64.RawURLEncoding.EncodeToString(text)
}

// maxCursor bounds a cursor: a hundred logs have room in it.
const maxCursor = 8 << 10

func parseCursor(text, own string, logs int) (map[string]string, error) {
	bad := fault.New(fault.Invalid, "the cursor is none that an audit query gave; leave it out to begin anew")
	switch {
	case text == "":
		return nil, nil
	case len(text) > maxCursor:
		return nil, bad
	}
	if _, err := strconv.ParseInt(text, 10, 64); err == nil {
		if logs > 1 {
			return nil, bad // there was one log when the query began; what it showed of it does not say where the others go on
		}
		return map[string]string{own: text}, nil
	}
	var at map[string]string
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(raw, &at) != nil {
		return nil, bad
	}
	return at, nil
}

// shipped queries the parts of another node's log.
func (r *Reader) shipped(ctx context.Context, log *store.AuditLog, f audit.Filter) iter.Seq2[*audit.Record, error] {
	return func(yield func(*audit.Record, error) bool) {
		q := store.AuditPartQuery{Origin: log.Origin, Below: log.Shipped, From: f.From, To: f.To, NewestFirst: f.NewestFirst, Limit: 1}
		if f.Cursor != "" {
			seen, err := strconv.ParseInt(f.Cursor, 10, 64)
			if err != nil || seen < 0 {
				yield(nil, fault.New(fault.Invalid, "the cursor is none that an audit query gave; leave it out to begin anew"))
				return
			}
			if f.NewestFirst {
				q.Below = min(seen, q.Below)
			} else {
				q.Behind = seen + 1
			}
		}
		for q.Below > 0 {
			parts, err := r.parts(ctx, q)
			if err != nil {
				yield(nil, err)
				return
			}
			if len(parts) == 0 {
				return
			}
			p := parts[0]
			records, err := r.selected(p, &f, &q)
			if err != nil {
				yield(nil, err)
				return
			}
			for _, rec := range records {
				if !yield(rec, nil) {
					return
				}
			}
			if f.NewestFirst {
				q.Below = p.Base
			} else {
				q.Behind = p.Next
			}
		}
	}
}

func (r *Reader) parts(ctx context.Context, q store.AuditPartQuery) (list []*store.AuditPart, err error) {
	err = r.Store.View(ctx, func(tx store.Tx) (err error) {
		list, err = tx.AuditParts(ctx, q)
		return err
	})
	return list, err
}

// selected returns the records of a part that the filter selects, in its order.
func (r *Reader) selected(p *store.AuditPart, f *audit.Filter, q *store.AuditPartQuery) (list []*audit.Record, err error) {
	err = leaves(p, func(leaf audit.Leaf) error {
		if leaf.Index < q.Behind || leaf.Index >= q.Below || !f.Selects(&leaf) {
			return nil
		}
		rec, err := leaf.Open(r.Sealer)
		if err == nil && f.Matches(rec) {
			list = append(list, rec)
		}
		return err
	})
	if f.NewestFirst {
		slices.Reverse(list)
	}
	return list, err
}
