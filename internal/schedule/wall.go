package schedule

import "time"

// date is a day of the calendar.
type date struct {
	year  int
	month time.Month
	day   int
}

func dateOf(t time.Time) date {
	y, m, d := t.Date()
	return date{y, m, d}
}

func (d date) is(t time.Time) bool { return dateOf(t) == d }

func (d date) plus(days int) date {
	return dateOf(time.Date(d.year, d.month, d.day+days, 0, 0, 0, 0, time.UTC))
}

func (d date) weekday() time.Weekday { return weekday(d.year, d.month, d.day) }

func (d date) wall(hour, minute int, zone *time.Location) time.Time {
	return time.Date(d.year, d.month, d.day, hour, minute, 0, 0, zone)
}

// even reports whether no clocks are changed on the day, nor so shortly around it that it matters.
func (d date) even(zone *time.Location) bool {
	_, before := d.wall(-3, 0, zone).Zone()
	_, after := d.wall(27, 0, zone).Zone()
	return before == after
}

// at returns the instants of a local time: one, as a rule. In a gap it is the end of the gap, and none with elapsed; of a time that
// exists twice it is the first, and both with elapsed.
func (d date) at(hour, minute int, zone *time.Location, even, elapsed bool) []time.Time {
	t := d.wall(hour, minute, zone)
	if even {
		return []time.Time{t}
	}
	if t.Hour() != hour || t.Minute() != minute || !d.is(t) {
		if elapsed {
			return nil
		}
		return []time.Time{gapEnd(t, zone)}
	}
	first, second := occurrences(t)
	if elapsed && !second.IsZero() {
		return []time.Time{first, second}
	}
	return []time.Time{first}
}

// start is at for what happens once.
func (d date) start(hour, minute int, zone *time.Location) time.Time {
	return d.at(hour, minute, zone, d.even(zone), false)[0]
}

// around is how far from an instant a change of clocks is looked for; the largest known shift, of a whole day, was skipped days of
// Pacific islands, and a gap of theirs ends at midnight.
const around = 25 * time.Hour

// gapEnd returns the first instant after a gap near t, which is what time.Date made of a local time that does not exist.
func gapEnd(t time.Time, zone *time.Location) time.Time {
	// The change is the only one between the two ends; bisect to the second.
	low, high := t.Add(-around), t.Add(around)
	_, before := low.In(zone).Zone()
	for high.Sub(low) > time.Second {
		middle := low.Add(high.Sub(low) / 2).Truncate(time.Second)
		if middle.Equal(low) {
			break
		}
		if _, offset := middle.In(zone).Zone(); offset == before {
			low = middle
		} else {
			high = middle
		}
	}
	return high.Truncate(time.Second).In(zone)
}

// occurrences returns both instants that have the local time of t; second is zero when there is only one.
func occurrences(t time.Time) (first, second time.Time) {
	_, offset := t.Zone()
	for _, probe := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
		_, other := t.Add(probe).Zone()
		if other == offset {
			continue
		}
		twin := t.Add(time.Duration(offset-other) * time.Second)
		if _, o := twin.Zone(); o != other {
			continue // the same local time does not exist with the other offset
		}
		if twin.Before(t) {
			return twin, t
		}
		return t, twin
	}
	return t, time.Time{}
}
