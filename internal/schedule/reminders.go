package schedule

import (
	"slices"
	"time"
)

// Reminders say when people hear of something again that they are to do until an instant: some while before that, and at an escalation also those
// who stand behind them. What is due is taken out, so that nothing is told twice.
type Reminders struct {
	// Remind is when reminders are still to go out, in ascending order; Escalate when the team hears of it.
	Remind    []time.Time `json:"remind,omitempty"`
	Escalate  time.Time   `json:"escalate"`
	Escalated bool        `json:"escalated,omitempty"`
}

// Before are the reminders so long before an end, those alone that are still to come, and an escalation so long before it; 0 is at the end.
func Before(end, now time.Time, remind []time.Duration, escalate time.Duration) Reminders {
	r := Reminders{Escalate: end.Add(-escalate)}
	for _, d := range remind {
		if at := end.Add(-d); at.After(now) {
			r.Remind = append(r.Remind, at)
		}
	}
	slices.SortFunc(r.Remind, time.Time.Compare)
	return r
}

// Take takes out what is due: a reminder, however many were missed, and the escalation.
func (r *Reminders) Take(now time.Time) (reminds, escalates bool) {
	for len(r.Remind) > 0 && !r.Remind[0].After(now) {
		r.Remind, reminds = r.Remind[1:], true
	}
	if !r.Escalated && !r.Escalate.After(now) {
		r.Escalated, escalates = true, true
	}
	return reminds, escalates
}

// Next is when Take has something; zero for never.
func (r *Reminders) Next() (at time.Time) {
	if len(r.Remind) > 0 {
		at = r.Remind[0]
	}
	if !r.Escalated && (at.IsZero() || r.Escalate.Before(at)) {
		at = r.Escalate
	}
	return at
}
