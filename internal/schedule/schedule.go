package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Schedule is a rule within a window of a time zone. The zero Schedule makes nothing due.
type Schedule struct {
	Rule   Rule
	Window Window
	// Zone is UTC when it is nil.
	Zone *time.Location
}

// Parse reads "RULE [window WINDOW] [zone ZONE]".
func Parse(text string) (Schedule, error) {
	var s Schedule
	rest, zone, zoned := cutWord(text, "zone")
	rule, window, windowed := cutWord(rest, "window")
	var err error
	if s.Rule, err = ParseRule(rule); err != nil {
		return Schedule{}, err
	}
	if windowed {
		if s.Window, err = ParseWindow(window); err != nil {
			return Schedule{}, err
		}
	}
	if zoned {
		if s.Zone, err = parseZone(zone); err != nil {
			return Schedule{}, err
		}
	}
	return s, s.Check(0)
}

// cutWord cuts the text around a word that stands alone.
func cutWord(text, word string) (before, after string, found bool) {
	fields := strings.Fields(text)
	for i, f := range fields {
		if f == word {
			return strings.Join(fields[:i], " "), strings.Join(fields[i+1:], " "), true
		}
	}
	return text, "", false
}

// parseZone reads a name of the IANA database. What a host calls its local zone means something else on the next.
func parseZone(name string) (*time.Location, error) {
	if name == "UTC" {
		return nil, nil
	}
	l, err := time.LoadLocation(name)
	if err != nil || name == "" || strings.EqualFold(name, "local") {
		return nil, fault.New(fault.Invalid, `%s is not a time zone: use a name of the IANA database, such as "Europe/Vienna" or "UTC"`, quote(name))
	}
	return l, nil
}

// String returns the canonical form, which Parse reads.
func (s Schedule) String() string {
	text := s.Rule.String()
	if !s.Window.IsZero() {
		text += " window " + s.Window.String()
	}
	if s.Zone != nil && s.Zone != time.UTC {
		text += " zone " + s.Zone.String()
	}
	return text
}

// IsZero reports whether there is no schedule.
func (s Schedule) IsZero() bool { return s.Rule.IsZero() }

// MarshalText implements encoding.TextMarshaler.
func (s Schedule) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. An empty text is the zero Schedule.
func (s *Schedule) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*s = Schedule{}
		return nil
	}
	*s, err = Parse(string(text))
	return err
}

func (s *Schedule) zone() *time.Location {
	if s.Zone == nil {
		return time.UTC
	}
	return s.Zone
}

// Check refuses a schedule that could not be kept: a window shorter than what is done in it, or that opens less often than the
// interval asks for.
func (s *Schedule) Check(need time.Duration) error {
	if s.Window.IsZero() {
		return nil
	}
	if need > s.Window.Length {
		return fault.New(fault.Invalid, "the window %q is too short: a run needs %s", s.Window, formatInterval(need.Round(time.Second)))
	}
	if gap := s.Window.longestGap(); s.Rule.every > 0 && s.Rule.every < gap {
		return fault.New(fault.Invalid, "the window %q opens %s apart, which is longer than the interval of %q: open it more often, or choose a longer interval",
			s.Window, formatInterval(gap), s.Rule)
	}
	return nil
}

// longestGap is the longest time between two openings, in days of 24 hours.
func (w Window) longestGap() time.Duration {
	longest, since := 0, 0
	for n := range 14 {
		since++
		if w.On(time.Weekday(n % 7)) {
			if n >= 7 {
				longest = max(longest, since)
			}
			since = 0
		}
	}
	return time.Duration(longest) * day
}

// Due says when the next run is due.
type Due struct {
	// At is when it may start first.
	At time.Time
	// Limit is when it must have started, by the rule: the last success plus the period, or the next time of the calendar but one.
	Limit time.Time
	// Late is set when no window opens before the limit; At is then the first opening after it.
	Late bool
}

// maxJitter is the part of a period by which runs are spread: a tenth.
const maxJitter = 10

// Due returns when the next run of the object is due, of which one succeeded last at the given time, and which takes need. An interval
// is shortened by up to a tenth, by a hash of the id, so that what was set up together spreads out. Outside of the window it waits for
// the next opening that is not later than the limit, or else begins in the one before. ok is false when nothing is due any more.
func (s *Schedule) Due(last time.Time, id string, need time.Duration) (due Due, ok bool) {
	if s.Rule.every > 0 {
		return s.interval(last, id, need), true
	}
	at, ok := s.Rule.Next(last, s.zone())
	if !ok {
		return Due{}, false
	}
	limit, again := s.Rule.Next(at, s.zone())
	if !again {
		limit = at.Add(day)
	}
	due = Due{At: at, Limit: limit}
	if !s.Window.IsZero() {
		due.At = s.Window.from(at, s.within(need), s.zone())
		due.Late = due.At.After(limit)
	}
	return due, true
}

func (s *Schedule) interval(last time.Time, id string, need time.Duration) Due {
	limit := last.Add(s.Rule.every)
	at := limit.Add(-jitter(id, s.Rule.every/maxJitter))
	if s.Window.IsZero() {
		return Due{At: at, Limit: limit}
	}
	need = s.within(need)
	next := s.Window.from(at, need, s.zone())
	if !next.After(limit) {
		return Due{At: next, Limit: limit}
	}
	if early := s.earlier(last, at, need); !early.IsZero() {
		return Due{At: early, Limit: limit}
	}
	return Due{At: next, Limit: limit, Late: true}
}

// earlier returns a time of the last opening before at, but after the last success; zero when there is none.
func (s *Schedule) earlier(last, at time.Time, need time.Duration) time.Time {
	w := s.Window.before(at, s.zone())
	if w.open.After(last) {
		return w.open
	}
	// The last success was in this very opening. What is left of it is halved, so that neither end is missed.
	if end := w.latest(need); end.After(last) {
		return last.Add((end.Sub(last) + 1) / 2)
	}
	return time.Time{}
}

// within is a need that some opening can hold; Check refuses the longer ones.
func (s *Schedule) within(need time.Duration) time.Duration { return min(need, s.Window.Length) }

// jitter is the part of most that an id stands for, the same each time.
func jitter(id string, most time.Duration) time.Duration {
	h := sha256.Sum256([]byte(id)) // ids that follow each other must not be due together
	return time.Duration(float64(most) * float64(binary.BigEndian.Uint32(h[:4])) / (1 << 32))
}

// Latest returns the last time up to t, and after since, at which a run that takes need may start; ok is false when there is none.
func (s *Schedule) Latest(since, t time.Time, need time.Duration) (at time.Time, ok bool) {
	if s.Window.IsZero() {
		return t, t.After(since)
	}
	for _, w := range slices.Backward(s.Window.around(t, s.zone())) {
		if at = w.latest(need); at.After(t) {
			at = t
		}
		if !at.Before(w.open) {
			return at, at.After(since)
		}
	}
	return time.Time{}, false
}

// Opens returns the first time not before now at which a run that takes need may start: none starts with less of its window left. ok is false when the window is
// too short for it.
func (s *Schedule) Opens(now time.Time, need time.Duration) (at time.Time, ok bool) {
	switch {
	case s.Window.IsZero():
		return now, true
	case need > s.Window.Length:
		return time.Time{}, false
	}
	return s.Window.from(now, need, s.zone()), true
}
