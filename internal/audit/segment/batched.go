package segment

import (
	"context"
	"encoding/binary"
	"fmt"
)

// batch is what waits for one sync.
type batch struct {
	frames []byte
	n      int64
	done   chan struct{} // closed by the committer, after which base and err stand
	base   int64
	err    error
}

// journal is the committer's memory of what may not be on the disk. ioMu guards it.
type journal struct {
	// tail holds the frames from the first that shares a page with the present end of the file; base is the position of
	// the first. They are written again when a sync fails.
	tail []byte
	base int64
	// written is how many bytes of tail the current segment has.
	written int
	// broken says that the current segment must not be written to again.
	broken bool
}

func (l *Log) appendBatched(ctx context.Context, payload []byte) (int64, error) {
	l.mu.Lock()
	if err := l.usable(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	if l.batch == nil {
		l.batch = &batch{done: make(chan struct{})}
	}
	b, i := l.batch, l.batch.n
	b.frames = AppendFrame(b.frames, payload)
	b.n++
	l.mu.Unlock()
	kick(l.kickCommitter)
	select {
	case <-b.done:
	case <-ctx.Done():
		return 0, unavailable(ctx.Err())
	}
	if b.err != nil {
		return 0, unavailable(b.err)
	}
	return b.base + i, nil
}

// commitBatches commits until the log is closed, and then what still waits.
func (l *Log) commitBatches() {
	for {
		var last bool
		select {
		case <-l.kickCommitter:
		case <-l.ctx.Done():
			last = true
		}
		l.mu.Lock()
		b := l.batch
		l.batch = nil
		l.mu.Unlock()
		if b != nil {
			l.commit(b)
			close(b.done)
		}
		if last {
			return
		}
	}
}

// commit writes a batch and syncs it. When that fails it tries once more in a new segment.
func (l *Log) commit(b *batch) {
	l.ioMu.Lock()
	defer l.ioMu.Unlock()
	j := &l.journal
	before := len(j.tail)
	j.tail = append(j.tail, b.frames...)
	l.mu.Lock()
	b.base = l.synced
	l.mu.Unlock()
	if b.err = l.flush(); b.err != nil {
		b.err = l.flush()
	}
	if b.err != nil {
		j.tail = j.tail[:before] // the next rewrite supersedes whatever of the batch is in a file
		l.mu.Lock()
		l.broken = b.err
		l.mu.Unlock()
		kick(l.kickKeeper) // it reports the alarm
		return
	}
	l.mu.Lock()
	if l.broken != nil {
		kick(l.kickKeeper)
	}
	l.broken = nil
	l.synced += b.n
	l.next = l.synced
	l.notify()
	l.mu.Unlock()
	j.trim(l.cur.off)
}

// flush makes the whole tail durable. After an error the current segment is broken: the next call rewrites the tail.
func (l *Log) flush() error {
	j := &l.journal
	if j.broken {
		last, bases, err := l.rewrite(j.tail, j.base)
		if err != nil {
			return err
		}
		l.mu.Lock()
		old := l.cur
		l.replaced(last, bases)
		l.mu.Unlock()
		j.broken, j.written = false, len(j.tail)
		_ = old.close() // it is superseded: an error says nothing of use
		return nil
	}
	j.broken = true
	if err := l.write(j.tail[j.written:]); err != nil {
		return err
	}
	j.broken, j.written = false, len(j.tail)
	return nil
}

// write appends frames to the current segment and as many further ones as it takes, and syncs.
func (l *Log) write(frames []byte) error {
	index := l.synced // the committer alone changes it
	for {
		a := l.cur
		chunk, n := fitting(frames, l.cfg.SegmentBytes-a.off)
		if _, err := a.f.WriteAt(chunk, a.off); err != nil {
			return fmt.Errorf("writing to segment %d: %w", a.base, err)
		}
		if err := a.f.Sync(); err != nil {
			return fmt.Errorf("syncing segment %d: %w", a.base, err)
		}
		a.off += int64(len(chunk))
		frames, index = frames[len(chunk):], index+n
		if len(frames) == 0 {
			return nil
		}
		next, err := l.create(index, nil)
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.cur = next
		l.bases = append(l.bases, index)
		l.mu.Unlock()
		if err := a.close(); err != nil {
			return fmt.Errorf("closing segment %d: %w", a.base, err)
		}
	}
}

// trim forgets the frames that share no page with the end of the file at offset off.
func (j *journal) trim(off int64) {
	keep := max(FirstOffset, off&^(pageBytes-1))
	end, cut := off-int64(len(j.tail)), int64(0)
	for cut < int64(len(j.tail)) {
		n := frameAt(j.tail[cut:])
		if end+n > keep {
			break
		}
		end, cut = end+n, cut+n
		j.base++
	}
	j.tail = append(j.tail[:0], j.tail[cut:]...)
	j.written = len(j.tail)
}

// frameAt returns the length of the frame at the start of b, in bytes.
func frameAt(b []byte) int64 { return frameHeader + int64(binary.LittleEndian.Uint32(b)) }
