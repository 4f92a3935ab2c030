package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/keywright/keywright/internal/audit/disk"
	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/merkle"
)

func (v *verification) readSegments(ctx context.Context) error {
	bases, err := segment.Bases(v.d)
	if err != nil {
		return err
	}
	v.comparePoints() // a checkpoint of the empty log
	for i, base := range bases {
		if err := ctx.Err(); err != nil {
			return err
		}
		until := int64(math.MaxInt64)
		if i+1 < len(bases) {
			until = bases[i+1]
		}
		if err := v.readSegment(base, until); err != nil {
			return fmt.Errorf("reading %s: %w", segment.Name(base), err)
		}
		if v.ended {
			return nil
		}
	}
	return nil
}

func (v *verification) readSegment(base, until int64) (err error) {
	name := segment.Name(base)
	f, err := v.d.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	damage := new(segment.DamageError)
	if _, err := segment.ReadHeader(f, base); errors.As(err, &damage) {
		v.problem(name, 0, -1, "%s", damage.Detail)
	} else if err != nil {
		return err
	}
	if base > v.report.Records {
		v.problem(name, -1, v.report.Records, "records %d to %d are missing before this segment", v.report.Records, base-1)
		v.ended = true
		return nil
	}
	index := newSegmentIndex(base)
	_, end, err := segment.Scan(f, segment.FirstOffset, base, until, func(fr segment.Frame) error {
		if err := index.add(fr); err != nil {
			v.problem(name, fr.Offset, fr.Index, "%v", err)
		}
		return v.leaf(name, fr)
	})
	if err != nil && !errors.As(err, &damage) {
		return err
	}
	if err := v.flush(); err != nil {
		return err
	}
	if until == math.MaxInt64 {
		return v.checkTail(f, name, end, err != nil, damage)
	}
	if err != nil {
		v.problem(name, end, damage.Index, "%s; what follows in this segment cannot be trusted", damage.Detail)
		v.ended = true
		return nil
	}
	if n := v.report.Records; n < until {
		v.problem(name, end, n, "the segment ends here and the next one begins at record %d: records %d to %d are missing",
			until, n, until-1)
		v.ended = true
		return nil
	}
	v.checkIndex(index)
	return nil
}

// leaf takes the next record and compares it with its tile.
func (v *verification) leaf(name string, f segment.Frame) error {
	leaf := merkle.LeafHash(f.Payload)
	v.report.Records++
	if size := v.tiledSize(); f.Index < size && !v.differ {
		stored, err := v.storedLeaf(f.Index, size)
		if err != nil {
			v.problem(tileName(0), -1, f.Index, "the leaf is missing: %v", err)
			v.differ = true
		} else if !bytes.Equal(stored, leaf[:]) {
			v.problem(name, f.Offset, f.Index, "the record is not the one whose hash is in %s: one of the two was replaced,"+
				" removed or added", tileName(0))
			v.differ = true // every later leaf is one off when a record was removed; say it once
		}
	}
	v.leaves = append(v.leaves, leaf)
	if len(v.leaves) == leavesAtOnce || v.nextPoint() == v.report.Records {
		return v.flush()
	}
	return nil
}

// storedLeaf returns the leaf that the tiles hold. It reads each tile once.
func (v *verification) storedLeaf(index, size int64) ([]byte, error) {
	n, i := index/merkle.TileWidth, int(index%merkle.TileWidth)
	if v.tile == nil || v.tileN != n {
		width := int(min(merkle.TileWidth, size-n*merkle.TileWidth))
		tile, err := v.tiles.ReadTile(0, n, width)
		if err != nil {
			return nil, err
		}
		v.tile, v.tileN = tile, n
	}
	return v.tile[i*merkle.HashBytes : (i+1)*merkle.HashBytes], nil
}

// nextPoint returns the size of the next checkpoint that the frames have not reached.
func (v *verification) nextPoint() int64 {
	for _, p := range v.points {
		if p.Size > v.tree.Size() {
			return p.Size
		}
	}
	return math.MaxInt64
}

