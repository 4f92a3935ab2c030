package key

import (
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Period is a length of time in the calendar: years, months and days. It is written as in ISO 8601, such as P90D or P1Y6M, and keeps the way in which
// its owner wrote it.
type Period struct {
	text                string
	years, months, days int
}

// maxPeriodDays bounds each part of a period, in days: more than a hundred years is a mistake, and dates have an end.
const maxPeriodDays = 36525

// ParsePeriod reads a period of years, months and days. Weeks and times of the day are refused, as Key Vault does.
func ParsePeriod(s string) (Period, error) {
	p := Period{text: strings.Clone(s)}
	rest, ok := strings.CutPrefix(s, "P")
	if !ok || rest == "" || len(s) > 32 {
		return Period{}, badPeriod(s)
	}
	parts := []struct {
		mark byte
		into *int
		days int
	}{{'Y', &p.years, 365}, {'M', &p.months, 30}, {'D', &p.days, 1}}
	total := 0
	for _, part := range parts {
		number, after, found := strings.Cut(rest, string(part.mark))
		if !found {
			continue
		}
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || strings.HasPrefix(number, "+") || int(n)*part.days > maxPeriodDays {
			return Period{}, badPeriod(s)
		}
		*part.into, rest = int(n), after
		total += int(n) * part.days
	}
	if rest != "" || total == 0 || total > maxPeriodDays {
		return Period{}, badPeriod(s)
	}
	return p, nil
}

func badPeriod(s string) error {
	return fault.New(fault.Invalid, "%q is not a period of time: write years, months and days as in ISO 8601, such as P90D or P1Y6M", fault.Clip(strings.ToValidUTF8(s, "?")))
}

// String is the form that ParsePeriod read.
func (p Period) String() string { return p.text }

// IsZero reports whether there is no period.
func (p Period) IsZero() bool { return p.text == "" }

// After returns the instant that is the period later.
func (p Period) After(t time.Time) time.Time { return t.AddDate(p.years, p.months, p.days) }

// Before returns the instant that is the period earlier.
func (p Period) Before(t time.Time) time.Time { return t.AddDate(-p.years, -p.months, -p.days) }

// MarshalText returns the form that UnmarshalText reads.
func (p Period) MarshalText() ([]byte, error) { return []byte(p.text), nil }

// UnmarshalText reads a period.
func (p *Period) UnmarshalText(text []byte) (err error) {
	*p, err = ParsePeriod(string(text))
	return err
}
