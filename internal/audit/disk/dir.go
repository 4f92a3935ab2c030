package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/fault"
)

// lockName is the file whose lock makes one process the owner of a directory. List does not show it.
const lockName = "lock"

// Dir is a directory of the machine's file system.
type Dir struct {
	path     string
	readOnly bool
	lock     *os.File
	closing  sync.Once
}

// OpenDir makes the directory if it is missing (0700, its entry synced) and locks it against every other process. It
// fails with fault.Conflict while another process has it.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory: %w", err)
	}
	if err := syncDir(filepath.Dir(filepath.Clean(path))); err != nil {
		return nil, fmt.Errorf("syncing the parent of %s: %w", path, err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the lock file: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fault.Wrap(err, fault.Conflict,
			"another process uses the directory %s; stop it first", path), lock.Close())
	}
	return &Dir{path: path, lock: lock}, nil
}

// ReadDir opens a directory for reading alone and takes no lock, so that a log can be verified while it is written or
// from read-only media.
func ReadDir(path string) (*Dir, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("opening the directory: %w", err)
	}
	if !info.IsDir() {
		return nil, fault.New(fault.Invalid, "%s is not a directory", path)
	}
	return &Dir{path: path, readOnly: true}, nil
}

// Close gives the lock back. It is safe to call twice.
func (d *Dir) Close() error {
	var err error
	d.closing.Do(func() {
		if d.lock != nil {
			err = d.lock.Close()
		}
	})
	return err
}

// Create implements FS.
func (d *Dir) Create(name string) (File, error) {
	return open(os.OpenFile(d.join(name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600))
}

// Open implements FS.
func (d *Dir) Open(name string) (File, error) {
	if d.readOnly {
		return open(os.Open(d.join(name)))
	}
	return open(os.OpenFile(d.join(name), os.O_RDWR, 0))
}

func open(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

// Rename implements FS.
func (d *Dir) Rename(from, to string) error { return os.Rename(d.join(from), d.join(to)) }

// Remove implements FS.
func (d *Dir) Remove(name string) error { return os.Remove(d.join(name)) }

// List implements FS.
func (d *Dir) List() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Type().IsRegular() && e.Name() != lockName {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// SyncDir implements FS.
func (d *Dir) SyncDir() error { return syncDir(d.path) }

func (d *Dir) join(name string) string { return filepath.Join(d.path, name) }

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

type osFile struct{ *os.File }

// Size implements File.
func (f osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Allocate implements File. Where the file system cannot reserve blocks it writes zeros.
func (f osFile) Allocate(size int64) error {
	err := retry(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return wrap("allocating", f.Name(), err)
	}
	return WriteZeros(f, 0, size)
}

// Zero implements File. Where the file system cannot do it by metadata it overwrites the pages that hold something.
func (f osFile) Zero(from, to int64) error {
	if from >= to {
		return nil
	}
	err := retry(func() error {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_ZERO_RANGE, from, to-from)
	})
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return wrap("zeroing", f.Name(), err)
	}
	return zeroByHand(f, from, to)
}

// Sync implements File. The log's files have their final length before their content matters, or their length is
// metadata that fdatasync must write to make the content reachable, so fdatasync is enough.
func (f osFile) Sync() error {
	return wrap("syncing", f.Name(), retry(func() error { return unix.Fdatasync(int(f.Fd())) }))
}

// Release implements File, by posix_fadvise(2), POSIX_FADV_DONTNEED.
func (f osFile) Release() {
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // a hint: what is refused costs memory alone
}

// Map implements File.
func (f osFile) Map(size int64) (Mapping, error) {
	data, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, wrap("mapping", f.Name(), err)
	}
	return &mapping{data: data}, nil
}

type mapping struct{ data []byte }

// Write implements Mapping. A page that cannot be read or reserved arrives as SIGBUS, which SetPanicOnFault turns into
// a panic of this goroutine.
func (m *mapping) Write(p []byte, off int64) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			err = fmt.Errorf("writing to the mapping at offset %d: %v", off, r)
		}
	}()
	if off < 0 || off+int64(len(p)) > int64(len(m.data)) {
		return fmt.Errorf("writing %d bytes at offset %d of a mapping of %d: %w", len(p), off, len(m.data), io.ErrShortWrite)
	}
	copy(m.data[off:], p)
	return nil
}

// Prepare implements Mapping, by madvise(2), MADV_POPULATE_WRITE. Systems that lack it refuse it.
func (m *mapping) Prepare(from, to int64) {
	from -= from % int64(os.Getpagesize())
	if to = min(to, int64(len(m.data))); from >= 0 && from < to {
		_ = unix.Madvise(m.data[from:to], unix.MADV_POPULATE_WRITE)
	}
}

// Sync implements Mapping. What is on the disk need not be in this process's memory too: the pages of a shared mapping stay in the page cache when they
// are let go (madvise(2), MADV_DONTNEED), and whatever was written to them since with them.
func (m *mapping) Sync(from, to int64) error {
	page := int64(os.Getpagesize())
	from -= from % page // msync wants a page boundary
	if from >= to {
		return nil
	}
	if err := unix.Msync(m.data[from:to], unix.MS_SYNC); err != nil {
		return wrap("syncing", "a mapping", err)
	}
	if whole := to - to%page; whole > from {
		_ = unix.Madvise(m.data[from:whole], unix.MADV_DONTNEED) // a hint: what is refused costs memory alone
	}
	return nil
}

// Close implements Mapping.
func (m *mapping) Close() error { return unix.Munmap(m.data) }

// WriteZeros overwrites [from, to) of a file with zeros, in order.
func WriteZeros(w io.WriterAt, from, to int64) error {
	zeros := make([]byte, min(1<<20, max(to-from, 0)))
	for from < to {
		n, err := w.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return fmt.Errorf("writing zeros at offset %d: %w", from, err)
		}
		from += int64(n)
	}
	return nil
}

// zeroByHand overwrites the blocks of [from, to) that hold anything but zeros.
func zeroByHand(f File, from, to int64) error {
	const block = 64 << 10
	buf := make([]byte, block)
	for off := from; off < to; off += block {
		n, err := f.ReadAt(buf[:min(block, to-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading at offset %d: %w", off, err)
		}
		if allZero(buf[:n]) {
			continue
		}
		if err := WriteZeros(f, off, off+int64(n)); err != nil {
			return err
		}
	}
	return nil
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}

// retry repeats a call that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

func wrap(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