func (v *verification) flush() error {
	if len(v.leaves) == 0 {
		return nil
	}
	if err := v.tree.Append(v.leaves); err != nil {
		return err
	}
	v.leaves = v.leaves[:0]
	v.comparePoints()
	return nil
}

func (v *verification) comparePoints() {
	for _, p := range v.points {
		if p.Size != v.tree.Size() {
			continue
		}
		root, err := v.tree.Root()
		v.proven = err == nil && root == p.Root
		if v.proven {
			v.report.Proven = p.Size
		} else {
			v.problem(p.file, p.offset, p.Size-1, "the checkpoint of size %d signs root %s and the records give %s: a record"+
				" below it was changed, removed or added, or the checkpoint was replaced", p.Size, p.Root, root)
		}
	}
}

// tiledSize returns the size of the last checkpoint of the directory: so many leaves the tiles must have. One that was
// kept elsewhere may be newer.
func (v *verification) tiledSize() int64 {
	for i := len(v.points) - 1; i >= 0; i-- {
		if v.points[i].offset >= 0 {
			return v.points[i].Size
		}
	}
	return 0
}

// checkTail tells a torn end, which a crash may leave, from damage: behind damage there are whole records.
func (v *verification) checkTail(f disk.File, name string, end int64, torn bool, damage *segment.DamageError) error {
	rest, err := readRest(f, end)
	if err == nil && !torn {
		rest, err = v.unexplained(f, end, rest)
	}
	if err != nil {
		return err
	}
	rest = bytes.TrimRight(rest, "\x00")
	v.report.TornBytes = int64(len(rest))
	if !torn || len(rest) == 0 {
		if len(rest) > 0 {
			v.problem(name, end, v.report.Records, "%d bytes that are no record stand behind the last one", len(rest))
		}
		return nil
	}
	if n := v.lastSize(); v.report.Records < n {
		v.problem(name, end, damage.Index, "%s, and a checkpoint covers it", damage.Detail)
	} else if followedByRecord(rest) {
		v.problem(name, end, damage.Index, "%s, and whole records follow: it was changed or lost later", damage.Detail)
	}
	return nil
}

// How often, and with which pause, what stands behind the last record is looked at before it is called damage: a server that runs adds records meanwhile, and
// writes each one before its length.
const (
	tailLooks = 5
	tailPause = 20 * time.Millisecond
)

// unexplained returns the bytes behind the last record that are no records which were added since.
func (v *verification) unexplained(f disk.File, end int64, rest []byte) ([]byte, error) {
	for look := range tailLooks {
		if len(bytes.TrimRight(rest, "\x00")) == 0 {
			return nil, nil
		}
		if look > 0 {
			time.Sleep(tailPause)
		}
		_, reached, err := segment.Scan(f, end, v.report.Records, math.MaxInt64, nil)
		if damage := (*segment.DamageError)(nil); err != nil && !errors.As(err, &damage) {
			return nil, err
		}
		if rest, err = readRest(f, reached); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

func (v *verification) lastSize() int64 {
	if len(v.points) == 0 {
		return 0
	}
	return v.points[len(v.points)-1].Size
}

func readRest(f disk.File, from int64) ([]byte, error) {
	size, err := f.Size()
	if err != nil || size <= from {
		return nil, err
	}
	b := make([]byte, size-from)
	n, err := f.ReadAt(b, from)
	if n == len(b) {
		err = nil
	}
	return b[:n], err
}

// followedByRecord reports whether a whole frame begins anywhere behind the start of b. Only positions whose length
// fits are tried, and a checksum is believed only of a frame that has an envelope.
func followedByRecord(b []byte) bool {
	for i := 1; i+8+frameFixed < len(b); i++ {
		if b[i+8] != frameVersion || b[i+9] > kindChange {
			continue
		}
		if n, _, err := segment.Scan(bytes.NewReader(b[i:]), 0, 0, 1, nil); err == nil && n == 1 {
			return true
		}
	}
	return false
}
