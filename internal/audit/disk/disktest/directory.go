package disktest

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/keywright/keywright/internal/audit/disk"
)

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
