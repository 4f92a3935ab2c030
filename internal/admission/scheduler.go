package admission

import (
	"errors"
	"runtime/metrics"
	"slices"
	"time"
)

// schedulerLatencies is the histogram of how long goroutines that could run waited for a processor (package runtime/metrics).
const schedulerLatencies = "/sched/latencies:seconds"

// What is taken for the delay of the processors: the ninth decile. Half of all waits are of goroutines that were woken by the one that runs, and
// go next, so that a median says nothing about the line. Fewer waits than leastWaits say nothing either: they count later, with others, and until then
// what was measured before fades, by half each time.
const (
	decile     = 0.9
	leastWaits = 16
)

// Scheduler measures how long work waits for a processor.
type Scheduler struct {
	samples []metrics.Sample
	seen    []uint64
	last    time.Duration
}

// NewScheduler begins to measure.
func NewScheduler() (*Scheduler, error) {
	s := &Scheduler{samples: []metrics.Sample{{Name: schedulerLatencies}}}
	metrics.Read(s.samples)
	if s.samples[0].Value.Kind() != metrics.KindFloat64Histogram {
		return nil, errors.New("the Go runtime does not tell how long goroutines wait for a processor")
	}
	s.seen = slices.Clone(s.samples[0].Value.Float64Histogram().Counts)
	return s, nil
}

// Delay is how long nine of ten waits took at most since it was called before.
func (s *Scheduler) Delay() time.Duration {
	metrics.Read(s.samples)
	h := s.samples[0].Value.Float64Histogram()
	d, ok := quantile(h, s.seen, decile)
	if !ok {
		s.last /= 2
		return s.last
	}
	copy(s.seen, h.Counts)
	s.last = d
	return d
}

// quantile finds the upper bound of the bucket in which a share of what was added to a histogram of seconds ends. It is not ok when too little was.
func quantile(h *metrics.Float64Histogram, before []uint64, share float64) (_ time.Duration, ok bool) {
	var all uint64
	for i, n := range h.Counts {
		all += n - before[i]
	}
	if all < leastWaits {
		return 0, false
	}
	rest := int64(float64(all) * share)
	for i, n := range h.Counts {
		if rest -= int64(n - before[i]); rest <= 0 {
			// The last bucket has no end, and begins beyond all that is bearable.
			return time.Duration(min(h.Buckets[i+1], 10) * float64(time.Second)), true
		}
	}
	return 0, false
}
