package schedule

import (
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// cron is a rule of the calendar.
type cron struct {
	minutes, hours, months set
	// everyHour is set when the hours field leaves out none: then the rule follows the elapsed time where clocks change.
	everyHour bool
	// years are counted from firstYear; nil means all.
	years *set
	days  days
}

// days decides about days.
type days interface {
	match(year int, month time.Month, d int) bool
}

var (
	minuteField  = field{name: "minutes", max: 59}
	hourField    = field{name: "hours", max: 23}
	dayField     = field{name: "day-of-month", min: 1, max: 31}
	monthField   = field{name: "month", min: 1, max: 12, names: monthNames}
	weekdayField = field{name: "day-of-week", max: 7, names: dayNames}
	namedRules   = map[string]string{"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
		"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}
)

// crontabDays are the days of five fields: where both are restricted, a day that either names (POSIX, crontab). Bits are days of the
// month, and days of the week with Sunday at 0.
type crontabDays struct {
	month, week       set
	anyMonth, anyWeek bool
}

func (c *crontabDays) match(year int, month time.Month, d int) bool {
	inMonth, inWeek := c.month.has(d), c.week.has(int(weekday(year, month, d)))
	if c.anyMonth || c.anyWeek {
		return inMonth && inWeek
	}
	return inMonth || inWeek
}

func weekday(year int, month time.Month, d int) time.Weekday {
	return time.Date(year, month, d, 0, 0, 0, 0, time.UTC).Weekday()
}

// daysIn returns the length of a month.
func daysIn(year int, month time.Month) int {
	return time.Date(year, month+1, 0, 0, 0, 0, 0, time.UTC).Day()
}

func parseNamed(name string) (Rule, error) {
	text, ok := namedRules[name]
	if !ok {
		return Rule{}, fault.New(fault.Invalid, "%s is not a schedule: the names are @hourly, @daily, @weekly, @monthly and @yearly", quote(name))
	}
	return parseCron(strings.Fields(text))
}

// parseCron reads five fields: minutes, hours, day of the month, month, day of the week.
func parseCron(fields []string) (Rule, error) {
	c, d := new(cron), new(crontabDays)
	for _, f := range []struct {
		field *field
		text  string
		into  *set
	}{{&minuteField, fields[0], &c.minutes}, {&hourField, fields[1], &c.hours}, {&dayField, fields[2], &d.month}, {&monthField, fields[3], &c.months},
		{&weekdayField, fields[4], &d.week}} {
		var err error
		if *f.into, err = f.field.parse(f.text, 0); err != nil {
			return Rule{}, err
		}
	}
	// 7 is Sunday too.
	if d.week.has(7) {
		d.week.add(0)
	}
	// A field that begins with a star is unrestricted, with a step too: so crontab decides whether the other alone counts.
	d.anyMonth, d.anyWeek = fields[2][0] == '*', fields[4][0] == '*'
	c.days = d
	return c.rule(strings.ToUpper(strings.Join(fields, " ")))
}

// rule returns the rule, unless it can never happen.
func (c *cron) rule(text string) (Rule, error) {
	c.everyHour = c.hours.len() == 24
	if _, ok := c.next(time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC).Add(-1), time.UTC); !ok {
		return Rule{}, fault.New(fault.Invalid, "the cron rule %s never happens: no month that it names has such a day", quote(text))
	}
	return Rule{text: text, cron: c}, nil
}

// horizon is how many years a rule without years is looked ahead: 29 February may be eight years away, around 2100.
const horizon = 8

func (c *cron) next(after time.Time, zone *time.Location) (time.Time, bool) {
	begin := dateOf(after.In(zone))
	if !begin.even(zone) {
		begin = begin.plus(-1) // clocks put back at midnight lead into the day before
	}
	year, month, first := begin.year, begin.month, begin.day
	last := year + horizon + 1
	if c.years != nil {
		last = lastYear
	}
	for ; year <= last; year, month, first = year+1, time.January, 1 {
		if c.years != nil && !c.years.has(year-firstYear) {
			continue
		}
		for ; month <= time.December; month, first = month+1, 1 {
			if !c.months.has(int(month)) {
				continue
			}
			for d, n := first, daysIn(year, month); d <= n; d++ {
				if !c.days.match(year, month, d) {
					continue
				}
				if t, ok := c.nextOn(date{year, month, d}, after, zone); ok {
					return t, true
				}
			}
		}
	}
	return time.Time{}, false
}

// nextOn returns the first time of a local day that is after the given one.
func (c *cron) nextOn(d date, after time.Time, zone *time.Location) (best time.Time, found bool) {
	even := d.even(zone)
	hour := 0
	if local := after.In(zone); even && d.is(local) {
		hour = local.Hour()
	}
	for hour = c.hours.from(hour); hour >= 0; hour = c.hours.from(hour + 1) {
		for minute := c.minutes.from(0); minute >= 0; minute = c.minutes.from(minute + 1) {
			for _, t := range d.at(hour, minute, zone, even, c.everyHour) {
				if t.After(after) && (!found || t.Before(best)) {
					best, found = t, true
				}
			}
			// On a day without a change of clocks the times are in order.
			if found && even {
				return best, true
			}
		}
	}
	return best, found
}
