package sqlite_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
)

// frameBytes is what one page takes in the log: its header and a page of 4 KiB (https://www.sqlite.org/fileformat2.html#walformat).
const frameBytes = 24 + 4096

// meter measures what a benchmark costs besides time: on a machine with neighbours, CPU time and bytes say more.
type meter struct {
	b      *testing.B
	cpu    time.Duration
	index  []byte
	frames int64
}

// newMeter measures a store in a directory.
func newMeter(b *testing.B, s *sqlite.Store, dir string) *meter {
	m := &meter{b: b}
	// Never closed: closing any descriptor of a file drops the locks that SQLite has on it in this process.
	f, err := os.Open(filepath.Join(dir, "keywright.db-shm"))
	if err != nil {
		b.Fatal(err)
	}
	if m.index, err = unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED); err != nil {
		b.Fatal(err)
	}
	// The number of the last frame is the fifth word of the index. Watchers run in the writer, between two groups: there the log
	// was started anew when it is smaller than before.
	last := m.lastFrame()
	stop := s.Watch(func(*store.Commit) {
		now := m.lastFrame()
		if now < last {
			last = 0
		}
		m.frames += now - last
		last = now
	})
	b.Cleanup(func() {
		stop()
		unix.Munmap(m.index)
	})
	return m
}

func (m *meter) lastFrame() int64 { return int64(binary.NativeEndian.Uint32(m.index[16:])) }

func (m *meter) start() {
	m.frames = 0
	m.cpu = processTime(m.b)
}

func (m *meter) report() {
	n := float64(m.b.N)
	m.b.ReportMetric(float64(processTime(m.b)-m.cpu)/1e3/n, "cpu-us/op")
	if m.frames > 0 {
		m.b.ReportMetric(float64(m.frames*frameBytes)/n, "wal-B/op")
	}
	m.b.ReportMetric(n/m.b.Elapsed().Seconds(), "ops/s")
}

// processTime is the CPU time of this process, in user and kernel.
func processTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
