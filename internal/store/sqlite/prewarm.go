package sqlite

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A read that finds its page neither in memory nor in the page cache waits for the disk, and costs several times the processor's time. Pages are looked for one
// by one and anywhere, so the operating system does not read ahead, and after a start, or wherever it takes pages back that were not used for some seconds, a
// large store would stay cold for minutes. So while the store is read, the whole database is kept in the page cache, as long as there is plenty of room.
const (
	prewarmInterval = 5 * time.Second
	// prewarmViews is how many reads of an interval are worth it.
	prewarmViews = 500
	// prewarmChunk is what is looked at, and read, at once; prewarmPause, behind one that was read, keeps the disk free for others: some 400 MiB a second.
	prewarmChunk = 1 << 20
	prewarmPause = 2 * time.Millisecond
)

// errNoPageCache says that the operating system does not tell what is in its page cache.
var errNoPageCache = errors.New("the page cache cannot be looked at")

func (s *Store) runPrewarm() {
	defer s.background.Done()
	ticker := time.NewTicker(prewarmInterval)
	defer ticker.Stop()
	for before := int64(0); ; {
		select {
		case <-s.stop:
			return
		case <-ticker.C:
		}
		views := s.views.Load()
		busy := views-before >= prewarmViews
		before = views
		if !busy {
			continue
		}
		read, err := prewarm(s.checkpointer.file, pageCacheRoom(), s.stop)
		switch {
		case errors.Is(err, errNoPageCache):
			return
		case err != nil: // reads say more of it
			s.log.Debug("the database could not be read ahead", "error", err)
		case read > 0:
			s.log.Debug("the database was read ahead", "bytes", read)
		}
	}
}

// prewarm reads those parts of a file of which a quarter or more is not in the page cache, unless the whole takes more than half of room, and returns how many
// bytes it read. It ends early with stop.
func prewarm(f *os.File, room int64, stop <-chan struct{}) (read int64, err error) {
	info, err := f.Stat()
	if err != nil || info.Size() > room/2 {
		return 0, err
	}
	var buf []byte
	for off := int64(0); off < info.Size(); off += prewarmChunk {
		n := min(prewarmChunk, info.Size()-off)
		cached, err := cachedBytes(f, off, n)
		if err != nil {
			return read, fmt.Errorf("%w: %w", errNoPageCache, err)
		}
		if cached > n/4*3 {
			continue
		}
		if buf == nil {
			buf = make([]byte, prewarmChunk)
		}
		got, err := f.ReadAt(buf[:n], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return read, err
		}
		read += int64(got)
		select {
		case <-stop:
			return read, nil
		case <-time.After(prewarmPause):
		}
	}
	return read, nil
}
