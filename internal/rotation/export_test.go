package rotation

import "time"

// MoveClock makes the engine believe that the wall clock was set: a test cannot take the two readings of an instant apart.
func (e *Engine) MoveClock(by time.Duration) {
	e.wall.jumps.mu.Lock()
	defer e.wall.jumps.mu.Unlock()
	e.wall.off += by
}
