package audit

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/fault"
)

// Tail reads a log in order for a reader that takes in every record, as many as there are requests: it costs a fraction of Follow, and in
// exchange its records are lent and lack what tells one request from another. Like Follow it shows only records that survive a power loss, so
// that an index never comes to stand for another record. It serves one goroutine.
type Tail struct {
	source Source
	sealer Sealer
	cursor segment.Cursor
	plain  []byte
	rec    Record
	dec    *decoder
	names  names
}

// Tail begins to read at index from. It fails like Follow when the log has fewer records.
func (l *Log) Tail(from int64) (*Tail, error) { return NewTail(durable{l.seg}, l.cfg.Sealer, from) }

// Source is the records of a log that can never be lost or replaced, in order.
type Source interface {
	// Size is how many there are.
	Size() int64
	// Wait returns when there are more than n. It fails when ctx ends or there will never be more.
	Wait(ctx context.Context, n int64) error
	// Read calls fn for the records [from.Index, until) and returns the cursor behind the last one.
	Read(ctx context.Context, from segment.Cursor, until int64, fn func(base int64, f segment.Frame) error) (segment.Cursor, error)
}

// durable is the part of a node's own log that survives a power loss.
type durable struct{ *segment.Log }

// Size implements Source.
func (d durable) Size() int64 { return d.State().Synced }

// Wait implements Source.
func (d durable) Wait(ctx context.Context, n int64) error {
	_, err := d.WaitSynced(ctx, n)
	return err
}

// NewTail begins to read a source at index from. It fails with fault.Conflict when that has fewer records.
func NewTail(source Source, s Sealer, from int64) (*Tail, error) {
	if has := source.Size(); from > has {
		return nil, shorter(has, from)
	}
	t := &Tail{source: source, sealer: s, cursor: segment.Cursor{Index: from}, names: names{all: make(map[string]string)}}
	t.dec = newDecoder(&t.rec)
	t.dec.str = t.names.str
	for _, f := range [...]int{fieldNode, fieldVaultName, fieldAppID, fieldUPN, fieldScope, fieldReason, fieldCorrelationID, fieldClientRequestID, fieldAPIVersion, fieldUserAgent, fieldPath} {
		t.dec.texts[f].skipped = true
	}
	return t, nil
}

func shorter(has, read int64) error {
	return fault.New(fault.Conflict, "the audit log has %d records and a reader had read %d; it must read the log anew", has, read)
}

// Next is the index of the record that is read next.
func (t *Tail) Next() int64 { return t.cursor.Index }

// Wait returns when there is a record to read. It fails when ctx ends or the log is closed.
func (t *Tail) Wait(ctx context.Context) error {
	return t.source.Wait(ctx, t.cursor.Index)
}

// Read calls fn for the durable records that were not read yet, at most limit of them, in order. The record is the tail's own: it is good until
// fn returns, and its texts may be kept. It has no Node, VaultName, AppID, UPN, Scope, Reason, CorrelationID, ClientRequestID, APIVersion, UserAgent
// and Path. What fn failed on is read again.
func (t *Tail) Read(ctx context.Context, limit int64, fn func(r *Record) error) error {
	until := min(t.source.Size(), t.cursor.Index+limit)
	if until <= t.cursor.Index {
		return ctx.Err()
	}
	from := t.cursor
	reached, err := t.source.Read(ctx, from, until, func(_ int64, f segment.Frame) error {
		if err := t.open(f); err != nil {
			return err
		}
		return fn(&t.rec)
	})
	if err == nil || reached.Index > from.Index {
		t.cursor = reached
	}
	return err
}

// open decrypts a frame into the tail's record, like open.
func (t *Tail) open(f segment.Frame) error {
	e, err := parseEnvelopeAs(f.Payload, t.names.str)
	if err != nil {
		return err
	}
	plain, err := t.sealer.OpenAudit(t.plain[:0], e.tenant, e.sealed, e.clear)
	if fault.Is(err, fault.Gone) {
		t.rec = Record{Time: time.UnixMicro(e.micros).UTC(), ID: e.id, Tenant: e.tenant, Index: f.Index, Shredded: true, Change: e.kind == kindChange}
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening audit record %d of tenant %q: %w", f.Index, e.tenant, err)
	}
	t.plain = plain
	err = t.dec.decode(plain)
	clear(plain)
	if err != nil {
		return fmt.Errorf("decoding audit record %d: %w", f.Index, err)
	}
	if t.rec.ID != e.id || t.rec.Tenant != e.tenant || t.rec.Time.UnixMicro() != e.micros {
		return fault.New(fault.Internal, "audit record %d is not the one that its envelope names", f.Index)
	}
	t.rec.Index, t.rec.Change = f.Index, e.kind == kindChange
	return nil
}

// maxNames bounds the strings that a tail remembers, about 100 bytes each: room for the names and the versions of some 15,000 objects. Beyond it they are all
// forgotten, and made anew.
const maxNames = 1 << 15

// names makes each string once: the same few stand in record after record.
type names struct {
	all map[string]string
	// recent are those found last, by their ends: most texts are found here without hashing. There is room for the names and the versions of some thousand objects.
	recent [1 << 14]string
}

func (n *names) str(b []byte) string {
	slot := &n.recent[end(b)%uint64(len(n.recent))]
	if *slot == string(b) { // makes no copy
		return *slot
	}
	s, ok := n.all[string(b)]
	if !ok {
		if len(n.all) >= maxNames {
			clear(n.all)
		}
		s = string(b)
		n.all[s] = s
	}
	*slot = s
	return s
}

// end mixes the last bytes, in which texts differ most often.
func end(b []byte) uint64 {
	h := uint64(len(b))
	if len(b) >= 8 {
		h += binary.LittleEndian.Uint64(b[len(b)-8:])
	} else {
		for _, c := range b {
			h = h<<8 | uint64(c)
		}
	}
	h *= 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio: Knuth, The Art of Computer Programming, 6.4
	return h >> 32
}
