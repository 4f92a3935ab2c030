package door

import (
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// lastSecond is the end of the year 9999, the last that RFC 3339 can write, in seconds since 1970.
const lastSecond = 253402300799

// Instant reads an attribute that Azure's protocols write as seconds since 1970. Nothing is the zero time; what is no instant of the years
// 1970 to 9999 is a fault.Invalid.
func Instant(name string, seconds *int64) (time.Time, error) {
	if seconds == nil {
		return time.Time{}, nil
	}
	if *seconds < 0 || *seconds > lastSecond {
		return time.Time{}, fault.New(fault.Invalid, "the attribute %q is not an instant: give seconds since 1970, at most %d", name, int64(lastSecond))
	}
	return time.Unix(*seconds, 0).UTC(), nil
}
