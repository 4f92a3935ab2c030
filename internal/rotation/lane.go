package rotation

import (
	"context"
	"runtime"
	"time"
)

// lane bounds how many runs at once do what costs this process: journal, ledger, leases. However many are at work, the others wait for their targets or for a
// place in the lane, and a place that others may be waiting for rests as long as it was taken: whoever reads meanwhile finds a processor. A run that is alone
// is not slowed, and an urgent one passes beside the lane.
type lane chan struct{}

// maxRest bounds the rest of a place, which is meant to balance work and not the waits for a slow disk.
const maxRest = 2 * time.Millisecond

// newLane has a place for each processor.
func newLane() lane { return make(lane, runtime.GOMAXPROCS(0)) }

// enter waits for a place, which the caller gives back with leave.
func (l lane) enter(ctx context.Context, urgent bool) (leave func(), err error) {
	if urgent {
		return func() {}, nil
	}
	select {
	case l <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	began := time.Now()
	return func() {
		if len(l) < cap(l) {
			<-l
			return
		}
		time.AfterFunc(min(time.Since(began), maxRest), func() { <-l })
	}, nil
}

// urgent reports whether the run goes before others.
func (r *Run) urgent() bool { return r.Rank >= urgentRank }
