package archive

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/store"
)

// maxPart bounds the frames of one part, in bytes before compression. A single larger record is a part of its own.
const maxPart = 256 << 10

// maxFrames is the most that a part can inflate to: one record more than a full part.
const maxFrames = maxPart + segment.MaxRecord + 64

// partWriter gathers consecutive frames. The bodies are ciphertext, so compression saves the envelopes alone, about a tenth, and the fastest level is enough.
type partWriter struct {
	part   store.AuditPart
	frames []byte
}

// add takes the next record and reports whether there was room for it.
func (w *partWriter) add(leaf audit.Leaf) bool {
	if len(w.frames) > 0 && len(w.frames)+len(leaf.Frame) > maxPart {
		return false
	}
	if len(w.frames) == 0 {
		w.part.Base, w.part.From, w.part.To = leaf.Index, leaf.Time, leaf.Time
	}
	if leaf.Time.Before(w.part.From) {
		w.part.From = leaf.Time
	}
	if leaf.Time.After(w.part.To) {
		w.part.To = leaf.Time
	}
	w.part.Next = leaf.Index + 1
	w.frames = segment.AppendFrame(w.frames, leaf.Frame)
	return true
}

func (w *partWriter) finish(origin string) (*store.AuditPart, error) {
	var out bytes.Buffer
	z, err := flate.NewWriter(&out, flate.BestSpeed)
	if err == nil {
		_, err = z.Write(w.frames)
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("compressing a part of the audit log: %w", err)
	}
	p := w.part
	p.Origin, p.Data = origin, out.Bytes()
	return &p, nil
}

// frames calls fn for each frame of a part.
func frames(p *store.AuditPart, fn func(segment.Frame) error) error {
	raw, err := inflate(p.Data)
	if err != nil {
		return &damaged{p, err.Error()}
	}
	next, end, err := segment.Scan(bytes.NewReader(raw), 0, p.Base, math.MaxInt64, fn)
	damage := new(segment.DamageError)
	switch {
	case errors.As(err, &damage):
		return &damaged{p, fmt.Sprintf("record %d: %s", damage.Index, damage.Detail)}
	case err != nil:
		return err
	case next != p.Next || end != int64(len(raw)):
		return &damaged{p, fmt.Sprintf("it holds the records up to %d and %d bytes more, and should hold those up to %d", next, int64(len(raw))-end, p.Next)}
	}
	return nil
}

func inflate(data []byte) ([]byte, error) {
	z := flate.NewReader(bytes.NewReader(data))
	raw, err := io.ReadAll(io.LimitReader(z, maxFrames+1))
	if err != nil {
		return nil, fmt.Errorf("it cannot be decompressed: %w", err)
	}
	if len(raw) > maxFrames {
		return nil, errors.New("it is larger than any part is")
	}
	return raw, nil
}

// damaged says that a part is not what a shipper wrote.
type damaged struct {
	part   *store.AuditPart
	detail string
}

// Error implements error.
func (d *damaged) Error() string {
	return fmt.Sprintf("part %d of the audit log %s is damaged: %s", d.part.Base, d.part.Origin, d.detail)
}

// leaves calls fn for each record of a part.
func leaves(p *store.AuditPart, fn func(audit.Leaf) error) error {
	return frames(p, func(f segment.Frame) error {
		leaf, err := audit.ParseLeaf(f.Index, f.Payload)
		if err != nil {
			return &damaged{p, err.Error()}
		}
		return fn(leaf)
	})
}
