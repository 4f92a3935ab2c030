// Package disktest is a directory in memory that fails the way disks fail: it loses an operation, does it and reports
// that it did not, writes short, runs full, is cut off at any step, and comes back after a power loss with any subset
// of what was never synced.
//
// A failed Sync is modelled as Linux does it: each pending write of the file is kept or lost there and then, for good,
// and the cache goes on showing all of them.
package disktest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"github.com/keywright/keywright/internal/audit/disk"
)

// ErrCut is what every operation returns after the power was cut.
var ErrCut = errors.New("disktest: the power was cut")

// ErrIO is the error of an injected fault.
var ErrIO = fmt.Errorf("disktest: %w", syscall.EIO)

// Fault is what happens to one operation.
type Fault int

// The faults. On an operation that cannot fail in that way (a short Rename) Short is Lost.
const (
	None         Fault = iota
	Lost               // not done, reported as failed
	StoredFailed       // done, reported as failed
	Short              // half of a write is done, reported as ENOSPC
	CutBefore          // the power goes before the operation
	CutAfter           // the power goes after it, before its answer
)

// Op is one changing operation: create, rename, remove, syncdir, write, allocate, zero, truncate, sync, map-write,
// map-sync.
type Op struct {
	N    int // ordinal, from 1
	Kind string
	Name string
}

// FS is the simulated directory.
type FS struct {
	mu       sync.Mutex
	rng      *rand.Rand
	inject   func(Op) Fault
	capacity int64
	n        int
	cut      bool
	lying    bool
	names    map[string]*inode
	durable  map[string]*inode
	changes  []func(map[string]*inode) // names changed since the last SyncDir
}

type inode struct {
	cache, durable []byte
	pending        []change
	reserved       int64
}

// change is one unsynced change of content: data at off, or a new length when data is nil.
type change struct {
	off  int64
	data []byte
}

// New returns an empty directory whose random choices follow the seed.
func New(seed uint64) *FS {
	return &FS{rng: rand.New(rand.NewPCG(seed, 1)), names: map[string]*inode{}, durable: map[string]*inode{}}
}

// Inject sets the function that decides the fault of each operation; nil means none. It runs under the directory's
// lock.
func (d *FS) Inject(f func(Op) Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inject = f
}

// IgnoreSyncs makes every later Sync and SyncDir succeed and do nothing: the control that shows a test to bite.
func (d *FS) IgnoreSyncs() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lying = true
}

// Limit sets how many bytes fit; 0 means no limit.
func (d *FS) Limit(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.capacity = bytes
}

// Used returns how many bytes the files occupy.
func (d *FS) Used() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.used()
}

// Ops returns how many operations there were.
func (d *FS) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

// PowerLoss returns the directory as a machine could find it after its power failed now: what was synced is there;
// of the rest a random choice. The receiver is dead afterwards.
func (d *FS) PowerLoss() *FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
	next := New(d.rng.Uint64())
	names := maps.Clone(d.durable)
	keep := d.chances()
	for _, change := range d.changes {
		if !keep() {
			break // names reach the disk in order
		}
		change(names)
	}
	seen := map[*inode]*inode{}
	for name, ino := range names {
		if seen[ino] == nil {
			content := d.survivors(ino)
			seen[ino] = &inode{cache: content, durable: slices.Clone(content), reserved: ino.reserved}
		}
		next.names[name], next.durable[name] = seen[ino], seen[ino]
	}
	return next
}

// Kill returns the directory as the next process finds it after this one was killed: everything written is there. The
// receiver is dead afterwards; what was not synced still is not.
func (d *FS) Kill() *FS {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cut = true
	return &FS{rng: rand.New(rand.NewPCG(d.rng.Uint64(), 1)), names: d.names, durable: d.durable, changes: d.changes,
		capacity: d.capacity}
}

// Bytes returns a copy of a file's content, for tests that tamper with it. Put writes it back.
func (d *FS) Bytes(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ino := d.names[name]; ino != nil {
		return slices.Clone(ino.cache)
	}
	return nil
}

