package schedule

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Rule says when something happens. The zero Rule never does.
type Rule struct {
	// text is the canonical form, from which Parse makes the same rule.
	text string
	// Exactly one of the two is set.
	every time.Duration
	cron  *cron
}

// Bounds of intervals. A shorter one could not be told from a program that runs wild, a longer one is a typing mistake.
const (
	minInterval = time.Minute
	maxInterval = 20 * 366 * day
)

const day = 24 * time.Hour

// Every returns the rule of an interval.
func Every(d time.Duration) (Rule, error) {
	if d < minInterval || d > maxInterval {
		return Rule{}, fault.New(fault.Invalid, "an interval of %s is out of bounds: choose between one minute and twenty years", d)
	}
	if d%time.Second != 0 {
		return Rule{}, fault.New(fault.Invalid, "the interval %s has a fraction of a second: give whole seconds", d)
	}
	return Rule{text: "every " + formatInterval(d), every: d}, nil
}

// ParseRule reads a rule in any of its forms.
func ParseRule(s string) (Rule, error) {
	fields := strings.Fields(s)
	text := strings.Join(fields, " ")
	switch {
	case len(fields) == 0:
		return Rule{}, fault.New(fault.Invalid, `the schedule is empty: give an interval such as "every 30d" or a cron rule`)
	case strings.EqualFold(fields[0], "every"):
		d, err := parseInterval(strings.Join(fields[1:], ""))
		if err != nil {
			return Rule{}, err
		}
		return Every(d)
	case strings.HasPrefix(text, "rate(") && strings.HasSuffix(text, ")"):
		return parseRate(text[len("rate(") : len(text)-1])
	case strings.HasPrefix(text, "cron(") && strings.HasSuffix(text, ")"):
		return parseAWSCron(text[len("cron(") : len(text)-1])
	case strings.HasPrefix(text, "@"):
		return parseNamed(strings.ToLower(text))
	case len(fields) == 5:
		return parseCron(fields)
	}
	return Rule{}, fault.New(fault.Invalid, `%s is not a schedule: use "every 30d", "rate(30 days)", five cron fields, or cron(...) with six`, quote(s))
}

// IsZero reports whether the rule never happens because there is none.
func (r Rule) IsZero() bool { return r.text == "" }

// Interval returns the period of an interval, or 0 for a rule of the calendar.
func (r Rule) Interval() time.Duration { return r.every }

// String returns the canonical form.
func (r Rule) String() string { return r.text }

// MarshalText implements encoding.TextMarshaler.
func (r Rule) MarshalText() ([]byte, error) { return []byte(r.text), nil }

// UnmarshalText implements encoding.TextUnmarshaler. An empty text is the zero Rule.
func (r *Rule) UnmarshalText(text []byte) (err error) {
	if len(text) == 0 {
		*r = Rule{}
		return nil
	}
	*r, err = ParseRule(string(text))
	return err
}

// Next returns the first time after the given one at which the rule happens: for an interval, one period later. It is in
// whole minutes of the zone for a rule of the calendar. ok is false when it never happens again.
func (r Rule) Next(after time.Time, zone *time.Location) (next time.Time, ok bool) {
	switch {
	case r.every > 0:
		return after.Add(r.every), true
	case r.cron != nil:
		return r.cron.next(after, zone)
	}
	return time.Time{}, false
}

// units of intervals, the longest first.
var units = []struct {
	letter byte
	length time.Duration
}{{'w', 7 * day}, {'d', day}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

func parseInterval(s string) (time.Duration, error) {
	bad := fault.New(fault.Invalid, `%s is not an interval: write numbers with w, d, h, m or s, such as "30d" or "1d12h"`, quote(s))
	var total time.Duration
	for rest := s; rest != "" || s == ""; {
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		if i == 0 || i == len(rest) {
			return 0, bad
		}
		length := unitOf(rest[i])
		n, err := strconv.ParseInt(rest[:i], 10, 64)
		if err != nil || length == 0 || n > int64((math.MaxInt64-total)/length) {
			return 0, bad
		}
		total += time.Duration(n) * length
		rest = rest[i+1:]
	}
	return total, nil
}

func unitOf(letter byte) time.Duration {
	for _, u := range units {
		if u.letter == letter {
			return u.length
		}
	}
	return 0
}

// formatInterval is the inverse of parseInterval. Weeks are written as days: people compare limits in days.
func formatInterval(d time.Duration) string {
	var b strings.Builder
	for _, u := range units[1:] {
		if n := d / u.length; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10))
			b.WriteByte(u.letter)
			d -= n * u.length
		}
	}
	if b.Len() == 0 {
		return "0s"
	}
	return b.String()
}

// quote shows a piece of what was given, shortened.
func quote(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}
