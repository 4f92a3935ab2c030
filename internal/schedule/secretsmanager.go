package schedule

import (
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Bounds of rotation schedules (AWS Secrets Manager User Guide, "Rotation schedules"; API reference, RotationRulesType).
const (
	minRotation = 4 * time.Hour
	maxRotation = 999 * day
)

// SecretsManager reads the ScheduleExpression and the Duration ("3h", or nothing) of a RotationRulesType. Such schedules are in UTC. One in
// days has a window from midnight, or from the hour of its cron expression, to the end of the day or as long as the duration says. One
// in hours may start at each of its times, and its duration only has to fit between them.
func SecretsManager(expression, duration string) (Schedule, error) {
	rule, err := ParseRule(expression)
	if err != nil {
		return Schedule{}, err
	}
	length, err := parseDuration(duration)
	if err != nil {
		return Schedule{}, err
	}
	switch {
	case strings.HasPrefix(rule.text, "rate("):
		return rotationRate(rule, length)
	case strings.HasPrefix(rule.text, "cron("):
		return rotationCron(rule, length)
	}
	return Schedule{}, notRotation(rule, "use rate(...) or cron(...)")
}

func notRotation(r Rule, format string, args ...any) error {
	return fault.New(fault.Invalid, "%q cannot be a rotation schedule: "+format, append([]any{r.text}, args...)...)
}

// parseDuration reads "[0-9]+h" of two or three characters; 0 stands for nothing given.
func parseDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	n, ok := number(strings.TrimSuffix(s, "h"))
	if !ok || len(s) < 2 || len(s) > 3 || s[len(s)-1] != 'h' || n < 1 || n > 24 {
		return 0, fault.New(fault.Invalid, `the duration %s of the rotation window is wrong: write hours, from "1h" to "24h"`, quote(s))
	}
	return time.Duration(n) * time.Hour, nil
}

func rotationRate(r Rule, length time.Duration) (Schedule, error) {
	switch {
	case strings.Contains(r.text, "minute"):
		return Schedule{}, notRotation(r, "its unit is hours or days")
	case r.every < minRotation || r.every > maxRotation:
		return Schedule{}, notRotation(r, "a secret is rotated every 4 hours at most, and every 999 days at least")
	case strings.Contains(r.text, "hour"):
		if length > r.every {
			return Schedule{}, notRotation(r, "its window of %s reaches into the next one", formatInterval(length))
		}
		return Schedule{Rule: r}, nil
	}
	return Schedule{Rule: r, Window: dayWindow(0, length)}, nil
}

func rotationCron(r Rule, length time.Duration) (Schedule, error) {
	fields := strings.Fields(strings.TrimSuffix(strings.TrimPrefix(r.text, "cron("), ")"))
	if fields[0] != "0" {
		return Schedule{}, notRotation(r, "the minutes must be 0, as windows open on the hour")
	}
	if fields[5] != "*" {
		return Schedule{}, notRotation(r, "the year must be *")
	}
	if strings.Contains(fields[2], "W") {
		return Schedule{}, notRotation(r, "W is not known there")
	}
	hours := r.cron.hours
	first := hours.from(0)
	if hours.len() == 1 {
		if time.Duration(first)*time.Hour+length > day {
			return Schedule{}, notRotation(r, "its window reaches into the next day: the hour and the duration add up to 24 at most")
		}
		return Schedule{Rule: r, Window: dayWindow(first, length)}, nil
	}
	gap := hourGap(hours)
	if gap < minRotation {
		return Schedule{}, notRotation(r, "its times are %s apart, and a secret is rotated every 4 hours at most", formatInterval(gap))
	}
	if length > gap {
		return Schedule{}, notRotation(r, "its window of %s reaches into the next one", formatInterval(length))
	}
	return Schedule{Rule: r}, nil
}

// hourGap is the least time between two hours of a set, midnight included.
func hourGap(hours set) time.Duration {
	first, least := hours.from(0), 24
	for h := first; h >= 0; {
		next := hours.from(h + 1)
		if next < 0 {
			least = min(least, first+24-h)
			break
		}
		least = min(least, next-h)
		h = next
	}
	return time.Duration(least) * time.Hour
}

// dayWindow begins at an hour and ends with the day, or after the length if one is given.
func dayWindow(hour int, length time.Duration) Window {
	if length == 0 {
		length = day - time.Duration(hour)*time.Hour
	}
	return Window{Start: hour * 60, Length: length}
}

// RateInDays returns the expression of AutomaticallyAfterDays.
func RateInDays(days int) string {
	if days == 1 {
		return "rate(1 day)"
	}
	return "rate(" + strconv.Itoa(days) + " days)"
}
