package powerloss

import (
	"bytes"
	"syscall"
	"time"
)

// inode is a file or a directory of the live tree. The recorder's lock guards all of it.
type inode struct {
	id    uint64
	mode  uint32
	name  string // the first name it had, for Faults.Only
	links int
	mtime time.Time
	content
	alloc int64             // bytes taken: at least size
	names map[string]*inode // nil for a file
	// failedSyncs counts the file's fsyncs that failed, and writer is who wrote to it after its last fsync, nil for nobody.
	failedSyncs int
	writer      *handle
}

func (i *inode) dir() bool { return i.names != nil }

// newInode makes an inode without a name.
func (r *Recorder) newInode(mode uint32, name string) *inode {
	r.lastID++
	ino := &inode{id: r.lastID, mode: mode, name: name, mtime: time.Now()}
	if mode&syscall.S_IFMT == syscall.S_IFDIR {
		ino.names = map[string]*inode{}
	}
	r.log.Modes[ino.id] = mode
	return ino
}

// name gives ino a name in dir and logs it as kind.
func (r *Recorder) name(kind Kind, dir *inode, name string, ino *inode) syscall.Errno {
	if _, ok := dir.names[name]; ok {
		return syscall.EEXIST
	}
	dir.names[name] = ino
	ino.links++
	r.add(Op{Kind: kind, Inode: ino.id, Dir: dir.id, Name: name})
	return 0
}

// unname takes a name away and logs it as kind.
func (r *Recorder) unname(kind Kind, dir *inode, name string) syscall.Errno {
	ino := dir.names[name]
	switch {
	case ino == nil:
		return syscall.ENOENT
	case ino.dir() && kind == Unlink:
		return syscall.EISDIR
	case !ino.dir() && kind == Rmdir:
		return syscall.ENOTDIR
	case len(ino.names) > 0:
		return syscall.ENOTEMPTY
	}
	delete(dir.names, name)
	r.release(ino)
	r.add(Op{Kind: kind, Inode: ino.id, Dir: dir.id, Name: name})
	return 0
}

// release gives back one link, and with the last one the space. Descriptors that are still open keep the content: the
// limit is then a little generous, which no workload notices.
func (r *Recorder) release(ino *inode) {
	ino.links--
	if ino.links == 0 {
		r.used -= ino.alloc
		ino.alloc = 0
	}
}

// rename moves a name, over another one if there is one.
func (r *Recorder) rename(dir *inode, name string, newDir *inode, newName string, noReplace bool) syscall.Errno {
	ino, over := dir.names[name], newDir.names[newName]
	switch {
	case ino == nil:
		return syscall.ENOENT
	case ino == over:
		return 0 // two links of one file: POSIX asks for nothing to happen
	case over != nil && noReplace:
		return syscall.EEXIST
	case over != nil && over.dir() != ino.dir():
		return syscall.EISDIR
	case over != nil && len(over.names) > 0:
		return syscall.ENOTEMPTY
	}
	if over != nil {
		r.release(over)
	}
	delete(dir.names, name)
	newDir.names[newName] = ino
	r.add(Op{Kind: Rename, Inode: ino.id, Dir: dir.id, Name: name, NewDir: newDir.id, NewName: newName})
	return 0
}

// take lets ino have n bytes of space, if the disk has them.
func (r *Recorder) take(ino *inode, n int64) syscall.Errno {
	if n <= ino.alloc || ino.links == 0 {
		return 0
	}
	if limit := r.faults.Limit; limit != 0 && r.used+n-ino.alloc > limit {
		return syscall.ENOSPC
	}
	r.used += n - ino.alloc
	ino.alloc = n
	return 0
}

// write writes as much of data as fits.
func (r *Recorder) write(ino *inode, data []byte, off int64) (uint32, syscall.Errno) {
	n, errno := r.faults.fit(off, int64(len(data)), ino.alloc, r.used)
	if errno != 0 {
		return 0, errno
	}
	if errno := r.take(ino, off+n); errno != 0 {
		return 0, errno
	}
	op := Op{Kind: Write, Inode: ino.id, Off: off, Data: bytes.Clone(data[:n])}
	ino.apply(&op)
	ino.mtime = time.Now()
	r.add(op)
	return uint32(n), 0
}

// truncate sets the size. Space for a larger file is taken at once; a smaller one gives back what it had beyond its end.
func (r *Recorder) truncate(ino *inode, size int64) syscall.Errno {
	if errno := r.take(ino, size); errno != 0 {
		return errno
	}
	if ino.links > 0 {
		r.used -= ino.alloc - size
		ino.alloc = size
	}
	op := Op{Kind: Truncate, Inode: ino.id, Size: size}
	ino.apply(&op)
	ino.mtime = time.Now()
	r.add(op)
	return 0
}

// allocate preallocates up to end for an Allocate, and zeroes from off to end for a Zero.
func (r *Recorder) allocate(ino *inode, kind Kind, off, end int64, keepSize bool) syscall.Errno {
	if errno := r.take(ino, end); errno != 0 {
		return errno
	}
	op := Op{Kind: kind, Inode: ino.id, Off: off, Size: end, KeepSize: keepSize}
	ino.apply(&op)
	r.add(op)
	return 0
}
