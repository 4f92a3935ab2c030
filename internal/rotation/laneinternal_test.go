package rotation

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A place that others may be waiting for rests as long as it was taken, but not longer than maxRest; one in a lane that has room is free at once.
func TestLaneRests(t *testing.T) {
	for _, c := range []struct {
		name        string
		places      int
		taken, rest time.Duration
	}{
		{"alone", 2, time.Millisecond, 0},
		{"contended", 1, time.Millisecond, time.Millisecond},
		{"contended, slow disk", 1, time.Second, maxRest},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := make(lane, c.places)
				leave := enter(t, l, false)
				time.Sleep(c.taken)
				leave()
				began := time.Now()
				for range c.places {
					defer enter(t, l, false)()
				}
				if rest := time.Since(began); rest != c.rest {
					t.Errorf("the next one waited %v, want %v", rest, c.rest)
				}
			})
		})
	}
}

// An urgent run needs no place, and whoever gives up gets none.
func TestFullLane(t *testing.T) {
	l := make(lane, 1)
	enter(t, l, false)
	enter(t, l, true)()
	if len(l) != 1 {
		t.Error("an urgent run gave back a place that it did not have")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.enter(ctx, false); !errors.Is(err, context.Canceled) {
		t.Errorf("entering a full lane with a context that is over: %v", err)
	}
}

func enter(t *testing.T, l lane, urgent bool) func() {
	t.Helper()
	leave, err := l.enter(t.Context(), urgent)
	if err != nil {
		t.Fatal(err)
	}
	return leave
}
