package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/audit/disk/disktest"
	"github.com/keywright/keywright/internal/fault"
)

// TestCrashAtEachStep fails each operation of a fixed story in each way, then loses power or the process: what was
// durable must be there, every checkpoint must hold, and the log must go on.
func TestCrashAtEachStep(t *testing.T) {
	for _, durability := range []Durability{OS, Fsync} {
		t.Run(durability.String(), func(t *testing.T) {
			total := crashAt(t, durability, 0, disktest.None)
			for _, f := range []disktest.Fault{disktest.CutBefore, disktest.CutAfter, disktest.Lost, disktest.StoredFailed, disktest.Short} {
				for n := 1; n <= total; n++ {
					crashAt(t, durability, n, f)
				}
			}
		})
	}
}

func crashAt(t *testing.T, durability Durability, n int, f disktest.Fault) (ops int) {
	d := disktest.New(uint64(n))
	d.Inject(func(op disktest.Op) disktest.Fault {
		if op.N == n {
			return f
		}
		return disktest.None
	})
	cfg := testConfig(t, d)
	cfg.Durability, cfg.SegmentBytes, cfg.ReserveBytes, cfg.OnError = durability, 4096, -1, nil
	var acked, durable []string
	var signed []byte
	l, err := Open(cfg)
	if err == nil {
		for i := range 25 {
			if l.Append(context.Background(), sample(i)) == nil {
				acked = append(acked, fmt.Sprint("c", i))
			}
			if i%8 == 7 && l.Checkpoint(context.Background()) == nil {
				durable, signed = slices.Clone(acked), l.LatestCheckpoint()
			}
		}
	}
	ops = d.Ops()
	if durability == Fsync {
		durable = acked
	}
	must, next := acked, d.Kill()
	if n%2 == 0 {
		must, next = durable, d.PowerLoss()
	}
	if l != nil {
		l.Stop()
	}
	l, err = Open(testConfigLike(cfg, next))
	if err != nil {
		t.Fatalf("operation %d, fault %d: %v", n, f, err)
	}
	defer l.Stop()
	var left []string
	for _, r := range collect(t, l, Filter{}) {
		left = append(left, r.CorrelationID)
	}
	for _, id := range must {
		if !slices.Contains(left, id) {
			t.Fatalf("operation %d, fault %d: record %s is gone of %v", n, f, id, left)
		}
	}
	fill(t, l, 100, 110)
	if err := l.Checkpoint(t.Context()); err != nil {
		t.Fatalf("operation %d, fault %d: %v", n, f, err)
	}
	if report := verify(t, next, signed); !report.OK() || report.Proven != int64(len(left)+10) {
		t.Fatalf("operation %d, fault %d: %+v", n, f, report)
	}
	return ops
}

func testConfigLike(cfg Config, d *disktest.FS) Config {
	cfg.Disk = d
	return cfg
}

// TestLyingDiskIsCaught is the control of the test above: on a disk whose syncs do nothing, records are lost.
func TestLyingDiskIsCaught(t *testing.T) {
	lost := 0
	for seed := range uint64(20) {
		d := disktest.New(seed)
		cfg := testConfig(t, d)
		cfg.Durability, cfg.OnError = Fsync, nil
		l, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		d.IgnoreSyncs()
		fill(t, l, 0, 20)
		next := d.PowerLoss()
		l.Stop()
		if l, err = Open(testConfigLike(cfg, next)); err != nil || l.State().Records < 20 {
			lost++
		}
		if l != nil {
			l.Stop()
		}
	}
	if lost == 0 {
		t.Error("syncs did nothing and no record was lost: the power-loss tests show nothing")
	}
}

// rows is the database's side of a sequencer.
type rows struct {
	mu       sync.Mutex
	all      []Row
	position int64
	fail     func() error // of Sequenced, before it stores
	failed   func() error // after it stored
}

func (r *rows) LastSequenced(context.Context) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.position, nil
}

func (r *rows) Rows(_ context.Context, after int64, limit int) ([]Row, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := int(after)
	return slices.Clone(r.all[i:min(len(r.all), i+limit)]), nil
}

func (r *rows) Sequenced(_ context.Context, position int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fail(); err != nil {
		return err
	}
	r.position = position
	return r.failed()
}

