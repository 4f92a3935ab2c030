package audit

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/merkle"
)

// Leaf is a record as the log keeps it, sealed: for whoever copies the log elsewhere and reads the copy.
type Leaf struct {
	// Index is its position in the log.
	Index  int64
	ID     ID
	Time   time.Time
	Tenant string
	// Change says that it came from the database, where other logs may have taken it from as well.
	Change bool
	// Frame is what the leaf of the Merkle tree hashes. It is lent where a function is called with it.
	Frame []byte
}

// ParseLeaf reads the part in the clear of a frame.
func ParseLeaf(index int64, frame []byte) (Leaf, error) {
	e, err := parseEnvelope(frame)
	if err != nil {
		return Leaf{}, err
	}
	return Leaf{Index: index, ID: e.id, Time: time.UnixMicro(e.micros).UTC(), Tenant: e.tenant, Change: e.kind == kindChange, Frame: frame}, nil
}

// Open decrypts the record.
func (l *Leaf) Open(s Sealer) (*Record, error) {
	e, err := parseEnvelope(l.Frame)
	if err != nil {
		return nil, err
	}
	return open(s, e, l.Index)
}

// Leaves calls fn for the records [from.Index, until), which must be durable, and returns the cursor behind the last one.
func (l *Log) Leaves(ctx context.Context, from segment.Cursor, until int64, fn func(Leaf) error) (segment.Cursor, error) {
	return l.seg.Read(ctx, from, until, func(_ int64, f segment.Frame) error {
		leaf, err := ParseLeaf(f.Index, f.Payload)
		if err != nil {
			return err
		}
		return fn(leaf)
	})
}

// RootAt returns the root of the first size records; they must be in the tree, which is behind the durable ones by a moment.
func (l *Log) RootAt(ctx context.Context, size int64) (merkle.Hash, error) {
	l.treeMu.Lock()
	defer l.treeMu.Unlock()
	if synced := l.seg.State().Synced; size > l.tree.Size() && size <= synced {
		if err := l.integrate(ctx, size); err != nil {
			return merkle.Hash{}, err
		}
	}
	return l.tree.RootAt(size)
}

// Origin is the name of the log in its checkpoints.
func (l *Log) Origin() string { return l.cfg.Origin }

// Node is the persistent id of the log's node.
func (l *Log) Node() string { return l.cfg.Node }

// Selects reports whether a record of that instant and tenant can be one that the filter selects.
func (f *Filter) Selects(leaf *Leaf) bool {
	s, err := f.span(0)
	at := leaf.Time.UnixMicro()
	return err == nil && at >= s.minTime && at <= s.maxTime && (f.Tenant == "" || f.Tenant == leaf.Tenant)
}

// Matches reports whether the filter selects a record whose instant and tenant it selects.
func (f *Filter) Matches(r *Record) bool { return f.matches(r) }
