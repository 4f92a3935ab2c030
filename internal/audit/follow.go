package audit

import (
	"context"

	"github.com/keywright/keywright/internal/audit/segment"
)

// Follow calls fn for every record from index from on, in order, and waits for more, until ctx ends or fn fails. Index
// and record never change afterwards: only records that survive a power loss are shown, so a reader that keeps the
// index behind the last record it has taken in misses none and sees none twice. fn runs on the caller's goroutine and
// delays nobody.
//
// It fails with fault.Conflict when the log has fewer than from records: it is not the log that was followed before,
// and the reader must begin anew. After any other error it can be called again.
func (l *Log) Follow(ctx context.Context, from int64, fn func(index int64, r *Record) error) error {
	if synced := l.seg.State().Synced; from > synced {
		return shorter(synced, from)
	}
	cursor := segment.Cursor{Index: from}
	for {
		synced, err := l.seg.WaitSynced(ctx, cursor.Index)
		if err != nil {
			return err
		}
		cursor, err = l.seg.Read(ctx, cursor, synced, func(_ int64, f segment.Frame) error {
			e, err := parseEnvelope(f.Payload)
			if err != nil {
				return err
			}
			r, err := open(l.cfg.Sealer, e, f.Index)
			if err != nil {
				return err
			}
			return fn(f.Index, r)
		})
		if err != nil {
			return err
		}
	}
}
