package history

import (
	"fmt"
	"sync"
	"time"
)

// Count is the history of a value that one client counts up from 0, which is what is there before the first write. Its methods may be called from several goroutines.
type Count struct {
	mu sync.Mutex
	// acknowledged is when each number was, the first one 0.
	acknowledged []time.Time
	begun        int64
	worst        time.Duration
}

// NewCount makes a count that is 0 now.
func NewCount() *Count { return &Count{acknowledged: []time.Time{time.Now()}} }

// Begin returns the number to write next.
func (c *Count) Begin() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun = int64(len(c.acknowledged))
	return c.begun
}

// Acknowledge records that the number which was begun is written.
func (c *Count) Acknowledge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acknowledged = append(c.acknowledged, time.Now())
}

// Acknowledged is the newest number that was.
func (c *Count) Acknowledged() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int64(len(c.acknowledged) - 1)
}

// Read judges one read that began at an instant and returned got, by a reader who got last before it. It returns what is wrong.
func (c *Count) Read(got, last int64, began time.Time, staleness time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if got > c.begun {
		return fmt.Errorf("it is %d, of %d that were begun", got, c.begun)
	}
	if got < last {
		return fmt.Errorf("it went back from %d to %d", last, got)
	}
	if got+1 >= int64(len(c.acknowledged)) {
		return nil
	}
	behind := began.Sub(c.acknowledged[got+1])
	c.worst = max(c.worst, behind)
	if behind > staleness {
		return fmt.Errorf("it is %d, %s after %d was acknowledged", got, behind, got+1)
	}
	return nil
}

// Worst is how far the most stale read was behind.
func (c *Count) Worst() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.worst
}
