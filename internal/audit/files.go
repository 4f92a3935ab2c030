package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/keywright/keywright/internal/audit/disk"
	"github.com/keywright/keywright/internal/audit/segment"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/merkle"
)

// tiles keeps each level of the tree in one file. It is not safe for concurrent use.
type tiles struct {
	d       disk.FS
	files   map[int]disk.File
	created bool
}

func newTiles(d disk.FS) *tiles { return &tiles{d: d, files: map[int]disk.File{}} }

func tileName(level int) string { return fmt.Sprintf("tiles-%02d", level) }

func (t *tiles) file(level int, create bool) (disk.File, error) {
	if f := t.files[level]; f != nil {
		return f, nil
	}
	f, err := t.d.Open(tileName(level))
	if create && errors.Is(err, fs.ErrNotExist) {
		f, err = t.d.Create(tileName(level))
		t.created = true
	}
	if err != nil {
		return nil, err
	}
	t.files[level] = f
	return f, nil
}

// ReadTile implements merkle.TileReader.
func (t *tiles) ReadTile(level int, n int64, width int) ([]byte, error) {
	f, err := t.file(level, false)
	if err != nil {
		return nil, err
	}
	data := make([]byte, width*merkle.HashBytes)
	if _, err := f.ReadAt(data, n*merkle.TileWidth*merkle.HashBytes); err != nil {
		return nil, fmt.Errorf("%s has no %d hashes in tile %d: %w", tileName(level), width, n, err)
	}
	return data, nil
}

// WriteTile implements merkle.TileStore.
func (t *tiles) WriteTile(level int, n int64, from int, data []byte) error {
	f, err := t.file(level, true)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data[from*merkle.HashBytes:], (n*merkle.TileWidth+int64(from))*merkle.HashBytes)
	return err
}

func (t *tiles) sync() error {
	for _, f := range t.files {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if t.created {
		if err := t.d.SyncDir(); err != nil {
			return err
		}
		t.created = false
	}
	return nil
}

func (t *tiles) close() error {
	var err error
	for _, f := range t.files {
		err = errors.Join(err, f.Close())
	}
	clear(t.files)
	return err
}

// checkpointsName is the file of signed checkpoints.
const checkpointsName = "checkpoints"

// maxCheckpoint bounds a checkpoint's frame, in bytes: what is torn at the end of the file is no longer.
const maxCheckpoint = 4096

// checkpoints is the file of signed checkpoints. Each is one frame; a torn last one was never handed out.
type checkpoints struct {
	f      disk.File
	end    int64
	signed []byte // the last one
}

// openCheckpoints opens or makes the file and cuts a torn end.
func openCheckpoints(d disk.FS) (*checkpoints, error) {
	f, err := d.Open(checkpointsName)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = d.Create(checkpointsName); err == nil {
			err = d.SyncDir()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the checkpoints: %w", err)
	}
	c := &checkpoints{f: f}
	if err := c.load(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return c, nil
}

func (c *checkpoints) load() error {
	_, end, err := segment.Scan(c.f, 0, 0, math.MaxInt64, func(f segment.Frame) error {
		c.signed = append(c.signed[:0], f.Payload...)
		return nil
	})
	if damage := new(segment.DamageError); err != nil && !errors.As(err, &damage) {
		return fmt.Errorf("reading the checkpoints: %w", err)
	}
	size, sizeErr := c.f.Size()
	if sizeErr != nil {
		return sizeErr
	}
	if size-end > maxCheckpoint {
		return fault.Wrap(err, fault.Conflict, "the file of audit checkpoints is damaged at offset %d; run audit verify, and"+
			" restore the directory or move it away to begin a new log", end)
	}
	c.end = end
	if size > end {
		if err := c.f.Truncate(end); err != nil {
			return fmt.Errorf("cutting a torn checkpoint: %w", err)
		}
	}
	return c.f.Sync()
}

// append makes a checkpoint durable. After an error the next call writes the same place again.
func (c *checkpoints) append(signed []byte) error {
	frame := segment.AppendFrame(nil, signed)
	if _, err := c.f.WriteAt(frame, c.end); err != nil {
		return fmt.Errorf("writing a checkpoint: %w", err)
	}
	if err := c.f.Sync(); err != nil {
		return fmt.Errorf("syncing a checkpoint: %w", err)
	}
	c.end += int64(len(frame))
	c.signed = signed
	return nil
}

// readWhole returns a file's content.
func readWhole(d disk.FS, name string) (_ []byte, err error) {
	f, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) && err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}
