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
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
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
	released []string
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

// Released lists the files that were released, in order.
func (d *FS) Released() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.released)
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
