package rotation

import "time"

// MoveClock makes the engine believe that the wall clock was set: a test cannot take the two readings of an instant apart.
func (e *Engine) MoveClock(by time.Duration) {
	e.jumps.mu.Lock()
	defer e.jumps.mu.Unlock()
	e.jumps.off += by
}
