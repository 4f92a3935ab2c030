// Package clocktest is a machine whose clock is set while a program runs.
package clocktest

import (
	"sync/atomic"
	"time"
	"unsafe"
)

// Stepped is the machine's clock, set by hours while it runs. As on a real machine the monotonic reading of an instant knows nothing of that. Its zero value is
// the clock as it is.
type Stepped struct{ by atomic.Int64 }

// Step sets the clock by a whole number of seconds, ahead or, with a minus, back. It counts from where earlier steps left the clock.
func (s *Stepped) Step(by time.Duration) { s.by.Add(int64(by / time.Second)) }

// Now implements clock.Clock.
func (s *Stepped) Now() time.Time { return set(time.Now(), s.by.Load()) }

// set moves what the wall shows and leaves the monotonic reading. There is no function for that in package time, since no program needs it: the seconds of the wall
// stand above 30 bits of nanoseconds in the first word of an instant that has both readings (time.Time, "wall encodes, from high bit to low bit").
func set(t time.Time, seconds int64) time.Time {
	const nanosecondBits = 30
	moved := t
	word := (*uint64)(unsafe.Pointer(&moved)) //nolint:gosec // see above; checked below
	*word += uint64(seconds) << nanosecondBits
	if moved.Sub(t) != 0 || moved.Round(0).Sub(t.Round(0)) != time.Duration(seconds)*time.Second {
		panic("the layout of time.Time is another one now: clocktest has to follow it")
	}
	return moved
}
