package rotation

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

// What expires or gets too old is due in a window, before the date if one opens.
func TestDatesAreMovedIntoWindows(t *testing.T) {
	// Noon is a Sunday.
	const windows = "every 365d window sat 02:00+4h"
	for _, c := range []struct {
		name    string
		length  time.Duration
		set     time.Time
		expires time.Duration
		want    time.Duration
		closed  bool
	}{
		{name: "the last opening before, with room for the run", length: time.Hour, set: noon, expires: 10 * day, want: 5*day + 21*time.Hour - 4*time.Hour},
		{name: "within an opening", length: time.Hour, set: noon, expires: 5*day + 15*time.Hour, want: 5*day + 15*time.Hour},
		{name: "within one with too little left of it", length: time.Hour, set: noon, expires: 5*day + 17*time.Hour + 30*time.Minute, want: 5*day + 17*time.Hour},
		{name: "none before", set: noon, expires: 3 * day, want: 5*day + 14*time.Hour},
		{name: "none since the last success", set: noon.Add(6 * day), expires: 8 * day, want: 12*day + 14*time.Hour},
		{name: "a run that is longer than the window", length: 9 * time.Hour, set: noon, expires: 10 * day, want: 5*day + 16*time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &policyDoc{Policy: Policy{Strategy: rotator.Dual, Schedule: windows}, State: policyState{Set: c.set, Length: Duration(c.length)}}
			got := d.due("object", &vault.Version{Attributes: vault.Attributes{Created: noon, Expires: noon.Add(c.expires)}})
			if in := got.Sub(noon); in != c.want || d.State.Cause != Expiring {
				t.Errorf("due in %s because of %s, want %s", in, d.State.Cause, c.want)
			}
		})
	}
}

// A run that the queue held back begins in the next window, and one that a person asked for begins at once.
func TestNoRunBeginsOutsideOfItsWindow(t *testing.T) {
	p := Policy{Schedule: "every 30d window 02:00+4h"}
	r := newRotation("run", noon, Start{Cause: Scheduled}, p, DefaultPace)
	r, effects, why := Next(r, Observation{}, noon)
	if len(effects) > 0 || why != WindowClosed || !r.NextAt.Equal(noon.Add(14*time.Hour)) {
		t.Fatalf("%v (%s) at noon, next at %s", effects, why, r.NextAt)
	}
	r.Need = Duration(time.Hour)
	late := noon.Add(17*time.Hour + time.Minute)
	if next, effects, _ := Next(r, Observation{}, late); len(effects) > 0 || !next.NextAt.Equal(noon.Add(38*time.Hour)) {
		t.Errorf("it begins %s before the window closes: %v", noon.Add(18*time.Hour).Sub(late), effects)
	}
	if _, effects, _ := Next(r, Observation{}, late.Add(-2*time.Minute)); !has(effects, CallLook) {
		t.Errorf("it does not begin in its window: %v", effects)
	}
	for _, cause := range []Cause{OnDemand, Leaked, Emergency, Dependency} {
		r.Start.Cause = cause
		if _, effects, _ := Next(r, Observation{}, noon); !has(effects, CallLook) {
			t.Errorf("a run for %s waits for a window", cause)
		}
	}
}
