package powerloss

import (
	"bytes"
	"context"
	"slices"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// node is an inode as go-fuse sees it. Its methods take the lock, call the tree and fill in attributes.
type node struct {
	fs.Inode
	rec *Recorder
	ino *inode
}

// control is the file handle of the control file.
type control struct{}

// handle is an open file description of any other file. The recorder's lock guards it.
type handle struct {
	// reported is how many of the file's failed fsyncs its holder has been told of.
	reported int
}

var (
	_ fs.NodeLookuper  = (*node)(nil)
	_ fs.NodeGetattrer = (*node)(nil)
	_ fs.NodeSetattrer = (*node)(nil)
	_ fs.NodeOpener    = (*node)(nil)
	_ fs.NodeReader    = (*node)(nil)
	_ fs.NodeWriter    = (*node)(nil)
	_ fs.NodeFsyncer   = (*node)(nil)
	_ fs.NodeAllocater = (*node)(nil)
	_ fs.NodeCreater   = (*node)(nil)
	_ fs.NodeMkdirer   = (*node)(nil)
	_ fs.NodeLinker    = (*node)(nil)
	_ fs.NodeUnlinker  = (*node)(nil)
	_ fs.NodeRmdirer   = (*node)(nil)
	_ fs.NodeRenamer   = (*node)(nil)
	_ fs.NodeReaddirer = (*node)(nil)
	_ fs.NodeStatfser  = (*node)(nil)
)

// attr fills in the attributes of ino. The caller holds the lock.
func (ino *inode) attr(out *fuse.Attr) {
	out.Ino, out.Mode, out.Size, out.Nlink = ino.id, ino.mode, uint64(ino.size), uint32(max(ino.links, 0))
	out.Blksize = 4096
	out.Blocks = (uint64(ino.alloc) + sectorBytes - 1) / sectorBytes
	out.SetTimes(&ino.mtime, &ino.mtime, &ino.mtime)
}

// child is the node of ino, which go-fuse replaces by the one that it knows already. The caller holds the lock.
func (n *node) child(ctx context.Context, ino *inode, out *fuse.EntryOut) *fs.Inode {
	ino.attr(&out.Attr)
	attr := fs.StableAttr{Mode: ino.mode & syscall.S_IFMT, Ino: ino.id}
	return n.NewInode(ctx, &node{rec: n.rec, ino: ino}, attr)
}

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	ino := n.ino.names[name]
	if ino == nil && n.ino == n.rec.root && name == controlName {
		ino = controlInode() // it lives outside the tree
	}
	if ino == nil {
		return nil, syscall.ENOENT
	}
	return n.child(ctx, ino, out), 0
}

// controlInode returns an inode for the control file, always with the same id.
func controlInode() *inode {
	return &inode{id: 1 << 62, mode: syscall.S_IFREG | 0o600, name: controlName, links: 1}
}

func (n *node) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	n.ino.attr(&out.Attr)
	return 0
}

func (n *node) Setattr(_ context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	if size, ok := in.GetSize(); ok {
		if errno := n.rec.truncate(n.ino, int64(size)); errno != 0 {
			return errno
		}
	}
	if mode, ok := in.GetMode(); ok {
		n.ino.mode = n.ino.mode&syscall.S_IFMT | mode&0o7777
		n.rec.log.Modes[n.ino.id] = n.ino.mode
	}
	if mtime, ok := in.GetMTime(); ok {
		n.ino.mtime = mtime
	}
	n.ino.attr(&out.Attr)
	return 0
}

func (n *node) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if n.ino.name == controlName {
		return control{}, fuse.FOPEN_DIRECT_IO, 0
	}
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	return &handle{reported: n.ino.failedSyncs}, fuse.FOPEN_KEEP_CACHE, 0
}

func (n *node) Read(_ context.Context, _ fs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	return fuse.ReadResultData(dest[:n.ino.readAt(dest, off)]), 0
}

func (n *node) Write(_ context.Context, fh fs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	if _, ok := fh.(control); ok {
		n.rec.acknowledge(bytes.Clone(data))
		return uint32(len(data)), 0
	}
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	n.ino.writer, _ = fh.(*handle)
	return n.rec.write(n.ino, data, off)
}

func (n *node) Fsync(_ context.Context, fh fs.FileHandle, _ uint32) syscall.Errno {
	if n.ino.name == controlName {
		return 0
	}
	h, _ := fh.(*handle)
	return n.rec.syncThrough(n.ino, h)
}

func (n *node) Allocate(_ context.Context, _ fs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	kind := Allocate
	switch mode &^ unix.FALLOC_FL_KEEP_SIZE {
	case 0:
	case unix.FALLOC_FL_ZERO_RANGE:
		kind = Zero
	default:
		return syscall.EOPNOTSUPP
	}
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	return n.rec.allocate(n.ino, kind, int64(off), int64(off+size), mode&unix.FALLOC_FL_KEEP_SIZE != 0)
}

func (n *node) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	child, errno := n.make(ctx, Create, name, syscall.S_IFREG|mode&0o7777, out)
	return child, &handle{}, fuse.FOPEN_KEEP_CACHE, errno
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return n.make(ctx, Mkdir, name, syscall.S_IFDIR|mode&0o7777, out)
}

// make makes a file or a directory with its first name.
func (n *node) make(ctx context.Context, kind Kind, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	ino := n.rec.newInode(mode, name)
	if errno := n.rec.name(kind, n.ino, name, ino); errno != 0 {
		return nil, errno
	}
	return n.child(ctx, ino, out), 0
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	ino := target.(*node).ino
	if errno := n.rec.name(Link, n.ino, name, ino); errno != 0 {
		return nil, errno
	}
	return n.child(ctx, ino, out), 0
}

func (n *node) Unlink(_ context.Context, name string) syscall.Errno {
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	return n.rec.unname(Unlink, n.ino, name)
}

func (n *node) Rmdir(_ context.Context, name string) syscall.Errno {
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	return n.rec.unname(Rmdir, n.ino, name)
}

func (n *node) Rename(_ context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags&^unix.RENAME_NOREPLACE != 0 {
		return syscall.EINVAL
	}
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	return n.rec.rename(n.ino, name, newParent.(*node).ino, newName, flags != 0)
}

func (n *node) Readdir(context.Context) (fs.DirStream, syscall.Errno) {
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	var list []fuse.DirEntry
	for name, ino := range n.ino.names {
		list = append(list, fuse.DirEntry{Name: name, Ino: ino.id, Mode: ino.mode})
	}
	slices.SortFunc(list, func(a, b fuse.DirEntry) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return fs.NewListDirStream(list), 0
}

// Statfs reports the limit, or a roomy disk, in blocks of 4 KiB.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	n.rec.mu.Lock()
	defer n.rec.mu.Unlock()
	limit := n.rec.faults.Limit
	if limit == 0 {
		limit = 1 << 40
	}
	out.Bsize, out.NameLen = 4096, 255
	out.Blocks = uint64(limit / 4096)
	out.Bfree = uint64(max(0, limit-n.rec.used) / 4096)
	out.Bavail = out.Bfree
	return 0
}
