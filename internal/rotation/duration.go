package rotation

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Duration is a length of time as policies write it: days, then hours, minutes and seconds, such as "90d", "1d12h" or "45m".
type Duration time.Duration

// Std returns the duration of the standard library.
func (d Duration) Std() time.Duration { return time.Duration(d) }

const day = 24 * time.Hour

// maxDays keeps every duration, and sums of a few, within what time.Duration can hold.
const maxDays = 36500

// ParseDuration reads a duration. It takes neither a sign nor anything above a hundred years.
func ParseDuration(s string) (Duration, error) {
	rest, total := s, time.Duration(0)
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 32)
		if err != nil || n > maxDays {
			return 0, badDuration(s)
		}
		total, rest = time.Duration(n)*day, after
		if rest == "" {
			return Duration(total), nil
		}
	}
	if rest == "" || rest[0] == '-' || rest[0] == '+' {
		return 0, badDuration(s)
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d > math.MaxInt64-total || total+d > maxDays*day {
		return 0, badDuration(s)
	}
	return Duration(total + d), nil
}

func badDuration(s string) error {
	const most = 32
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return fault.New(fault.Invalid, "%q is not a length of time: write days, hours, minutes or seconds, such as 90d, 36h or 15m", s)
}

// String is the form that ParseDuration reads.
func (d Duration) String() string {
	days, rest := time.Duration(d)/day, time.Duration(d)%day
	switch {
	case days == 0:
		return rest.String()
	case rest == 0:
		return strconv.FormatInt(int64(days), 10) + "d"
	}
	return strconv.FormatInt(int64(days), 10) + "d" + rest.String()
}

// MarshalText returns the form that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDuration(string(text))
	return err
}
