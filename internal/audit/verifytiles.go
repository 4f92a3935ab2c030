package audit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/keywright/keywright/internal/merkle"
)

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
