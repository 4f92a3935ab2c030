package schedule

import (
	"fmt"
	"strings"
	"time"

	_ "time/tzdata" // a schedule means the same on a host without zone files

	"github.com/keywright/keywright/internal/fault"
)

// Window is when changes may begin: on some days of the week, from a local time on, for a length of elapsed time. The zero Window
// is always open.
type Window struct {
	// Days are bits of time.Weekday; 0 means every day.
	Days uint8
	// Start is the local time in minutes since midnight.
	Start int
	// Length is at most a day, so that windows of following days touch at most.
	Length time.Duration
}

// IsZero reports whether the window is always open.
func (w Window) IsZero() bool { return w.Length == 0 }

// On reports whether the window opens on the day of the week.
func (w Window) On(d time.Weekday) bool { return w.Days == 0 || w.Days&(1<<d) != 0 }

// String returns the form that ParseWindow reads: "sat,sun 02:00+4h". The zero Window is empty.
func (w Window) String() string {
	if w.IsZero() {
		return ""
	}
	names := ""
	if w.Days != 0 {
		var on []string
		for d, name := range dayNames {
			if w.On(time.Weekday(d)) {
				on = append(on, strings.ToLower(name))
			}
		}
		names = strings.Join(on, ",") + " "
	}
	return fmt.Sprintf("%s%02d:%02d+%s", names, w.Start/60, w.Start%60, formatInterval(w.Length))
}

// weekdays reads lists and ranges of names, such as mon-fri.
var weekdays = field{name: "days", min: 0, max: 6, names: dayNames, wraps: true}

// ParseWindow reads "[DAYS ]HH:MM+LENGTH", as in "mon-fri 22:30+6h".
func ParseWindow(s string) (Window, error) {
	fields := strings.Fields(s)
	bad := fault.New(fault.Invalid, `%s is not a window: write the days, if not all, a start and a length, as in "sat,sun 02:00+4h"`, quote(s))
	if len(fields) < 1 || len(fields) > 2 {
		return Window{}, bad
	}
	var w Window
	if len(fields) == 2 {
		if strings.ContainsAny(fields[0], "*/0123456789") {
			return Window{}, bad
		}
		on, err := weekdays.parse(fields[0], 0)
		if err != nil {
			return Window{}, bad
		}
		// Every day of the week by name is the same as none named.
		if w.Days = uint8(on[0]); w.Days == 1<<7-1 {
			w.Days = 0
		}
	}
	start, length, ok := strings.Cut(fields[len(fields)-1], "+")
	if !ok || len(start) != 5 || start[2] != ':' {
		return Window{}, bad
	}
	hour, ok1 := number(start[:2])
	minute, ok2 := number(start[3:])
	if !ok1 || !ok2 || hour > 23 || minute > 59 {
		return Window{}, bad
	}
	w.Start = hour*60 + minute
	var err error
	if w.Length, err = parseInterval(length); err != nil {
		return Window{}, err
	}
	if w.Length < time.Minute || w.Length > day {
		return Window{}, fault.New(fault.Invalid, "the window %s is out of bounds: its length is between one minute and one day", quote(s))
	}
	return w, nil
}

// span is one opening of a window: it begins at open, and is over at close.
type span struct{ open, close time.Time }

// fits reports whether something that takes need may begin at t.
func (s span) fits(t time.Time, need time.Duration) bool {
	return !t.Before(s.open) && !t.Add(need).After(s.close)
}

// latest is when something that takes need may begin last.
func (s span) latest(need time.Duration) time.Time { return s.close.Add(-need) }

func (w Window) spanOn(d date, zone *time.Location) span {
	open := d.start(w.Start/60, w.Start%60, zone)
	return span{open, open.Add(w.Length)}
}

// around returns the openings from some days before t to some days after, in order. A week and a day each way holds the one before,
// and the one after, whatever the days.
func (w Window) around(t time.Time, zone *time.Location) []span {
	const reach = 8
	today := dateOf(t.In(zone))
	var list []span
	for n := -reach; n <= reach; n++ {
		if d := today.plus(n); w.On(d.weekday()) {
			list = append(list, w.spanOn(d, zone))
		}
	}
	return list
}

// from returns the first time not before t at which something that takes need may begin; need is at most the window's length.
func (w Window) from(t time.Time, need time.Duration, zone *time.Location) time.Time {
	for _, s := range w.around(t, zone) {
		if s.fits(t, need) {
			return t
		}
		if s.open.After(t) {
			return s.open
		}
	}
	return time.Time{} // not reached: a week has an opening
}

// before returns the last opening that begins not after t.
func (w Window) before(t time.Time, zone *time.Location) (last span) {
	for _, s := range w.around(t, zone) {
		if s.open.After(t) {
			break
		}
		last = s
	}
	return last
}
