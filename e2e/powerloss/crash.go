package powerloss

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// Crash names one crash state of a log: the same values always give the same state.
type Crash struct {
	// Seed settles failed fsyncs and, with Draw, the pending operations.
	Seed uint64
	// Pos is the position before which the power went: operations 0 to Pos-1 had been answered.
	Pos  int
	Draw uint64
}

// String is what a failure prints.
func (c Crash) String() string {
	return fmt.Sprintf("seed %d, position %d, draw %d", c.Seed, c.Pos, c.Draw)
}

// Build makes the crash state in dir, which must be empty, and returns what had been acknowledged.
func (l *Log) Build(crash Crash, dir string) ([]Ack, error) {
	r := newReplay(l, crash.Seed)
	r.advance(crash.Pos)
	var b builder
	return r.acked(), b.build(r, newDraw(crash, r.oldest()), dir)
}

// builder writes crash states into directories. It keeps its memory from one to the next.
type builder struct {
	scratch []byte
	replay  *replay
	draw    draw
	// paths holds where each inode of the present state is.
	paths map[uint64]string
}

// build makes the state in dir that the draw leaves at r's position.
func (b *builder) build(r *replay, draw draw, dir string) error {
	b.replay, b.draw, b.paths = r, draw, map[uint64]string{}
	return b.directory(rootInode, dir)
}

// directory fills in the existing directory path.
func (b *builder) directory(id uint64, path string) error {
	b.paths[id] = path
	for name, inode := range b.names(id) {
		if err := b.entry(inode, filepath.Join(path, name)); err != nil {
			return fmt.Errorf("building a crash state: %w", err)
		}
	}
	return nil
}

// names returns what the directory holds after the crash.
func (b *builder) names(id uint64) map[string]uint64 {
	dir := b.replay.file(id)
	after := durable{names: dir.names}
	if len(dir.pending) > 0 {
		after.names = maps.Clone(dir.names)
	}
	for _, pos := range dir.pending {
		if b.draw.fate(pos).keep {
			after.apply(id, pos, &b.replay.log.Ops[pos])
		}
	}
	names := make(map[string]uint64, len(after.names))
	for name, slot := range after.names {
		if slot.inode != 0 {
			names[name] = slot.inode
		}
	}
	return names
}

// entry makes what one name stands for.
func (b *builder) entry(inode uint64, path string) error {
	mode := b.replay.log.Modes[inode]
	isDir := mode&syscall.S_IFMT == syscall.S_IFDIR
	first, seen := b.paths[inode]
	switch {
	case seen && isDir:
		return nil // no tree has a directory twice
	case seen:
		return os.Link(first, path)
	case isDir:
		if err := os.Mkdir(path, os.FileMode(mode&0o777)); err != nil {
			return err
		}
		return b.directory(inode, path)
	default:
		b.paths[inode] = path
		return b.file(inode, path, os.FileMode(mode&0o777))
	}
}

// file writes one file: its durable content and what was kept of the rest.
func (b *builder) file(inode uint64, path string, mode os.FileMode) error {
	base := b.replay.file(inode)
	after := base.content
	if len(base.pending) > 0 {
		after = base.copyInto(b.scratch)
		for _, pos := range base.pending {
			b.draw.fate(pos).apply(&after, &b.replay.log.Ops[pos])
		}
		b.scratch = after.head
	}
	if err := os.WriteFile(path, after.head, mode); err != nil {
		return err
	}
	if after.size > int64(len(after.head)) {
		return os.Truncate(path, after.size)
	}
	return nil
}

// positions chooses n positions, in order: half beside fsyncs and acknowledgements, half anywhere.
func (l *Log) positions(d draw, n int) []int {
	var special []int
	for pos := range l.Ops {
		switch l.Ops[pos].Kind {
		case Sync, SyncDir, SyncFailed, SyncTold, Acknowledge:
			special = append(special, pos)
		}
	}
	random := d.source(-1)
	list := make([]int, n)
	for i := range list {
		if i%2 == 0 && len(special) > 0 {
			list[i] = special[random.IntN(len(special))] + random.IntN(2)
		} else {
			list[i] = random.IntN(len(l.Ops) + 1)
		}
	}
	slices.Sort(list)
	return list
}
