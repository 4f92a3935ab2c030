package schedule

import (
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// The years of Amazon's cron expressions (EventBridge User Guide, "Cron expressions reference").
const firstYear, lastYear = 1970, 2199

// The fields of Amazon's cron expressions, whose days of the week go from 1, Sunday, to 7.
var (
	awsHourField    = field{name: "hours", max: 23, wraps: true}
	awsMinuteField  = field{name: "minutes", max: 59, wraps: true}
	awsDayField     = field{name: "day-of-month", min: 1, max: 31, wraps: true}
	awsMonthField   = field{name: "month", min: 1, max: 12, names: monthNames, wraps: true}
	awsWeekdayField = field{name: "day-of-week", min: 1, max: 7, names: dayNames, wraps: true}
	awsYearField    = field{name: "year", min: firstYear, max: lastYear}
)

// parseRate reads "10 days". The unit is singular for 1 and plural otherwise, as EventBridge insists.
func parseRate(s string) (Rule, error) {
	bad := func(format string, args ...any) (Rule, error) {
		return Rule{}, fault.New(fault.Invalid, "rate(%s) is not a rate: "+format, append([]any{strings.Trim(quote(s), `"`)}, args...)...)
	}
	fields := strings.Fields(s)
	if len(fields) != 2 {
		return bad(`write a number and a unit, such as "10 days"`)
	}
	n, ok := number(fields[0])
	if !ok || n < 1 || fields[0][0] == '0' {
		return bad("the number is a positive one of at most four digits")
	}
	unit, plural := strings.CutSuffix(fields[1], "s")
	if plural == (n == 1) {
		return bad("the unit is singular for 1 and plural for more")
	}
	length, ok := map[string]time.Duration{"minute": time.Minute, "hour": time.Hour, "day": day}[unit]
	if !ok {
		return bad("units are minutes, hours and days")
	}
	return Rule{text: "rate(" + strings.Join(fields, " ") + ")", every: time.Duration(n) * length}, nil
}

// parseAWSCron reads six fields: minutes, hours, day of the month, month, day of the week, year.
func parseAWSCron(s string) (Rule, error) {
	fields := strings.Fields(strings.ToUpper(s))
	if len(fields) != 6 {
		return Rule{}, fault.New(fault.Invalid, "cron(%s) has %d fields: Amazon's rules have six, the last of which is the year",
			strings.Trim(quote(s), `"`), len(fields))
	}
	c := &cron{years: new(set)}
	for _, f := range []struct {
		field  *field
		text   string
		into   *set
		offset int
	}{{&awsMinuteField, fields[0], &c.minutes, 0}, {&awsHourField, fields[1], &c.hours, 0}, {&awsMonthField, fields[3], &c.months, 0},
		{&awsYearField, fields[5], c.years, firstYear}} {
		var err error
		if *f.into, err = f.field.parse(f.text, f.offset); err != nil {
			return Rule{}, err
		}
	}
	var err error
	if c.days, err = parseAWSDays(fields[2], fields[4]); err != nil {
		return Rule{}, err
	}
	return c.rule("cron(" + strings.Join(fields, " ") + ")")
}

// parseAWSDays reads the two fields of days, of which one must be a question mark.
func parseAWSDays(month, week string) (days, error) {
	switch {
	case (month == "?") == (week == "?"):
		return nil, fault.New(fault.Invalid, "exactly one of day-of-month %s and day-of-week %s must be ?: Amazon's rules name days in one of the two ways",
			quote(month), quote(week))
	case week == "?":
		return parseMonthDays(month)
	default:
		return parseWeekDays(week)
	}
}

// The ways in which a rule names days.
type (
	// monthDays are days of the month.
	monthDays set
	// lastDay is the last one.
	lastDay struct{}
	// lastWorkday is the last Monday to Friday.
	lastWorkday struct{}
	// workdayNear is the Monday to Friday closest to a day, within the month.
	workdayNear int
	// weekDays are days of the week, from 1 for Sunday.
	weekDays set
	// lastOf is the month's last such day of the week.
	lastOf time.Weekday
	// nthOf is the month's n-th such day of the week.
	nthOf struct {
		day time.Weekday
		n   int
	}
)

func parseMonthDays(text string) (days, error) {
	switch {
	case text == "L":
		return lastDay{}, nil
	case text == "LW", text == "WL":
		return lastWorkday{}, nil
	case strings.HasSuffix(text, "W"):
		n, err := awsDayField.value(text, strings.TrimSuffix(text, "W"))
		return workdayNear(n), err
	case strings.ContainsAny(text, "LW"):
		return nil, awsDayField.errorf(text, "L, LW and a day with W stand alone, without lists and ranges")
	}
	s, err := awsDayField.parse(text, 0)
	return monthDays(s), err
}

func parseWeekDays(text string) (days, error) {
	if text == "L" {
		s := set{}
		s.add(7)
		return weekDays(s), nil
	}
	if name, ok := strings.CutSuffix(text, "L"); ok {
		n, err := awsWeekdayField.value(text, name)
		return lastOf(n - 1), err
	}
	if name, nth, ok := strings.Cut(text, "#"); ok {
		d, err := awsWeekdayField.value(text, name)
		if err != nil {
			return nil, err
		}
		n, ok := number(nth)
		if !ok || n < 1 || n > 5 {
			return nil, awsWeekdayField.errorf(text, "behind # stands one number, from 1 to 5")
		}
		return nthOf{time.Weekday(d - 1), n}, nil
	}
	s, err := awsWeekdayField.parse(text, 0)
	return weekDays(s), err
}

func (s monthDays) match(_ int, _ time.Month, d int) bool { return (*set)(&s).has(d) }

func (s weekDays) match(year int, month time.Month, d int) bool {
	return (*set)(&s).has(int(weekday(year, month, d)) + 1)
}

func (lastDay) match(year int, month time.Month, d int) bool { return d == daysIn(year, month) }

func (lastWorkday) match(year int, month time.Month, d int) bool {
	return d == workdayClosest(year, month, daysIn(year, month))
}

func (n workdayNear) match(year int, month time.Month, d int) bool {
	return int(n) <= daysIn(year, month) && d == workdayClosest(year, month, int(n))
}

// workdayClosest never leaves the month: the first on a Saturday moves to Monday the third, the last on a Sunday to Friday.
func workdayClosest(year int, month time.Month, d int) int {
	switch weekday(year, month, d) {
	case time.Saturday:
		if d == 1 {
			return d + 2
		}
		return d - 1
	case time.Sunday:
		if d == daysIn(year, month) {
			return d - 2
		}
		return d + 1
	}
	return d
}

func (l lastOf) match(year int, month time.Month, d int) bool {
	return weekday(year, month, d) == time.Weekday(l) && d+7 > daysIn(year, month)
}

func (n nthOf) match(year int, month time.Month, d int) bool {
	return weekday(year, month, d) == n.day && (d-1)/7+1 == n.n
}
