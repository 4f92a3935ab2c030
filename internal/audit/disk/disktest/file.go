package disktest

import (
	"io"
	"syscall"

	"github.com/keywright/keywright/internal/audit/disk"
)

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

// Release implements disk.File. It is noted: see Released.
func (f *file) Release() {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.released = append(f.d.released, f.name)
}

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

// Prepare implements disk.Mapping.
func (m mapping) Prepare(int64, int64) {}

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
