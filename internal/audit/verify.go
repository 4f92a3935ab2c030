package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit/disk"
	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/merkle"
)

// VerifyOptions say what a log is verified against.
type VerifyOptions struct {
	Origin    string
	Verifiers note.Verifiers
	// Checkpoint, when given, is a signed checkpoint that was kept elsewhere. Without one a log that was cut back to an
	// older checkpoint, or made anew by a thief of the signing key, is not found out.
	Checkpoint []byte
}

// Problem is one thing that is wrong.
type Problem struct {
	File   string
	Offset int64 // in bytes; -1 when it is about the whole file
	Index  int64 // of the record or leaf; -1 when it is about none
	Detail string
}

// String tells the problem in one line.
func (p Problem) String() string {
	s := p.File
	if p.Offset >= 0 {
		s += fmt.Sprintf(" at offset %d", p.Offset)
	}
	if p.Index >= 0 {
		s += fmt.Sprintf(", record %d", p.Index)
	}
	return s + ": " + p.Detail
}

// Report is the result of Verify.
type Report struct {
	Records     int64 // whole frames
	Proven      int64 // of these, covered by a checkpoint that holds
	Checkpoints int
	Problems    []Problem
	// TornBytes is how many bytes of an unfinished record stand at the end, as a crash leaves them. They are no problem:
	// opening the log cuts them.
	TornBytes int64
}

// OK reports whether nothing is wrong.
func (r Report) OK() bool { return len(r.Problems) == 0 }

// maxProblems bounds a report: one removed record makes every later leaf wrong.
const maxProblems = 100

// Verify proves a log from its checkpoints. It reads every frame of the directory, compares each leaf with the tiles
// and the root of every checkpoint with the tree that the frames give, which also proves the checkpoints consistent with
// each other. It changes nothing and needs no tenant's key. The error is of reading; what is wrong with the log is in
// the report.
func Verify(ctx context.Context, d disk.FS, o VerifyOptions) (Report, error) {
	v := &verification{d: d, o: o, tiles: newTiles(d)}
	defer v.tiles.close()
	if err := v.readCheckpoints(); err != nil {
		return v.report, err
	}
	v.tree, _ = merkle.Open(discard{}, 0) // an empty tree reads nothing
	if err := v.readSegments(ctx); err != nil {
		return v.report, err
	}
	v.checkMissing()
	v.checkTiles()
	return v.report, nil
}

// VerifyDir verifies the log in a directory. It takes no lock: a log that is being written can be verified, and the
// records that are appended meanwhile are left out or counted as they are met.
func VerifyDir(ctx context.Context, path string, o VerifyOptions) (Report, error) {
	d, err := disk.ReadDir(path)
	if err != nil {
		return Report{}, err
	}
	return Verify(ctx, d, o)
}

type verification struct {
	d      disk.FS
	o      VerifyOptions
	tiles  *tiles
	report Report

	points []point
	tree   *merkle.Tree
	leaves []merkle.Hash // not yet in the tree
	tile   []byte        // of level 0, number tileN
	tileN  int64
	differ bool // a leaf differs from its tile
	proven bool // the last checkpoint's root is that of the frames
	ended  bool // a damaged frame: what follows cannot be counted
}

// point is a checkpoint and where it stands.
type point struct {
	merkle.Checkpoint
	file   string
	offset int64
}

// discard is a tile store for a tree of which only the edge is asked for.
type discard struct{}

func (discard) ReadTile(int, int64, int) ([]byte, error) { return nil, errors.New("not kept") }

func (discard) WriteTile(int, int64, int, []byte) error { return nil }

func (v *verification) problem(file string, offset, index int64, format string, args ...any) {
	if len(v.report.Problems) < maxProblems {
		v.report.Problems = append(v.report.Problems, Problem{file, offset, index, fmt.Sprintf(format, args...)})
	}
}

