package segment

import (
	"errors"
	"fmt"
	"slices"

	"github.com/keywright/keywright/internal/audit/disk"
)

// active is a segment that is being written.
type active struct {
	base   int64
	f      disk.File
	m      disk.Mapping // OS
	off    int64        // of the next frame
	synced int64        // everything before this offset is durable
	ready  int64        // OS: memory was made ready for everything before this offset
	full   bool         // OS: nothing more may be written here
}

func (a *active) close() error {
	var err error
	if a.m != nil {
		err = a.m.Close()
	}
	return errors.Join(err, a.f.Close())
}

// create makes a durable segment that holds frames.
func (l *Log) create(base int64, frames []byte) (*active, error) {
	name, err := l.pool.take()
	defer kick(l.kickKeeper)
	if err != nil {
		return nil, err
	}
	f, err := l.cfg.Disk.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening a reserve file: %w", err)
	}
	content := append(Header{Base: base, Generation: l.generation}.encode(), frames...)
	if _, err = f.WriteAt(content, 0); err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.cfg.Disk.Rename(name, Name(base))
	}
	if err == nil {
		err = l.cfg.Disk.SyncDir()
	}
	if err != nil {
		_ = l.cfg.Disk.Remove(name) // best effort: it holds data, so it is no reserve; opening the log cleans it
		return nil, errors.Join(fmt.Errorf("making segment %d: %w", base, err), f.Close())
	}
	return &active{base: base, f: f, off: int64(len(content)), synced: int64(len(content))}, nil
}

// rewrite puts frames, the first of which is the record base, into new segments of a new generation and returns the
// last one. It makes them from the last to the first: the first is what supersedes, so a crash in between loses
// nothing. The segments behind it that it does not replace by name it removes.
func (l *Log) rewrite(frames []byte, base int64) (last *active, bases []int64, err error) {
	l.generation++
	var chunks [][]byte
	for first := true; first || len(frames) > 0; first = false {
		chunk, n := fitting(frames, l.cfg.SegmentBytes-FirstOffset)
		chunks, bases = append(chunks, chunk), append(bases, base)
		frames, base = frames[len(chunk):], base+n
	}
	for i := len(chunks) - 1; i >= 0; i-- {
		a, err := l.create(bases[i], chunks[i])
		if err == nil && last != nil {
			err = a.f.Close()
		} else if err == nil {
			last = a
		}
		if err != nil {
			return nil, nil, err
		}
	}
	onDisk, err := Bases(l.cfg.Disk)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range onDisk {
		if b > bases[0] && !slices.Contains(bases, b) {
			if err := l.cfg.Disk.Remove(Name(b)); err != nil {
				return nil, nil, fmt.Errorf("removing superseded segment %d: %w", b, err)
			}
		}
	}
	return last, bases, l.cfg.Disk.SyncDir()
}

// replaced makes the result of rewrite current. The caller holds mu and closes what it replaces.
func (l *Log) replaced(last *active, bases []int64) {
	i, _ := slices.BinarySearch(l.bases, bases[0])
	l.bases = append(l.bases[:i:i], bases...)
	l.cur = last
}

// fitting returns the longest run of whole frames that takes at most room bytes, and their number.
func fitting(frames []byte, room int64) (chunk []byte, n int64) {
	end := int64(0)
	for end < int64(len(frames)) {
		next := end + frameAt(frames[end:])
		if next > room {
			break
		}
		end = next
		n++
	}
	return frames[:end], n
}
