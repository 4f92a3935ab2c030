package powerloss

import (
	"cmp"
	"slices"
)

// replay is what is certainly on the disk at a position of the log, and what is pending there. It only goes forward.
type replay struct {
	log   *Log
	seed  uint64
	pos   int
	files map[uint64]*durable
	// halfSynced holds the renames between two directories of which one has been synced, by position.
	halfSynced map[int]uint64
}

// durable is a file or a directory on the disk.
type durable struct {
	content
	names map[string]slot
	// pending holds the positions of the operations on it that no fsync covers, in order.
	pending []int
}

// slot is what a name in a directory stands for: inode 0 for nothing. The operation at pos decided it; one that comes
// before pos no longer can, in whatever order they reach the disk.
type slot struct {
	pos   int
	inode uint64
}

func newReplay(log *Log, seed uint64) *replay {
	r := &replay{log: log, seed: seed, files: map[uint64]*durable{}, halfSynced: map[int]uint64{}}
	r.file(rootInode)
	return r
}

// file returns the inode's durable part and makes it on first sight.
func (r *replay) file(id uint64) *durable {
	f := r.files[id]
	if f == nil {
		f = &durable{names: map[string]slot{}}
		r.files[id] = f
	}
	return f
}

// advance moves to pos, which must not lie before the present position.
func (r *replay) advance(pos int) {
	for ; r.pos < pos; r.pos++ {
		op := &r.log.Ops[r.pos]
		switch op.Kind {
		case Write, Truncate, Allocate, Zero:
			r.file(op.Inode).wait(r.pos)
		case Create, Link, Mkdir, Unlink, Rmdir:
			r.file(op.Dir).wait(r.pos)
		case Rename:
			r.file(op.Dir).wait(r.pos)
			if op.NewDir != op.Dir {
				r.file(op.NewDir).wait(r.pos)
			}
		case Sync:
			r.settle(op, func(int) fate { return fate{keep: true} })
		case SyncFailed:
			draw := draw{seed: r.seed, number: uint64(r.pos), share: 0.5, torn: true}
			r.settle(op, draw.fate)
		case SyncDir:
			r.settleNames(op)
		}
	}
}

func (f *durable) wait(pos int) { f.pending = append(f.pending, pos) }

// settle ends the doubt about what an fsync covered.
func (r *replay) settle(sync *Op, decide func(pos int) fate) {
	f := r.file(sync.Inode)
	n, _ := slices.BinarySearch(f.pending, sync.Covers)
	for _, pos := range f.pending[:n] {
		decide(pos).apply(&f.content, &r.log.Ops[pos])
	}
	f.pending = slices.Delete(f.pending, 0, n)
}

// settleNames makes the names that an fsync of a directory covered certain.
func (r *replay) settleNames(sync *Op) {
	dir := r.file(sync.Inode)
	dir.pending = slices.DeleteFunc(dir.pending, func(pos int) bool {
		if pos >= sync.Covers {
			return false
		}
		op := &r.log.Ops[pos]
		if op.Kind != Rename || op.Dir == op.NewDir {
			dir.apply(sync.Inode, pos, op)
			return true
		}
		other := op.Dir + op.NewDir - sync.Inode
		if r.halfSynced[pos] != other {
			r.halfSynced[pos] = sync.Inode
			return false // atomic: it stays pending until the other directory is synced as well
		}
		delete(r.halfSynced, pos)
		dir.apply(sync.Inode, pos, op)
		peer := r.file(other)
		peer.apply(other, pos, op)
		peer.pending = slices.DeleteFunc(peer.pending, func(p int) bool { return p == pos })
		return true
	})
}

// apply does to the directory what the operation at pos did to its names.
func (f *durable) apply(dir uint64, pos int, op *Op) {
	switch op.Kind {
	case Create, Link, Mkdir:
		set(f.names, op.Name, slot{pos, op.Inode})
	case Unlink, Rmdir:
		set(f.names, op.Name, slot{pos, 0})
	case Rename:
		if op.Dir == dir {
			set(f.names, op.Name, slot{pos, 0})
		}
		if op.NewDir == dir {
			set(f.names, op.NewName, slot{pos, op.Inode})
		}
	}
}

// set lets the later operation win.
func set(names map[string]slot, name string, s slot) {
	if old, ok := names[name]; !ok || s.pos > old.pos {
		names[name] = s
	}
}

// oldest returns the position of the oldest pending operation, or the present position.
func (r *replay) oldest() int {
	oldest := r.pos
	for _, f := range r.files {
		if len(f.pending) > 0 {
			oldest = min(oldest, f.pending[0])
		}
	}
	return oldest
}

// acked returns the acknowledgements given before the present position.
func (r *replay) acked() []Ack {
	n, _ := slices.BinarySearchFunc(r.log.Acks, r.pos, func(a Ack, pos int) int { return cmp.Compare(a.Pos, pos) })
	return r.log.Acks[:n:n]
}
