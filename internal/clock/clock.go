// Package clock lets the instant be given rather than taken.
//
// Pure code receives an instant as an argument. What has to ask for one holds a Clock from its configuration, so that a
// test can live ten years in a millisecond.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time. Implementations are safe for concurrent use.
type Clock interface {
	// Now returns the present instant. It may carry a monotonic reading; Micro drops it.
	Now() time.Time
}

// System is the machine's clock.
type System struct{}

// Now returns time.Now.
func (System) Now() time.Time { return time.Now() }

// Manual is a clock that stands still until it is moved. Its zero value stands at the zero time.
type Manual struct {
	mu  sync.Mutex
	now time.Time
}

// NewManual returns a clock that stands at now.
func NewManual(now time.Time) *Manual { return &Manual{now: now} }

// Now returns the instant at which the clock stands.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Advance moves the clock by d, which may be negative, and returns the new instant.
func (m *Manual) Advance(d time.Duration) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
	return m.now
}

// Micro returns t as the store and the wire keep it: UTC, whole microseconds, no monotonic reading.
func Micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