// Put sets a file's content, durably; nil removes the file.
func (d *FS) Put(name string, content []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if content == nil {
		delete(d.names, name)
		delete(d.durable, name)
		return
	}
	ino := &inode{cache: slices.Clone(content), durable: slices.Clone(content)}
	d.names[name], d.durable[name] = ino, ino
}

// chances returns a function that keeps none, all, or some of what it is asked about.
func (d *FS) chances() func() bool {
	percent := []int{0, 10, 50, 90, 100}[d.rng.IntN(5)]
	return func() bool { return d.rng.IntN(100) < percent }
}

// survivors returns the durable content with a random choice of the pending changes, sector by sector.
func (d *FS) survivors(ino *inode) []byte {
	content := slices.Clone(ino.durable)
	keep := d.chances()
	for _, c := range ino.pending {
		if c.data == nil {
			if keep() {
				content = resize(content, c.off)
			}
			continue
		}
		const sector = 512
		for at := int64(0); at < int64(len(c.data)); {
			next := min(int64(len(c.data)), (c.off+at)/sector*sector+sector-c.off)
			if keep() {
				content = writeAt(content, c.off+at, c.data[at:next])
			}
			at = next
		}
	}
	return content
}

// do runs one operation under the injected fault.
func (d *FS) do(kind, name string, apply, short func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return ErrCut
	}
	d.n++
	what := None
	if d.inject != nil {
		what = d.inject(Op{N: d.n, Kind: kind, Name: name})
	}
	if what == Lost && (kind == "sync" || kind == "map-sync") {
		what = Short // a sync that fails has decided the fate of what was pending
	}
	switch what {
	case Lost:
		return ErrIO
	case Short:
		if short == nil {
			return ErrIO
		}
		return short()
	case StoredFailed:
		if err := apply(); err != nil {
			return err
		}
		return ErrIO
	case CutBefore:
		d.cut = true
		return ErrCut
	case CutAfter:
		err := apply()
		d.cut = true
		return errors.Join(ErrCut, err)
	}
	return apply()
}

func (d *FS) used() (sum int64) {
	for _, ino := range d.names {
		sum += max(int64(len(ino.cache)), ino.reserved)
	}
	return sum
}

// room reports whether ino may grow to size bytes.
func (d *FS) room(ino *inode, size int64) bool {
	grow := size - max(int64(len(ino.cache)), ino.reserved)
	return d.capacity == 0 || grow <= 0 || d.used()+grow <= d.capacity
}

func (d *FS) rename(change func(map[string]*inode)) {
	change(d.names)
	d.changes = append(d.changes, change)
}

// Create implements disk.FS.
func (d *FS) Create(name string) (disk.File, error) {
	ino := &inode{}
	err := d.do("create", name, func() error {
		if d.names[name] != nil {
			return fs.ErrExist
		}
		d.rename(func(m map[string]*inode) { m[name] = ino })
		return nil
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("creating %s: %w", name, err)
	}
	return &file{d: d, name: name, ino: ino}, nil
}

// Open implements disk.FS.
func (d *FS) Open(name string) (disk.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return nil, ErrCut
	}
	ino := d.names[name]
	if ino == nil {
		return nil, fmt.Errorf("opening %s: %w", name, fs.ErrNotExist)
	}
	return &file{d: d, name: name, ino: ino}, nil
}

// Rename implements disk.FS.
func (d *FS) Rename(from, to string) error {
	return d.do("rename", to, func() error {
		ino := d.names[from]
		if ino == nil {
			return fs.ErrNotExist
		}
		d.rename(func(m map[string]*inode) {
			delete(m, from)
			m[to] = ino
		})
		return nil
	}, nil)
}

// Remove implements disk.FS.
func (d *FS) Remove(name string) error {
	return d.do("remove", name, func() error {
		if d.names[name] == nil {
			return fs.ErrNotExist
		}
		d.rename(func(m map[string]*inode) { delete(m, name) })
		return nil
	}, nil)
}

// List implements disk.FS.
func (d *FS) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return nil, ErrCut
	}
	return slices.Sorted(maps.Keys(d.names)), nil
}

