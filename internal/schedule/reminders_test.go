package schedule_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/schedule"
)

// Whenever somebody looks, each reminder is told at most once, none before its time, the escalation exactly once, and Next never sleeps over one.
func TestReminders(t *testing.T) {
	const day = 24 * time.Hour
	begin := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		lead := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.IntRange(0, 40).Draw(t, "days")) * day })
		end := begin.Add(30 * day)
		remind, escalate := rapid.SliceOfN(lead, 0, 5).Draw(t, "remind"), lead.Draw(t, "escalate")
		r := schedule.Before(end, begin, remind, escalate)
		if !slices.IsSortedFunc(r.Remind, time.Time.Compare) {
			t.Fatalf("not in order: %v", r.Remind)
		}
		reminded, escalated := 0, 0
		for at := begin; !at.After(end); at = at.Add(time.Duration(rapid.IntRange(1, 5).Draw(t, "pause")) * day) {
			next := r.Next()
			reminds, escalates := r.Take(at)
			if due := !next.IsZero() && !next.After(at); due != (reminds || escalates) {
				t.Fatalf("at %s, with the next one at %s: %v, %v", at, next, reminds, escalates)
			}
			if escalates && at.Before(end.Add(-escalate)) {
				t.Fatalf("escalated %s before the end, %s were asked for", end.Sub(at), escalate)
			}
			if reminds {
				reminded++
			}
			if escalates {
				escalated++
			}
		}
		r.Take(end)
		if escalated > 1 || !r.Escalated || reminded > len(remind) || !r.Next().IsZero() {
			t.Fatalf("%d reminders of %v, %d escalations; left: %+v", reminded, remind, escalated, r)
		}
	})
}
