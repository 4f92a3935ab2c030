package admission

import (
	"math"
	"runtime"
	"runtime/metrics"
	"sync"
	"testing"
	"time"
)

func TestQuantileOfWhatWasAdded(t *testing.T) {
	h := &metrics.Float64Histogram{Buckets: []float64{math.Inf(-1), 0.001, 0.01, 0.1, math.Inf(1)}, Counts: []uint64{5, 100, 100, 100}}
	for _, c := range []struct {
		name   string
		before []uint64
		want   time.Duration
	}{
		{"nothing", []uint64{5, 100, 100, 100}, 0},
		{"too few", []uint64{5, 100, 100, 90}, 0},
		{"all in one bucket", []uint64{5, 0, 100, 100}, 10 * time.Millisecond},
		{"a tenth above", []uint64{5, 10, 90, 100}, 10 * time.Millisecond},
		{"more than a tenth above", []uint64{5, 10, 80, 100}, 100 * time.Millisecond},
		{"beyond all buckets", []uint64{5, 100, 100, 0}, 10 * time.Second},
	} {
		if got, ok := quantile(h, c.before, decile); got != c.want || ok != (c.want > 0) {
			t.Errorf("%s: %s (%t), want %s", c.name, got, ok, c.want)
		}
	}
}

// TestSchedulerSeesALine has goroutines keep the processors busy for a while each.
func TestSchedulerSeesALine(t *testing.T) {
	s, err := NewScheduler()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 64 * runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for range 10 {
				for end := time.Now().Add(time.Millisecond); time.Now().Before(end); {
				}
				runtime.Gosched()
			}
		})
	}
	all.Wait()
	if d := s.Delay(); d < 10*time.Millisecond {
		t.Errorf("behind 63 others that run for a millisecond each, work waits for %s", d)
	}
	var d time.Duration
	for range 40 {
		d = s.Delay()
	}
	if d > 10*time.Millisecond {
		t.Errorf("afterwards it waits for %s", d)
	}
}