// TestSequencerAddsEachRowOnce loses the answer, the operation, the process and the power between any two steps.
func TestSequencerAddsEachRowOnce(t *testing.T) {
	no := func() error { return nil }
	for _, durability := range []Durability{OS, Fsync} {
		for n := 1; n < 70; n++ {
			d := disktest.New(uint64(n))
			cfg := testConfig(t, d)
			cfg.Durability, cfg.OnError = durability, nil
			db := &rows{fail: no, failed: no}
			switch n % 3 {
			case 1:
				db.fail = func() error { return errors.New("lost") }
			case 2:
				db.failed = func() error { return errors.New("stored but reported lost") }
			}
			for i := range 20 {
				frame, err := Seal(nil, cfg.Sealer, sample(i))
				if err != nil {
					t.Fatal(err)
				}
				db.all = append(db.all, Row{Position: int64(i + 1), ID: sample(i).ID, Frame: frame})
			}
			l, err := Open(cfg)
			if err != nil {
				t.Fatal(err)
			}
			fill(t, l, 100, 103)
			start := d.Ops()
			d.Inject(func(op disktest.Op) disktest.Fault {
				if op.N == start+n {
					return disktest.CutAfter
				}
				return disktest.None
			})
			s, err := NewSequencer(SequencerConfig{Log: l, Rows: db})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = s.Round(t.Context())
			_, _ = s.Round(t.Context())
			next := d.Kill()
			if n%2 == 0 {
				next = d.PowerLoss()
			}
			l.Stop()
			l = mustOpen(t, testConfigLike(cfg, next))
			db.fail, db.failed = no, no
			if s, err = NewSequencer(SequencerConfig{Log: l, Rows: db}); err != nil {
				t.Fatal(err)
			}
			for more := 1; more > 0; {
				if more, err = s.Round(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, r := range collect(t, l, Filter{}) {
				if r.CorrelationID < "c100" || len(r.CorrelationID) < 4 {
					got = append(got, r.CorrelationID)
				}
			}
			for i := range 20 {
				if len(got) != 20 || got[i] != fmt.Sprint("c", i) {
					t.Fatalf("%s, step %d: rows in the log %v", durability, n, got)
				}
			}
			l.Stop()
		}
	}
}

func TestSequencerRefusesForeignFrames(t *testing.T) {
	l := mustOpen(t, testConfig(t, disktest.New(1)))
	frame, err := Seal(nil, l.cfg.Sealer, sample(0))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.AppendSealed(t.Context(), sample(1).ID, frame); !fault.Is(err, fault.Internal) {
		t.Errorf("a frame of another operation: %v", err)
	}
	if err := l.AppendSealed(t.Context(), sample(0).ID, frame[:9]); !fault.Is(err, fault.Internal) {
		t.Errorf("half a frame: %v", err)
	}
}

func TestSequencerRuns(t *testing.T) {
	l := mustOpen(t, testConfig(t, disktest.New(1)))
	no := func() error { return nil }
	db := &rows{fail: no, failed: no}
	s, err := NewSequencer(SequencerConfig{Log: l, Rows: db})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	frame, err := Seal(nil, l.cfg.Sealer, sample(0))
	if err != nil {
		t.Fatal(err)
	}
	db.mu.Lock()
	db.all = append(db.all, Row{1, sample(0).ID, frame})
	db.mu.Unlock()
	s.Wake()
	if _, err := l.seg.WaitSynced(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Stop()
}

// TestSequencerCatchesUp waits for rows of several rounds, in spite of a linger that never ends, and not for ever.
func TestSequencerCatchesUp(t *testing.T) {
	l := mustOpen(t, testConfig(t, disktest.New(1)))
	var broken atomic.Bool
	db := &rows{failed: func() error { return nil }, fail: func() error {
		if broken.Load() {
			return errors.New("lost")
		}
		return nil
	}}
	s, err := NewSequencer(SequencerConfig{Log: l, Rows: db, Interval: time.Hour, Linger: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	add := func(from, until int) {
		t.Helper()
		for i := from; i < until; i++ {
			frame, err := Seal(nil, l.cfg.Sealer, sample(i))
			if err != nil {
				t.Fatal(err)
			}
			db.mu.Lock()
			db.all = append(db.all, Row{int64(i + 1), sample(i).ID, frame})
			db.mu.Unlock()
		}
		s.Wake()
	}
	const many = 2*rowsAtOnce + 1
	add(0, many)
	var waiting sync.WaitGroup
	for range 4 {
		waiting.Go(func() {
			if err := s.CatchUp(t.Context()); err != nil {
				t.Error(err)
			}
			if got := l.State().Synced; got != many {
				t.Errorf("%d of %d rows are in the log", got, many)
			}
		})
	}
	waiting.Wait()
	broken.Store(true)
	add(many, many+1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.CatchUp(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("caught up with a store that fails: %v", err)
	}
	broken.Store(false)
	if err := s.CatchUp(t.Context()); err != nil {
		t.Error(err)
	}
	if got := l.State().Synced; got != many+1 {
		t.Errorf("%d of %d rows are in the log", got, many+1)
	}
}

// TestCheckpointOutlivesPower loses power after a checkpoint was signed: it was handed out, so it must be there.
func TestCheckpointOutlivesPower(t *testing.T) {
	for seed := range uint64(20) {
		d := disktest.New(seed)
		cfg := testConfig(t, d)
		cfg.OnError = nil
		l, err := Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		fill(t, l, 0, 300)
		if err := l.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		signed := l.LatestCheckpoint()
		next := d.PowerLoss()
		l.Stop()
		l = mustOpen(t, testConfigLike(cfg, next))
		if string(l.LatestCheckpoint()) != string(signed) || l.State().Records < 300 {
			t.Fatalf("seed %d: the checkpoint is gone, or records that it covers: %d are left", seed, l.State().Records)
		}
		if report := verify(t, next, signed); !report.OK() || report.Proven != 300 {
			t.Fatalf("seed %d: %+v", seed, report)
		}
	}
}
