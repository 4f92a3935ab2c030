package archive

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"filippo.io/age"

	"github.com/keywright/keywright/internal/store"
)

// Progress is how much was written or read. It may be read at any time.
type Progress struct{ Rows, Bytes atomic.Int64 }

// Write writes an archive of the store's present state to w, for the recipients, and returns its sums. Without an error everything was handed to w; that it is durable there
// is the caller's business.
func Write(ctx context.Context, w io.Writer, h Header, from store.Dumper, recipients []age.Recipient, p *Progress) (*End, error) {
	if p == nil {
		p = new(Progress)
	}
	sealed, err := age.Encrypt(&counted{w, &p.Bytes}, recipients...)
	if err != nil {
		return nil, fmt.Errorf("encrypting the backup to its recipients: %w", err)
	}
	// The fastest level: ciphertext, of which most of a store consists, does not get smaller by more work.
	packed, err := gzip.NewWriterLevel(sealed, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	out := &writer{ctx: ctx, w: bufio.NewWriterSize(packed, bufferBytes), progress: p}
	h.Format = cmp.Or(h.Format, Version)
	if err := out.json(kindHeader, h); err != nil {
		return nil, err
	}
	if err := from.Dump(ctx, out); err != nil {
		return nil, err
	}
	out.endTable()
	if err := out.json(kindEnd, out.end); err != nil {
		return nil, err
	}
	return &out.end, errors.Join(out.w.Flush(), packed.Close(), sealed.Close())
}

const bufferBytes = 256 << 10

// writer is the sink of a dump.
type writer struct {
	ctx      context.Context
	w        *bufio.Writer
	progress *Progress
	payload  []byte
	sum      sum
	end      End
}

func (w *writer) json(k kind, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFrame(w.w, k, payload)
}

// Table implements store.Sink.
func (w *writer) Table(t *store.Table) error {
	w.endTable()
	w.sum = sum{name: t.Name}
	return w.json(kindTable, t)
}

// Row implements store.Sink.
func (w *writer) Row(values []any) (err error) {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if w.payload, err = appendRow(w.payload[:0], values); err != nil {
		return fmt.Errorf("writing a row of the table %s: %w", w.sum.name, err)
	}
	w.sum.add(w.payload)
	w.progress.Rows.Add(1)
	return writeFrame(w.w, kindRow, w.payload)
}

func (w *writer) endTable() {
	if w.sum.name != "" {
		w.end.Tables = append(w.end.Tables, w.sum.end())
	}
}

// sum is what is added up of a table.
type sum struct {
	name   string
	rows   int64
	digest [sha256.Size]byte
}

func (s *sum) add(row []byte) {
	s.rows++
	for i, b := range sha256.Sum256(row) {
		s.digest[i] ^= b
	}
}

func (s *sum) end() TableEnd { return TableEnd{s.name, s.rows, hex.EncodeToString(s.digest[:])} }

// counted counts what is written.
type counted struct {
	w io.Writer
	n *atomic.Int64
}

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n.Add(int64(n))
	return n, err
}
