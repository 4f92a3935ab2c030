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
	// Checkpoints are signed checkpoints that were kept elsewhere. Without one a log that was cut back to an
	// older checkpoint, or made anew by a thief of the signing key, is not found out.
	Checkpoints [][]byte
}

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
	for _, signed := range v.o.Checkpoints {
		v.readExternal(signed)
	}
	return nil
}

// readExternal adds a checkpoint that was kept elsewhere, in order of size.
func (v *verification) readExternal(signed []byte) {
	const file = "the checkpoint kept elsewhere"
	c, err := merkle.OpenCheckpoint(signed, v.o.Origin, v.o.Verifiers)
	if err != nil {
		v.problem(file, -1, -1, "it does not hold: %v", err)
		return
	}
	i := 0
	for i < len(v.points) && v.points[i].Size < c.Size {
		i++
	}
	v.points = append(v.points[:i], append([]point{{c, file, -1}}, v.points[i:]...)...)
}