// SyncDir implements disk.FS.
func (d *FS) SyncDir() error {
	return d.do("syncdir", "", func() error {
		if d.lying {
			return nil
		}
		d.durable = maps.Clone(d.names)
		d.changes = nil
		return nil
	}, nil)
}

type file struct {
	d    *FS
	name string
	ino  *inode
}

// ReadAt implements io.ReaderAt.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.cut {
		return 0, ErrCut
	}
	if off >= int64(len(f.ino.cache)) {
		return 0, io.EOF
	}
	n := copy(p, f.ino.cache[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements io.WriterAt.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	n := 0
	err := f.d.do("write", f.name, func() error {
		if !f.d.room(f.ino, off+int64(len(p))) {
			return syscall.ENOSPC
		}
		n = len(p)
		f.change(off, p)
		return nil
	}, func() error {
		n = len(p) / 2
		f.change(off, p[:n])
		return syscall.ENOSPC
	})
	return n, err
}

// change applies p to the cache and notes it as not yet durable.
func (f *file) change(off int64, p []byte) {
	f.ino.cache = writeAt(f.ino.cache, off, p)
	f.ino.pending = append(f.ino.pending, change{off: off, data: append([]byte{}, p...)})
}

// Size implements disk.File.
func (f *file) Size() (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.d.cut {
		return 0, ErrCut
	}
	return int64(len(f.ino.cache)), nil
}

// Allocate implements disk.File.
func (f *file) Allocate(size int64) error {
	return f.d.do("allocate", f.name, func() error {
		if !f.d.room(f.ino, size) {
			return syscall.ENOSPC
		}
		f.ino.reserved = size
		f.ino.cache = resize(f.ino.cache, size)
		f.ino.pending = append(f.ino.pending, change{off: size})
		return nil
	}, nil)
}

// Zero implements disk.File.
func (f *file) Zero(from, to int64) error {
	return f.d.do("zero", f.name, func() error {
		if from < to {
			f.change(from, make([]byte, to-from))
		}
		return nil
	}, nil)
}

// Truncate implements disk.File.
func (f *file) Truncate(size int64) error {
	return f.d.do("truncate", f.name, func() error {
		f.ino.cache = resize(f.ino.cache, size)
		f.ino.pending = append(f.ino.pending, change{off: size})
		return nil
	}, nil)
}

// Sync implements disk.File.
func (f *file) Sync() error { return f.sync("sync") }

func (f *file) sync(kind string) error {
	failed := func() error {
		f.ino.durable, f.ino.pending = f.d.survivors(f.ino), nil
		return ErrIO
	}
	err := f.d.do(kind, f.name, func() error {
		if f.d.lying {
			return nil
		}
		for _, c := range f.ino.pending {
			if c.data == nil {
				f.ino.durable = resize(f.ino.durable, c.off)
			} else {
				f.ino.durable = writeAt(f.ino.durable, c.off, c.data)
			}
		}
		f.ino.pending = nil
		return nil
	}, failed)
	return err
}

// Map implements disk.File.
func (f *file) Map(int64) (disk.Mapping, error) { return mapping{f}, nil }

// Close implements disk.File.
func (f *file) Close() error { return nil }

type mapping struct{ f *file }

// Write implements disk.Mapping. Real mappings cannot fail halfway with a short write, but a killed process stops
// anywhere in the copy: Short models both.
func (m mapping) Write(p []byte, off int64) error {
	return m.f.d.do("map-write", m.f.name, func() error {
		m.f.change(off, p)
		return nil
	}, func() error {
		m.f.change(off, p[:len(p)/2])
		return ErrIO
	})
}

// Sync implements disk.Mapping. It syncs the whole file: the model is allowed to keep more than it promised.
func (m mapping) Sync(int64, int64) error { return m.f.sync("map-sync") }

// Close implements disk.Mapping.
func (m mapping) Close() error { return nil }

func writeAt(content []byte, off int64, p []byte) []byte {
	content = resize(content, max(int64(len(content)), off+int64(len(p))))
	copy(content[off:], p)
	return content
}

func resize(content []byte, size int64) []byte {
	if int64(len(content)) >= size {
		return content[:size]
	}
	return append(content, make([]byte, size-int64(len(content)))...)
}
