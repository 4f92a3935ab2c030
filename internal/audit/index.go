package audit

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/keywright/keywright/internal/audit/segment"
)

// blockRecords is how many records share an entry of the time index: few enough that reading a block for one record is
// cheap (some 100 KiB), many enough that the index of a segment is small (some 20 KiB).
const blockRecords = 256

// block says where consecutive records are and which times they have.
type block struct {
	index, offset int64 // of the first
	min, max      int64 // times, in microseconds
	changes       int64 // how many are of kindChange
}

// segmentIndex is the time index of one segment.
type segmentIndex struct {
	base, next int64 // records [base, next)
	offset     int64 // of record next
	blocks     []block
}

func newSegmentIndex(base int64) *segmentIndex {
	return &segmentIndex{base: base, next: base, offset: segment.FirstOffset}
}

// add takes the next record.
func (x *segmentIndex) add(f segment.Frame) error {
	e, err := parseEnvelope(f.Payload)
	if err != nil {
		return err
	}
	if (x.next-x.base)%blockRecords == 0 {
		x.blocks = append(x.blocks, block{index: f.Index, offset: f.Offset, min: math.MaxInt64, max: math.MinInt64})
	}
	b := &x.blocks[len(x.blocks)-1]
	b.min, b.max = min(b.min, e.micros), max(b.max, e.micros)
	b.changes += int64(e.kind & kindChange)
	x.next++
	x.offset = f.End()
	return nil
}

// end returns the position behind the i-th block.
func (x *segmentIndex) end(i int) int64 {
	if i+1 < len(x.blocks) {
		return x.blocks[i+1].index
	}
	return x.next
}

var crcTable = crc32.MakeTable(crc32.Castagnoli)

func indexName(base int64) string { return fmt.Sprintf("idx-%020d", base) }

// encode returns the index as its file holds it: base, next, blocks, crc32c; little-endian.
func (x *segmentIndex) encode() []byte {
	var b []byte
	for _, v := range []int64{x.base, x.next, x.offset} {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	for _, k := range x.blocks {
		for _, v := range []int64{k.index, k.offset, k.min, k.max, k.changes} {
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crcTable))
}

func decodeIndex(b []byte) (*segmentIndex, error) {
	n := len(b) - 4
	if n < 24 || (n-24)%40 != 0 || crc32.Checksum(b[:n], crcTable) != binary.LittleEndian.Uint32(b[n:]) {
		return nil, errors.New("audit: the time index is damaged")
	}
	at := func(i int) int64 { return int64(binary.LittleEndian.Uint64(b[i*8:])) }
	x := &segmentIndex{base: at(0), next: at(1), offset: at(2)}
	for i := 3; i < n/8; i += 5 {
		x.blocks = append(x.blocks, block{at(i), at(i + 1), at(i + 2), at(i + 3), at(i + 4)})
	}
	return x, nil
}

// indexOf returns the index of the segment that holds the records [base, next).
func (l *Log) indexOf(ctx context.Context, base, next int64, full bool) (*segmentIndex, error) {
	if full {
		if b, err := readWhole(l.cfg.Disk, indexName(base)); err == nil {
			if x, err := decodeIndex(b); err == nil && x.base == base && x.next == next {
				return x, nil
			}
		}
		x := newSegmentIndex(base)
		return x, l.extend(ctx, x, next)
	}
	l.indexMu.Lock()
	defer l.indexMu.Unlock()
	if l.tail == nil || l.tail.base != base {
		l.tail = newSegmentIndex(base)
	}
	if l.tail.next < next {
		if err := l.extend(ctx, l.tail, next); err != nil {
			l.tail = nil
			return nil, err
		}
	}
	x := *l.tail
	x.blocks = slices.Clone(x.blocks)
	return &x, nil
}

func (l *Log) extend(ctx context.Context, x *segmentIndex, next int64) error {
	from := segment.Cursor{Index: x.next, Base: x.base, Offset: x.offset}
	_, err := l.seg.Read(ctx, from, next, func(_ int64, f segment.Frame) error { return x.add(f) })
	return err
}

// writeIndexes keeps the indexes of full segments, newest first, until it meets one that is kept already. A failure
// costs time in a later query, no more.
func (l *Log) writeIndexes() {
	bases := l.seg.Bases()
	synced := l.seg.State().Synced
	for i := len(bases) - 2; i >= 0; i-- {
		if bases[i+1] > synced {
			continue
		}
		f, err := l.cfg.Disk.Open(indexName(bases[i]))
		if err == nil {
			_ = f.Close() // nothing was written
			return
		}
		x, err := l.indexOf(context.Background(), bases[i], bases[i+1], true)
		if err == nil {
			err = l.keepIndex(x)
		}
		if err != nil {
			l.cfg.OnError(fmt.Errorf("keeping the time index of segment %d: %w", bases[i], err))
			return
		}
	}
}

func (l *Log) keepIndex(x *segmentIndex) error {
	temporary := "tmp-" + indexName(x.base) // the segments' recovery removes what is left of it
	_ = l.cfg.Disk.Remove(temporary)
	f, err := l.cfg.Disk.Create(temporary)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(x.encode(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return l.cfg.Disk.Rename(temporary, indexName(x.base))
}
