package history

import (
	"cmp"
	"math"
	"slices"

	"github.com/anishathalye/porcupine"
)

// zone is the time in which one value has to have been there: from the first end of its operations to the last begin, or, where that is before, at one instant between.
type zone struct {
	firstEnd, lastBegin int64
	written             int64 // the begin of its write
	known               bool
	reads               []int64 // their ends
}

// zones decides as the model does, for values that are written once: P. B. Gibbons and E. Korach, Testing Shared Memories, SIAM Journal on Computing 26 (1997), section 4.
func zones(list []porcupine.Operation) porcupine.CheckResult {
	all := map[string]*zone{"": {firstEnd: math.MinInt64, lastBegin: math.MinInt64, written: math.MinInt64, known: true}}
	for _, o := range list {
		in := o.Input.(input)
		z := all[in.value]
		if z == nil {
			z = &zone{firstEnd: math.MaxInt64, lastBegin: math.MinInt64}
			all[in.value] = z
		}
		z.firstEnd, z.lastBegin = min(z.firstEnd, o.Return), max(z.lastBegin, o.Call)
		if in.write {
			z.known, z.written = true, o.Call
		} else {
			z.reads = append(z.reads, o.Return)
		}
	}
	var forward, backward []*zone
	for _, z := range all {
		if !z.known || slices.ContainsFunc(z.reads, func(end int64) bool { return end < z.written }) {
			return porcupine.Illegal // read before it was written
		}
		if z.firstEnd < z.lastBegin {
			forward = append(forward, z)
		} else {
			backward = append(backward, z)
		}
	}
	slices.SortFunc(forward, func(a, b *zone) int { return cmp.Compare(a.firstEnd, b.firstEnd) })
	for i := 1; i < len(forward); i++ {
		if forward[i].firstEnd < forward[i-1].lastBegin {
			return porcupine.Illegal // two values at one time
		}
	}
	for _, b := range backward {
		for _, f := range forward {
			if b.lastBegin > f.firstEnd && b.firstEnd < f.lastBegin {
				return porcupine.Illegal // it was never there but while another one was
			}
		}
	}
	return porcupine.Ok
}
