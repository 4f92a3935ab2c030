package archive

import (
	"context"
	"io"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/store"
)

// Source returns what is shipped of a log now, for whoever follows the log in its node's place. It grows no more: Wait fails with io.EOF at its end.
func (r *Reader) Source(log *store.AuditLog) audit.Source { return &source{r, log} }

type source struct {
	r   *Reader
	log *store.AuditLog
}

// Size implements audit.Source.
func (s *source) Size() int64 { return s.log.Shipped }

// Wait implements audit.Source.
func (s *source) Wait(_ context.Context, n int64) error {
	if n < s.log.Shipped {
		return nil
	}
	return io.EOF
}

// Read implements audit.Source.
func (s *source) Read(ctx context.Context, from segment.Cursor, until int64, fn func(int64, segment.Frame) error) (segment.Cursor, error) {
	at := segment.Cursor{Index: from.Index}
	for at.Index < until {
		parts, err := s.r.parts(ctx, store.AuditPartQuery{Origin: s.log.Origin, Behind: at.Index, Limit: 1})
		if err != nil {
			return at, err
		}
		if len(parts) == 0 || parts[0].Base > at.Index {
			return at, &segment.DamageError{Index: at.Index, Detail: "the part of the audit log " + s.log.Origin + " that holds it is gone from the store"}
		}
		p := parts[0]
		err = frames(p, func(f segment.Frame) error {
			if f.Index < at.Index || f.Index >= until {
				return nil
			}
			if err := fn(p.Base, f); err != nil {
				return err
			}
			at.Index++
			return nil
		})
		if err != nil {
			return at, err
		}
	}
	return at, nil
}
