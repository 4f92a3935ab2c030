package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/audit/disk"
	"github.com/keywright/keywright/internal/audit/disk/disktest"
	"github.com/keywright/keywright/internal/fault"
)

func payload(i int) []byte {
	return []byte(fmt.Sprintf("record %d %s", i, strings.Repeat("x", i*37%300)))
}

func manual(d disk.FS, durability Durability) Config {
	return Config{Disk: d, Durability: durability, SegmentBytes: 4096, ReserveBytes: 2 * 4096, RetryInterval: time.Nanosecond, manual: true}
}

func mustOpen(t tester, cfg Config) *Log {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func contents(t tester, l *Log) [][]byte {
	t.Helper()
	var got [][]byte
	_, err := l.Read(context.Background(), Cursor{}, l.State().Records, func(_ int64, f Frame) error {
		if f.Index != int64(len(got)) {
			t.Fatalf("record %d came as number %d", f.Index, len(got))
		}
		got = append(got, bytes.Clone(f.Payload))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func both(t *testing.T, f func(t *testing.T, d Durability)) {
	for _, d := range []Durability{OS, Fsync} {
		t.Run(d.String(), func(t *testing.T) { f(t, d) })
	}
}

func TestAppendReadReopen(t *testing.T) {
	both(t, func(t *testing.T, durability Durability) {
		dir, err := disk.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		cfg := Config{Disk: dir, Durability: durability, SegmentBytes: 8192, ReserveBytes: 3 * 8192}
		const n = 500
		for round := range 3 {
			l := mustOpen(t, cfg)
			for i := round * n; i < (round+1)*n; i++ {
				pos, err := l.Append(t.Context(), payload(i))
				if err != nil || pos != int64(i) {
					t.Fatalf("append %d: position %d, %v", i, pos, err)
				}
			}
			got := contents(t, l)
			if len(got) != (round+1)*n {
				t.Fatalf("%d records, want %d", len(got), (round+1)*n)
			}
			for i, p := range got {
				if !bytes.Equal(p, payload(i)) {
					t.Fatalf("record %d is %q", i, p)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal("second Close:", err)
			}
			if _, err := l.Append(t.Context(), payload(0)); !fault.Is(err, fault.Unavailable) {
				t.Fatalf("append to a closed log: %v", err)
			}
		}
	})
}

func TestConcurrentAppends(t *testing.T) {
	both(t, func(t *testing.T, durability Durability) {
		dir, err := disk.OpenDir(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		l := mustOpen(t, Config{Disk: dir, Durability: durability, SegmentBytes: 16 << 10, ReserveBytes: 64 << 10, SyncInterval: time.Millisecond})
		defer l.Close()
		const workers, each = 8, 100
		done := make(chan map[int64][]byte)
		for w := range workers {
			go func() {
				mine := map[int64][]byte{}
				for i := range each {
					p := payload(w*each + i)
					pos, err := l.Append(context.Background(), p)
					if err != nil {
						t.Error(err)
					}
					mine[pos] = p
				}
				done <- mine
			}()
		}
		want := map[int64][]byte{}
		for range workers {
			for pos, p := range <-done {
				if want[pos] != nil {
					t.Errorf("position %d was given twice", pos)
				}
				want[pos] = p
			}
		}
		for i, p := range contents(t, l) {
			if !bytes.Equal(p, want[int64(i)]) {
				t.Fatalf("record %d is not what was appended there", i)
			}
		}
	})
}

// acked is the model: what was acknowledged, and what may be in the log without that.
type acked struct {
	records [][]byte
	synced  int
}

// check verifies that the reopened log holds every record of the first must, in order and unchanged, and nothing that
// was never appended.
func (m *acked) check(t tester, l *Log, must int, appended map[string]bool) {
	t.Helper()
	got := contents(t, l)
	if len(got) < must {
		t.Fatalf("%d records are left of %d that must be there", len(got), must)
	}
	for i, p := range got {
		if i < must && !bytes.Equal(p, m.records[i]) {
			t.Fatalf("record %d is %.40q, want %.40q", i, p, m.records[i])
		}
		if !appended[string(p)] {
			t.Fatalf("record %d %.40q was never appended", i, p)
		}
	}
	m.records, m.synced = got, len(got)
}

// TestHistories runs random appends, syncs, faults, kills and power losses against the model.
func TestHistories(t *testing.T) {
	both(t, func(t *testing.T, durability Durability) {
		rapid.Check(t, func(t *rapid.T) { history(t, durability) })
	})
}

func history(t *rapid.T, durability Durability) {
	d := disktest.New(rapid.Uint64().Draw(t, "seed"))
	var m acked
	appended := map[string]bool{}
	l := mustOpen(t, manual(d, durability))
	reopen := func(next *disktest.FS, must int) {
		l.stop()
		l.running.Wait()
		d = next
		cfg := manual(d, durability)
		cfg.Committed = int64(m.synced)
		l = mustOpen(t, cfg)
		m.check(t, l, must, appended)
	}
	serial := 0
	t.Repeat(map[string]func(*rapid.T){
		"append": func(t *rapid.T) {
			for range rapid.IntRange(1, 12).Draw(t, "n") {
				p := payload(serial)
				serial++
				appended[string(p)] = true
				if pos, err := l.Append(context.Background(), p); err == nil {
					if pos != int64(len(m.records)) {
						t.Fatalf("position %d, want %d", pos, len(m.records))
					}
					m.records = append(m.records, p)
				} else if !fault.Is(err, fault.Unavailable) {
					t.Fatal(err)
				}
			}
			if durability == Fsync {
				m.synced = len(m.records)
			}
		},
		"sync": func(t *rapid.T) {
			if l.Sync() == nil {
				m.synced = len(m.records)
			}
		},
		"refill": func(t *rapid.T) { _ = l.refill() },
		"fault": func(t *rapid.T) {
			percent := rapid.SampledFrom([]int{0, 0, 5, 30, 100}).Draw(t, "percent")
			kinds := []disktest.Fault{disktest.Lost, disktest.StoredFailed, disktest.Short}
			rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "faults"), 0))
			d.Inject(func(disktest.Op) disktest.Fault {
				if rng.IntN(100) < percent {
					return kinds[rng.IntN(len(kinds))]
				}
				return disktest.None
			})
		},
		"full": func(t *rapid.T) { d.Limit(rapid.SampledFrom([]int64{0, d.Used()}).Draw(t, "limit")) },
		"kill": func(t *rapid.T) {
			must := len(m.records)
			if l.State().Closed {
				must = m.synced // a log that failed may have lost what was never synced
			}
			d.Limit(0)
			reopen(d.Kill(), must)
		},
		"power": func(t *rapid.T) { reopen(d.PowerLoss(), m.synced) },
		"": func(t *rapid.T) {
			if s := l.State(); int(s.Records) != len(m.records) || int(s.Synced) < m.synced {
				t.Fatalf("state %+v, model %d of %d", s, m.synced, len(m.records))
			}
		},
	})
	l.stop()
	l.running.Wait()
}

// tester is what tester and rapid.T share.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// A segment that was named although its renaming failed begins with the next record: a shorter one must not go into the segment before.
func TestASegmentThatWasNamedAllTheSame(t *testing.T) {
	d := disktest.New(1)
	l := mustOpen(t, manual(d, OS))
	fits, long := []byte("short"), bytes.Repeat([]byte("x"), 1500)
	want := 0
	for ; l.cur.off+frameLen(long) <= l.cfg.SegmentBytes; want++ {
		if _, err := l.Append(t.Context(), long); err != nil {
			t.Fatal(err)
		}
	}
	d.Inject(func(op disktest.Op) disktest.Fault {
		if op.Kind == "rename" && strings.HasPrefix(op.Name, "seg-") {
			return disktest.StoredFailed
		}
		return disktest.None
	})
	if _, err := l.Append(t.Context(), long); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("a record for which no segment could be named: %v", err)
	}
	d.Inject(nil)
	for range 3 {
		if _, err := l.Append(t.Context(), fits); err != nil {
			t.Fatal(err)
		}
		want++
	}
	if got := len(contents(t, l)); got != want {
		t.Errorf("%d records, want %d", got, want)
	}
	l.stop()
	l.running.Wait()
	if got := len(contents(t, mustOpen(t, manual(d.Kill(), OS)))); got != want {
		t.Errorf("%d records after a restart, want %d", got, want)
	}
}

// A log that was mended goes on in its generation, although the segment that began last has lost its header and all records before it are committed.
func TestTheGenerationOutlivesATornSegment(t *testing.T) {
	d := disktest.New(1)
	l := mustOpen(t, manual(d, OS))
	add := func(n int) {
		t.Helper()
		for range n {
			if _, err := l.Append(t.Context(), bytes.Repeat([]byte("x"), 1500)); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(1)
	d.Inject(func(op disktest.Op) disktest.Fault {
		if op.Kind == "map-sync" {
			return disktest.Lost
		}
		return disktest.None
	})
	if err := l.Sync(); err != nil || l.generation == 0 {
		t.Fatalf("the log was not mended: generation %d, %v", l.generation, err)
	}
	d.Inject(nil)
	add(2) // the second begins a segment
	base := l.cur.base
	l.stop()
	l.running.Wait()
	d = d.Kill()
	d.Put(Name(base), make([]byte, 4096)) // as a power loss may leave it
	cfg := manual(d, OS)
	cfg.Committed = base
	l = mustOpen(t, cfg)
	add(3)
	l.stop()
	l.running.Wait()
	if got := len(contents(t, mustOpen(t, manual(d.Kill(), OS)))); got != int(base)+3 {
		t.Errorf("%d records after a restart, want %d", got, base+3)
	}
}

// TestCrashAtEachStep cuts the power before and after every operation of a fixed story, and kills there too.
func TestCrashAtEachStep(t *testing.T) {
	both(t, func(t *testing.T, durability Durability) {
		for _, f := range []disktest.Fault{disktest.CutBefore, disktest.CutAfter, disktest.Lost, disktest.StoredFailed, disktest.Short} {
			total := crashStory(t, durability, disktest.None, 0)
			for n := 1; n <= total; n++ {
				crashStory(t, durability, f, n)
			}
		}
	})
}

func crashStory(t *testing.T, durability Durability, f disktest.Fault, at int) (ops int) {
	d := disktest.New(uint64(at))
	d.Inject(func(op disktest.Op) disktest.Fault {
		if op.N == at {
			return f
		}
		return disktest.None
	})
	var m acked
	appended := map[string]bool{}
	l, err := Open(manual(d, durability))
	if err == nil {
		for i := range 40 {
			p := payload(i)
			appended[string(p)] = true
			if _, err := l.Append(context.Background(), p); err == nil {
				m.records = append(m.records, p)
			}
			if i%9 == 0 && l.Sync() == nil {
				m.synced = len(m.records)
			}
			if i%13 == 0 {
				_ = l.refill()
			}
		}
		l.stop()
		l.running.Wait()
	}
	if durability == Fsync {
		m.synced = len(m.records)
	}
	ops = d.Ops()
	next, must := d.Kill(), len(m.records)
	if at%2 == 0 {
		next, must = d.PowerLoss(), m.synced
	}
	cfg := manual(next, durability)
	cfg.Committed = int64(m.synced)
	l, err = Open(cfg)
	if err != nil {
		t.Fatalf("fault %d at operation %d: %v", f, at, err)
	}
	m.check(t, l, must, appended)
	if _, err := l.Append(t.Context(), payload(0)); err != nil {
		t.Fatalf("fault %d at operation %d: appending after recovery: %v", f, at, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return ops
}

func TestFullDiskUsesReserveThenFailsThenRecovers(t *testing.T) {
	both(t, func(t *testing.T, durability Durability) {
		d := disktest.New(1)
		l := mustOpen(t, manual(d, durability))
		defer l.Close()
		if err := l.refill(); err != nil {
			t.Fatal(err)
		}
		d.Limit(d.Used())
		var n int
		var err error
		for ; err == nil && n < 1000; n++ {
			_, err = l.Append(t.Context(), payload(100))
			if e := l.refill(); e != nil && l.State().Alarm == nil {
				t.Fatal("the reserve shrinks without an alarm")
			}
		}
		if !fault.Is(err, fault.Unavailable) || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("a full disk gave %v", err)
		}
		perSegment := int((4096 - FirstOffset) / frameLen(payload(100)))
		if n-1 != 3*perSegment {
			t.Errorf("%d records were taken, want three segments of %d: the current one and the reserve", n-1, perSegment)
		}
		d.Limit(0)
		if _, err := l.Append(t.Context(), payload(100)); err != nil {
			t.Fatal("there is space again, and:", err)
		}
		if err := l.refill(); err != nil || l.State().Alarm != nil || l.State().ReserveFree != 2 {
			t.Fatalf("the reserve is not restored: %v, %+v", err, l.State())
		}
		if got := len(contents(t, l)); got != n {
			t.Fatalf("%d records, want %d", got, n)
		}
	})
}

// TestOldSegmentsLeaveMemory: those that are full and behind, each once, and they are read as before.
func TestOldSegmentsLeaveMemory(t *testing.T) {
	both(t, func(t *testing.T, durability Durability) {
		d := disktest.New(1)
		l := mustOpen(t, manual(d, durability))
		n := 0
		for ; len(l.Bases()) < 6; n++ {
			if _, err := l.Append(t.Context(), payload(n)); err != nil {
				t.Fatal(err)
			}
			if err := l.refill(); err != nil {
				t.Fatal(err)
			}
		}
		var want []string
		for _, base := range l.Bases()[:4] {
			want = append(want, Name(base))
		}
		if got := d.Released(); !slices.Equal(got, want) {
			t.Errorf("released: %q, want %q: all but the two newest", got, want)
		}
		if got := len(contents(t, l)); got != n {
			t.Errorf("%d records, want %d", got, n)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = mustOpen(t, manual(d, durability))
		defer l.Close()
		if err := l.refill(); err != nil {
			t.Fatal(err)
		}
		if got := d.Released(); len(got) != len(want) {
			t.Errorf("a start released %q", got[len(want):])
		}
	})
}

func TestAlarmIsReported(t *testing.T) {
	d := disktest.New(1)
	d.Limit(4096 * 3 / 2)
	states := make(chan State, 10)
	l := mustOpen(t, Config{Disk: d, SegmentBytes: 4096, ReserveBytes: 4096, RetryInterval: time.Millisecond,
		OnState: func(s State) { states <- s }})
	defer l.Close()
	if s := <-states; s.Alarm == nil || s.ReserveFree != 0 || s.ReserveTarget != 1 {
		t.Fatalf("first report %+v", s)
	}
	d.Limit(0)
	if s := <-states; s.Alarm != nil || s.ReserveFree != 1 {
		t.Fatalf("second report %+v", s)
	}
}

func TestMissingCommittedRecordsAreRefused(t *testing.T) {
	both(t, func(t *testing.T, durability Durability) {
		d := disktest.New(1)
		l := mustOpen(t, manual(d, durability))
		for i := range 30 {
			if _, err := l.Append(t.Context(), payload(i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		content := d.Bytes(Name(0))
		content[FirstOffset+frameHeader] ^= 1
		d.Put(Name(0), content)
		cfg := manual(d, durability)
		cfg.Committed = 30
		// The damage is in a segment that a checkpoint covers wholly, or in the one that it ends in.
		if l, err := Open(cfg); err == nil {
			if len(l.Bases()) == 1 {
				t.Fatal("a damaged record below the checkpoint was cut off")
			}
			_, err := l.Read(t.Context(), Cursor{}, 1, func(int64, Frame) error { return nil })
			if damage := new(DamageError); !errors.As(err, &damage) || damage.Index != 0 {
				t.Fatalf("reading a damaged record: %v", err)
			}
			l.Close()
		} else if !fault.Is(err, fault.Conflict) {
			t.Fatal(err)
		}
		d.Put(Name(l.bases[len(l.bases)-1]), nil)
		if _, err := Open(cfg); !fault.Is(err, fault.Conflict) {
			t.Fatalf("a log without its last segment opened: %v", err)
		}
	})
}

func TestWaitSynced(t *testing.T) {
	d := disktest.New(1)
	l := mustOpen(t, manual(d, OS))
	got := make(chan int64)
	go func() {
		n, err := l.WaitSynced(context.Background(), 0)
		if err != nil {
			t.Error(err)
		}
		got <- n
	}()
	if _, err := l.Append(t.Context(), payload(1)); err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if n := <-got; n != 1 {
		t.Fatalf("woken at %d", n)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.WaitSynced(t.Context(), 1); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("waiting on a closed log: %v", err)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	dir, err := disk.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	l := mustOpen(t, Config{Disk: dir, ReserveBytes: -1})
	defer l.Close()
	p := bytes.Repeat([]byte("x"), 300)
	allocs := testing.AllocsPerRun(1000, func() {
		if _, err := l.Append(context.Background(), p); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations per append", allocs)
	}
}

func TestFaultInMappingIsAnError(t *testing.T) {
	path := t.TempDir()
	dir, err := disk.OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	l := mustOpen(t, Config{Disk: dir, SegmentBytes: 64 << 10, ReserveBytes: 64 << 10, SyncInterval: time.Hour})
	defer l.Close()
	f, err := dir.Open(Name(0))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(0); err != nil { // a page behind the end of the file is a SIGBUS
		t.Fatal(err)
	}
	if _, err := l.Append(t.Context(), payload(1)); !fault.Is(err, fault.Unavailable) {
		t.Fatalf("writing to a page that is gone: %v", err)
	}
	if !l.State().Closed {
		t.Error("the log takes records after a fault")
	}
	if err := l.Sync(); err != nil {
		t.Fatalf("nothing was acknowledged, so the log can be mended: %v", err)
	}
	if _, err := l.Append(t.Context(), payload(1)); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkAppend(b *testing.B) {
	dir, err := disk.OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	l := mustOpen(b, Config{Disk: dir, ReserveBytes: 256 << 20})
	defer l.Close()
	p := bytes.Repeat([]byte("x"), 300)
	b.ReportAllocs()
	b.SetBytes(300)
	for b.Loop() {
		if _, err := l.Append(context.Background(), p); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendFsync64(b *testing.B) {
	dir, err := disk.OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	l := mustOpen(b, Config{Disk: dir, Durability: Fsync, ReserveBytes: -1})
	defer l.Close()
	p := bytes.Repeat([]byte("x"), 300)
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := l.Append(context.Background(), p); err != nil {
				b.Fatal(err)
			}
		}
	})
}
