package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// gcPercent is how far the heap of a server may grow beyond what lives in it before it is collected, in percent of that. Most of
// what a server allocates dies with its request, and what lives is bounded by the caches: a read costs 3 % less than with the
// runtime's own 100.
const gcPercent = 400

// mostHeap bounds the heap in bytes: with full caches, five times of what lives would be half a gigabyte. Below leastPercent collecting would cost more
// than the memory is worth: then the heap is larger.
const (
	mostHeap     = 128 << 20
	leastPercent = 50
)

// collectSeldom applies gcPercent and mostHeap, unless the variable GOGC decides (package runtime, Environment Variables). A GOMEMLIMIT
// bounds the memory in either case.
func collectSeldom(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
		afterEachCollection(gcPercent)
	}
}

// afterEachCollection sets the percentage anew whenever the heap was collected: a finalizer runs then, and makes the next one.
func afterEachCollection(was int) {
	runtime.SetFinalizer(&struct{ _ [16]byte }{}, func(any) {
		next := percentFor(liveBytes())
		// Setting it stops the program for a moment.
		if next < was*9/10 || next > was*11/10 {
			debug.SetGCPercent(next)
			was = next
		}
		afterEachCollection(was)
	})
}

// percentFor is the percentage for a heap in which so many bytes live.
func percentFor(live uint64) int {
	if live >= mostHeap {
		return leastPercent
	}
	return int(min(max(100*(mostHeap-live)/max(live, 1), leastPercent), gcPercent))
}

// liveBytes is what lived in the heap when it was collected last.
func liveBytes() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}