func (v *verification) readCheckpoints() error {
	content, err := readWhole(v.d, checkpointsName)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the checkpoints: %w", err)
	}
	last := int64(0)
	_, end, err := segment.Scan(bytes.NewReader(content), 0, 0, math.MaxInt64, func(f segment.Frame) error {
		c, err := merkle.OpenCheckpoint(f.Payload, v.o.Origin, v.o.Verifiers)
		switch {
		case err != nil:
			v.problem(checkpointsName, f.Offset, -1, "checkpoint %d does not hold: %v", f.Index, err)
		case c.Size <= last:
			v.problem(checkpointsName, f.Offset, -1, "checkpoint %d is of size %d and the one before of %d", f.Index, c.Size, last)
		default:
			last = c.Size
			v.points = append(v.points, point{c, checkpointsName, f.Offset})
		}
		v.report.Checkpoints++
		return nil
	})
	if damage := new(segment.DamageError); errors.As(err, &damage) {
		v.problem(checkpointsName, end, -1, "checkpoint %d is damaged: %s", damage.Index, damage.Detail)
	} else if err == nil && end < int64(len(content)) {
		v.problem(checkpointsName, end, -1, "%d bytes stand behind the last checkpoint", int64(len(content))-end)
	}
	if v.o.Checkpoint != nil {
		return v.readExternal()
	}
	return nil
}

// readExternal adds the checkpoint that was kept elsewhere, in order of size.
func (v *verification) readExternal() error {
	const file = "the checkpoint kept elsewhere"
	c, err := merkle.OpenCheckpoint(v.o.Checkpoint, v.o.Origin, v.o.Verifiers)
	if err != nil {
		v.problem(file, -1, -1, "it does not hold: %v", err)
		return nil
	}
	i := 0
	for i < len(v.points) && v.points[i].Size < c.Size {
		i++
	}
	v.points = append(v.points[:i], append([]point{{c, file, -1}}, v.points[i:]...)...)
	return nil
}

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

// checkMissing reports checkpoints that the records do not reach.
func (v *verification) checkMissing() {
	for _, p := range v.points {
		if p.Size > v.report.Records && v.ended {
			v.problem(p.file, p.offset, v.report.Records, "the checkpoint covers %d records and only %d could be read", p.Size, v.report.Records)
			return
		} else if p.Size > v.report.Records {
			v.problem(p.file, p.offset, v.report.Records, "the checkpoint covers %d records and the log has %d: its end was cut off",
				p.Size, v.report.Records)
			return
		}
	}
}

// checkTiles compares the upper levels with the leaves: the root that the tiles give at the last checkpoint.
func (v *verification) checkTiles() {
	size := v.tiledSize()
	if size == 0 {
		return
	}
	var p point
	for _, q := range v.points {
		if q.Size == size {
			p = q
		}
	}
	for level := 0; p.Size>>(level*merkle.TileHeight) > 0; level++ {
		if err := v.checkLevel(level, p.Size>>(level*merkle.TileHeight)); err != nil {
			v.problem(tileName(level), -1, -1, "%v", err)
		}
	}
	if root, err := merkle.RootOf(v.tiles, p.Size); err != nil {
		v.problem(tileName(0), -1, -1, "the tiles are incomplete: %v", err)
	} else if root != p.Root && !v.differ {
		v.problem(tileName(0), -1, -1, "the tiles give root %s at size %d and the checkpoint signs %s", root, p.Size, p.Root)
	}
}

// checkLevel compares each hash of a level above the leaves with the tile below that it stands for.
func (v *verification) checkLevel(level int, hashes int64) error {
	if level == 0 {
		return nil // leaves were compared with the records
	}
	for i := range hashes {
		stored, err := v.tiles.ReadTile(level, i/merkle.TileWidth, int(i%merkle.TileWidth)+1)
		if err != nil {
			return err
		}
		below, err := v.tiles.ReadTile(level-1, i, merkle.TileWidth)
		if err != nil {
			return err
		}
		if root := merkle.TileRoot(below); !bytes.Equal(stored[len(stored)-merkle.HashBytes:], root[:]) {
			return fmt.Errorf("hash %d is not that of tile %d of %s", i, i, tileName(level-1))
		}
	}
	return nil
}

// checkIndex compares a kept time index with the segment: a false one would hide records from queries.
func (v *verification) checkIndex(want *segmentIndex) {
	name := indexName(want.base)
	got, err := readWhole(v.d, name)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil || !bytes.Equal(got, want.encode()) {
		v.problem(name, -1, -1, "the time index is not that of its segment; remove the file, it is made again")
	}
}
