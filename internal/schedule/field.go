package schedule

import (
	"math/bits"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/fault"
)

// field is one of a cron rule's.
type field struct {
	name     string
	min, max int
	// names stand for min, min+1, ...
	names []string
	// wraps allows ranges that go over the end of the field, such as 20-2 or FRI-MON.
	wraps bool
}

var (
	monthNames = []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	dayNames   = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
)

// set holds the values of a field as bits: up to 60 for times and days; years are counted from the first.
type set [4]uint64

func (s *set) add(v int)      { s[v/64] |= 1 << (v % 64) }
func (s *set) has(v int) bool { return v >= 0 && v < 256 && s[v/64]&(1<<(v%64)) != 0 }

func (s *set) len() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// from returns the least value that is at least v, or -1.
func (s *set) from(v int) int {
	for ; v < 256; v++ {
		if s.has(v) {
			return v
		}
		if s[v/64]>>(v%64) == 0 {
			v |= 63
		}
	}
	return -1
}

func (f *field) errorf(text, format string, args ...any) error {
	return fault.New(fault.Invalid, "the %s field %s of the cron rule is wrong: "+format, append([]any{f.name, quote(text)}, args...)...)
}

// parse reads a list of values, ranges and steps. Values are kept less offset.
func (f *field) parse(text string, offset int) (s set, err error) {
	for part := range strings.SplitSeq(text, ",") {
		if err := f.part(&s, text, part, offset); err != nil {
			return set{}, err
		}
	}
	return s, nil
}

// part reads "*", "5", "1-5", or one of them with a step, "*/2". "5/2" goes to the end of the field.
func (f *field) part(s *set, text, part string, offset int) error {
	span, stepText, stepped := strings.Cut(part, "/")
	step := 1
	if stepped {
		n, ok := number(stepText)
		if !ok || n < 1 || n > f.max {
			return f.errorf(text, "a step is a number from 1 to %d", f.max)
		}
		step = n
	}
	first, last := f.min, f.max
	if span != "*" {
		low, high, ranged := strings.Cut(span, "-")
		var err error
		if first, err = f.value(text, low); err != nil {
			return err
		}
		switch {
		case ranged:
			if last, err = f.value(text, high); err != nil {
				return err
			}
		case !stepped:
			last = first
		}
	}
	if last < first {
		if !f.wraps {
			return f.errorf(text, "the range ends before it begins")
		}
		last += f.max - f.min + 1
	}
	for v := first; v <= last; v += step {
		s.add((v-f.min)%(f.max-f.min+1) + f.min - offset)
	}
	return nil
}

func (f *field) value(text, v string) (int, error) {
	if n, ok := number(v); ok && n >= f.min && n <= f.max {
		return n, nil
	}
	for i, name := range f.names {
		if strings.EqualFold(name, v) {
			return f.min + i, nil
		}
	}
	if len(f.names) > 0 {
		return 0, f.errorf(text, "values are %d to %d, or names such as %s", f.min, f.max, f.names[0])
	}
	return 0, f.errorf(text, "values are %d to %d", f.min, f.max)
}

// number reads up to four digits and nothing else.
func number(s string) (int, bool) {
	if len(s) == 0 || len(s) > 4 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}
