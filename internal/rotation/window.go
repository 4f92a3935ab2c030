package rotation

import (
	"time"

	"github.com/keywright/keywright/internal/schedule"
)

// windows are when a policy lets runs begin, for one that takes need.
type windows struct {
	schedule.Schedule
	need time.Duration
}

// windows reads those of the policy; a policy without a schedule has none, and may begin at any time. A run that took longer than half of a window may begin
// in the first half all the same: otherwise it would never begin again.
func (p *Policy) windows(length Duration) windows {
	s, err := schedule.Parse(p.Schedule)
	if err != nil {
		return windows{} // it was checked when it was set: it is empty
	}
	w := windows{s, length.Std()}
	if !s.Window.IsZero() {
		w.need = min(w.need, s.Window.Length/2)
	}
	return w
}

// align moves a date by which a run should begin into the windows: to the last time before it, or, when no window has been open since the last success,
// to the first time after it.
func (w windows) align(last, at time.Time) time.Time {
	if early, ok := w.Latest(last, at, w.need); ok {
		return early
	}
	return w.opens(at)
}

// opens is the first time from now on at which a run may begin.
func (w windows) opens(now time.Time) time.Time {
	if at, ok := w.Opens(now, w.need); ok {
		return at
	}
	return now
}

// windowed reports whether a run of this cause keeps to the windows. What a person asks for, and what follows a parent that changed already, does not.
func (c Cause) windowed() bool { return c == Scheduled || c == Expiring || c == TooOld }
