package admission

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// simulate runs intervals in which so many requests want to run at once, each of which takes so much of one processor: work waits as long as all that
// runs takes.
func simulate(b *bounds, limit, wanted, intervals int, each time.Duration) (int, time.Duration) {
	var delay time.Duration
	for range intervals {
		runs := min(limit, wanted)
		delay = time.Duration(runs) * each
		limit = min(b.most, b.next(limit, 1, runs, b.load(Delays{Processor: delay})))
	}
	return limit, delay
}

func TestLimitFollowsTheDelay(t *testing.T) {
	b := &limits[Query]
	limit, delay := simulate(b, b.most, 10_000, 4, time.Millisecond)
	if most := b.bearable[Processor] * 3 / 2; delay > most {
		t.Errorf("after four intervals of a flood work waits %s: %s at most", delay, most)
	}
	if limit, delay = simulate(b, limit, 10_000, 100, time.Millisecond); delay < b.bearable[Processor]/2 {
		t.Errorf("in a long flood %d run and work waits %s: there is room for more", limit, delay)
	}
	if limit, _ = simulate(b, limit, 1, 50, time.Millisecond); limit != b.usual {
		t.Errorf("five seconds after the flood the limit is %d, want %d", limit, b.usual)
	}
	if limit, _ = simulate(b, b.usual, 10_000, 10, time.Microsecond); limit != b.most {
		t.Errorf("requests that only wait for others may run %d at once, want %d", limit, b.most)
	}
	if limit, _ = simulate(b, b.most, 1, 50, time.Millisecond); limit != b.usual {
		t.Errorf("five seconds after many ran at once %d may, want %d: a flood comes in at once", limit, b.usual)
	}
}

func TestLimitStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := limits[rapid.SampledFrom([]Class{Use, Query, Write}).Draw(t, "class")]
		procs := rapid.IntRange(1, 8).Draw(t, "processors")
		least := b.least * procs
		limit := rapid.IntRange(least, max(least, b.most)).Draw(t, "limit")
		peak := rapid.IntRange(0, 2*limit).Draw(t, "peak")
		load := rapid.Float64Range(0, 1000).Draw(t, "load")
		got := b.next(limit, procs, peak, load)
		switch {
		case got < least:
			t.Fatalf("%d is below %d", got, least)
		case load > 1 && got > limit:
			t.Fatalf("work waits too long, and the limit goes from %d to %d", limit, got)
		case load <= 1 && got < min(limit, b.usual*procs):
			t.Fatalf("work does not wait, and the limit goes from %d to %d", limit, got)
		case load <= 1 && peak >= limit && got <= limit:
			t.Fatalf("the limit is used up, work does not wait, and it goes from %d to %d", limit, got)
		}
	})
}

// Whatever gives way last bears the most.
func TestReadsGiveWayLast(t *testing.T) {
	for _, c := range []Class{Use, Query, Write} {
		if limits[c].bearable[Processor] >= limits[Read].bearable[Processor] {
			t.Errorf("class %s bears as much as reads", c)
		}
	}
	var idle Delays
	for _, c := range Limited() {
		if limits[c].load(idle) != 0 {
			t.Errorf("class %s bears no rest", c)
		}
	}
	if load := limits[Query].load(Delays{Writer: time.Hour}); load != 0 {
		t.Errorf("a disk that hangs holds up queries: load %.1f", load)
	}
	if load := limits[Read].load(Delays{Writer: time.Hour, Readers: time.Hour}); load != 0 {
		t.Errorf("a store that hangs holds up reads: load %.1f", load)
	}
	if load := limits[Write].load(Delays{Writer: time.Second}); load <= 1 {
		t.Errorf("a disk that hangs does not hold up writes: load %.1f", load)
	}
}
