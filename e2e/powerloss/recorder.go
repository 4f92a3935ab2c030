package powerloss

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// controlName is the file in the mount's root whose writes are acknowledgements. It is no part of any crash state.
const controlName = ".acknowledge"

// Config configures a recording.
type Config struct {
	Faults Faults
	// OnAck, if not nil, is called for each acknowledgement after it was logged and before the workload goes on. It must
	// not touch the mount.
	OnAck func(*Recorder, Ack)
}

// Recorder is a file system in memory, mounted through FUSE, that logs what it does. One lock guards the tree and the
// log, so the log's order is the order in which things happened.
//
// The kernel caches reads, never writes: a write is in the log before write(2) returns. Stores through a shared mapping
// arrive when the kernel writes the page back, at the latest with msync or fsync; until an fsync they are pending like
// any other write.
type Recorder struct {
	// Dir is the mount point. The process that made the recorder must not touch it: it would wait for itself.
	Dir    string
	config Config
	server *fuse.Server

	mu     sync.Mutex
	log    Log
	root   *inode
	lastID uint64
	used   int64 // bytes
	faults faults
}

// NewRecorder mounts an empty recorder on a directory of its own until the test ends.
func NewRecorder(t testing.TB, config Config) *Recorder {
	t.Helper()
	r := newRecorder(config)
	r.Dir = t.TempDir()
	if err := r.mount(); err != nil {
		t.Fatalf("mounting the recorder on %s: %v", r.Dir, err)
	}
	t.Cleanup(func() {
		if err := r.unmount(); err != nil {
			t.Errorf("unmounting the recorder from %s: %v", r.Dir, err)
		}
	})
	return r
}

// newRecorder makes a recorder that is not mounted.
func newRecorder(config Config) *Recorder {
	r := &Recorder{config: config, lastID: rootInode, faults: newFaults(config.Faults)}
	r.root = &inode{id: rootInode, mode: syscall.S_IFDIR | 0o700, names: map[string]*inode{}, links: 1}
	r.log.Modes = map[uint64]uint32{rootInode: r.root.mode}
	return r
}

// mount mounts the recorder and sets close-on-exec on the FUSE descriptor, which go-fuse's direct mount leaves open to
// children: one that inherited it would keep the mount alive after the server's death and hang for ever. No process is
// forked in between.
func (r *Recorder) mount() error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	forever := time.Hour
	server, err := fs.Mount(r.Dir, &node{rec: r, ino: r.root}, &fs.Options{
		// Nobody but the kernel changes the tree, so everything that it knows stays true.
		EntryTimeout: &forever, AttrTimeout: &forever,
		MountOptions: fuse.MountOptions{
			DirectMountStrict: true, FsName: "powerloss", Name: "powerloss", DisableXAttrs: true,
			ExplicitDataCacheControl: true,
		},
	})
	if err != nil {
		return err
	}
	r.server = server
	return closeOnExec("/dev/fuse")
}

// closeOnExec sets the flag on every descriptor of this process that refers to path.
func closeOnExec(path string) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	found := false
	for _, entry := range entries {
		if target, _ := os.Readlink("/proc/self/fd/" + entry.Name()); target == path {
			var fd int
			if _, err := fmt.Sscan(entry.Name(), &fd); err != nil {
				return err
			}
			syscall.CloseOnExec(fd)
			found = true
		}
	}
	if !found {
		return fmt.Errorf("no descriptor of %s is open", path)
	}
	return nil
}

// unmount retries for a while: a process that is being forked elsewhere keeps the mount busy for milliseconds.
func (r *Recorder) unmount() error {
	var err error
	for range 100 {
		if err = r.server.Unmount(); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}

// SetFaults replaces the knobs and starts the count of SyncErrorAt anew.
func (r *Recorder) SetFaults(f Faults) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = newFaults(f)
}

// Used returns how many bytes are taken, in the sense of Faults.Limit.
func (r *Recorder) Used() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.used
}

// Log returns what has been recorded so far. The caller must not change it.
func (r *Recorder) Log() *Log {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &Log{Ops: slices.Clip(r.log.Ops), Acks: slices.Clip(r.log.Acks), Modes: maps.Clone(r.log.Modes)}
}

// add appends to the log. The caller holds the lock.
func (r *Recorder) add(op Op) { r.log.Ops = append(r.log.Ops, op) }

// acknowledge logs one acknowledgement and tells OnAck.
func (r *Recorder) acknowledge(text []byte) {
	r.mu.Lock()
	ack := Ack{Pos: len(r.log.Ops), Text: strings.TrimSuffix(string(text), "\n")}
	r.add(Op{Kind: Acknowledge, Data: []byte(ack.Text)})
	r.log.Acks = append(r.log.Acks, ack)
	r.mu.Unlock()
	if r.config.OnAck != nil {
		r.config.OnAck(r, ack)
	}
}

// syncThrough answers an fsync of a file or of a directory through h. It covers what came before it began: with SyncDelay, writes
// go on meanwhile and stay pending.
func (r *Recorder) syncThrough(ino *inode, h *handle) syscall.Errno {
	r.mu.Lock()
	covers, delay := len(r.log.Ops), r.faults.SyncDelay
	if delay > 0 {
		r.mu.Unlock()
		time.Sleep(delay)
		r.mu.Lock()
	}
	defer r.mu.Unlock()
	switch {
	case ino.dir():
		r.add(Op{Kind: SyncDir, Inode: ino.id, Covers: covers})
	case r.faults.failsSync(ino.name, ino.writer != nil && ino.writer != h):
		ino.failedSyncs++
		h.reported, ino.writer = ino.failedSyncs, nil
		r.add(Op{Kind: SyncFailed, Inode: ino.id, Covers: covers})
		return syscall.EIO
	case h.reported < ino.failedSyncs:
		h.reported = ino.failedSyncs
		r.add(Op{Kind: SyncTold, Inode: ino.id, Covers: covers})
		return syscall.EIO
	default:
		r.add(Op{Kind: Sync, Inode: ino.id, Covers: covers})
		ino.writer = nil
	}
	return 0
}
