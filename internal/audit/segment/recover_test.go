package segment

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/audit/disk/disktest"
	"github.com/keywright/keywright/internal/fault"
)

// equal returns payloads of one length, so that an old frame begins where a new one ends.
func equal(i int) []byte { return fmt.Appendf(nil, "record %04d", i) }

func appendEqual(t *testing.T, l *Log, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := l.Append(t.Context(), equal(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func segmentOf(h Header, from, to int) []byte {
	b := h.encode()
	for i := from; i < to; i++ {
		b = AppendFrame(b, equal(i))
	}
	return append(b, make([]byte, 4096-len(b))...)
}

// TestOldFramesDoNotComeBack damages a record in the middle, so that opening cuts there, and then writes over it: the
// old records behind must not follow the new one.
func TestOldFramesDoNotComeBack(t *testing.T) {
	both(t, func(t *testing.T, durability Durability) {
		d := disktest.New(1)
		d.Put(Name(0), segmentOf(Header{}, 0, 10))
		content := d.Bytes(Name(0))
		content[bytes.Index(content, equal(5))] ^= 1
		d.Put(Name(0), content)
		for _, want := range []int{5, 6} {
			l := mustOpen(t, manual(d, durability))
			if got := len(contents(t, l)); got != want {
				t.Fatalf("%d records, want %d", got, want)
			}
			appendEqual(t, l, 100, 101)
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestReserveFilesAreCleaned finds a reserve file that holds frames: the renaming that made it a segment was lost.
func TestReserveFilesAreCleaned(t *testing.T) {
	both(t, func(t *testing.T, durability Durability) {
		d := disktest.New(1)
		d.Put("free-1", segmentOf(Header{}, 0, 10))
		d.Put("free-2", make([]byte, 77)) // of another configuration
		d.Put("tmp-3", make([]byte, 100))
		l := mustOpen(t, manual(d, durability))
		appendEqual(t, l, 0, 3)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, manual(d, durability))
		defer l.Close()
		if got := len(contents(t, l)); got != 3 {
			t.Fatalf("%d records, want 3", got)
		}
		if err := l.refill(); err != nil {
			t.Fatal(err)
		}
		names, err := d.List()
		if err != nil {
			t.Fatal(err)
		}
		if s := strings.Join(names, " "); strings.Contains(s, "tmp-") || d.Bytes("free-2") != nil {
			t.Errorf("left behind: %s", s)
		}
	})
}

// TestSupersededSegmentIsRemoved finds a segment of an older generation behind one that covers it: the process died
// between rewriting and removing.
func TestSupersededSegmentIsRemoved(t *testing.T) {
	d := disktest.New(1)
	d.Put(Name(0), segmentOf(Header{Generation: 1}, 0, 4))
	d.Put(Name(2), segmentOf(Header{Base: 2, Generation: 2}, 2, 9))
	d.Put(Name(5), segmentOf(Header{Base: 5, Generation: 1}, 100, 101))
	l := mustOpen(t, manual(d, Fsync))
	defer l.Close()
	got := contents(t, l)
	for i, p := range got {
		if len(got) != 9 || !bytes.Equal(p, equal(i)) {
			t.Fatalf("record %d of %d is %q", i, len(got), p)
		}
	}
	if d.Bytes(Name(5)) != nil {
		t.Error("the superseded segment is still there")
	}
}

// TestSegmentsBehindAGapAreSetAside finds a segment whose predecessor was cut by a power loss.
func TestSegmentsBehindAGapAreSetAside(t *testing.T) {
	d := disktest.New(1)
	d.Put(Name(0), segmentOf(Header{}, 0, 4))
	d.Put(Name(6), segmentOf(Header{Base: 6}, 6, 8))
	cfg := manual(d, OS)
	l := mustOpen(t, cfg)
	if got := len(contents(t, l)); got != 4 {
		t.Fatalf("%d records, want 4", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if d.Bytes("lost-00000000000000000006-0") == nil {
		t.Error("the segment behind the gap was not kept")
	}
}

// TestTailHoldsTheLastPage checks what a rewrite takes along: every frame that shares the page at the end of the file.
func TestTailHoldsTheLastPage(t *testing.T) {
	cfg := manual(disktest.New(1), Fsync)
	cfg.SegmentBytes = 64 << 10
	l := mustOpen(t, cfg)
	defer l.Close()
	for i := range 300 {
		if _, err := l.Append(t.Context(), payload(i)); err != nil {
			t.Fatal(err)
		}
		l.ioMu.Lock()
		start, base := l.cur.off-int64(len(l.journal.tail)), l.journal.base
		off := l.cur.off
		l.ioMu.Unlock()
		page := max(FirstOffset, off&^(pageBytes-1))
		if start > page || start != off && start+frameLen(payload(int(base))) <= page {
			t.Fatalf("after record %d the tail begins at %d and the page at %d", i, start, page)
		}
	}
}

// TestLogWithoutItsBeginningIsRefused removes the first segment of a log of which nothing was committed yet: going on would answer
// for records that nobody can show.
func TestLogWithoutItsBeginningIsRefused(t *testing.T) {
	both(t, func(t *testing.T, durability Durability) {
		for _, committed := range []int64{0, 3, 12} {
			d := disktest.New(1)
			d.Put(Name(10), segmentOf(Header{Base: 10}, 10, 15))
			cfg := manual(d, durability)
			cfg.Committed = committed
			l, err := Open(cfg)
			if err == nil {
				l.Close()
			}
			if !fault.Is(err, fault.Conflict) || !strings.Contains(err.Error(), "records 0 to 9 are missing") {
				t.Errorf("with %d records committed: %v", committed, err)
			}
			if d.Bytes(Name(10)) == nil {
				t.Error("what was left of the log is gone")
			}
		}
	})
}

// TestReadBeforeTheFirstSegment reads where the log knows of no segment.
func TestReadBeforeTheFirstSegment(t *testing.T) {
	both(t, func(t *testing.T, durability Durability) {
		l := mustOpen(t, manual(disktest.New(1), durability))
		appendEqual(t, l, 0, 3)
		l.mu.Lock()
		l.bases = []int64{2}
		l.mu.Unlock()
		_, err := l.Read(t.Context(), Cursor{}, 3, func(int64, Frame) error { return nil })
		if damage := new(DamageError); !errors.As(err, &damage) {
			t.Errorf("%v", err)
		}
		l.mu.Lock()
		l.bases = []int64{0}
		l.mu.Unlock()
	})
}
