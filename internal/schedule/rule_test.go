package schedule

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

func at(s string) time.Time {
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t
		}
	}
	panic("not a time: " + s)
}

func location(t testing.TB, name string) *time.Location {
	t.Helper()
	l, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// fires checks the times at which a rule happens, one after the other.
func fires(t *testing.T, rule string, zone *time.Location, after string, want ...string) {
	t.Helper()
	r, err := ParseRule(rule)
	if err != nil {
		t.Errorf("%s: %v", rule, err)
		return
	}
	now := at(after)
	for _, w := range want {
		next, ok := r.Next(now, zone)
		if w == "never" {
			if ok {
				t.Errorf("%s after %s: %s, want never", rule, now, next)
			}
			return
		}
		if !ok || !next.Equal(at(w)) {
			t.Errorf("%s after %s in %s: %s (%v), want %s", rule, now.In(zone), zone, next, ok, at(w).In(zone))
			return
		}
		now = next
	}
}

// The expressions are those of the examples in Amazon's user guides for EventBridge and Secrets Manager. 2026-03-14 was a Saturday.
func TestAmazonsExamples(t *testing.T) {
	for _, c := range []struct {
		rule, after string
		want        []string
	}{
		{"cron(0 10 * * ? *)", "2026-03-14 10:00", []string{"2026-03-15 10:00", "2026-03-16 10:00"}},
		{"cron(15 12 * * ? *)", "2026-03-14 12:14:59", []string{"2026-03-14 12:15", "2026-03-15 12:15"}},
		{"cron(0 18 ? * MON-FRI *)", "2026-03-13 17:00", []string{"2026-03-13 18:00", "2026-03-16 18:00"}},
		{"cron(0 8 1 * ? *)", "2026-03-14 00:00", []string{"2026-04-01 08:00", "2026-05-01 08:00"}},
		{"cron(0/15 * * * ? *)", "2026-03-14 12:01", []string{"2026-03-14 12:15", "2026-03-14 12:30", "2026-03-14 12:45", "2026-03-14 13:00"}},
		{"cron(0/10 * ? * MON-FRI *)", "2026-03-13 23:50", []string{"2026-03-16 00:00", "2026-03-16 00:10"}},
		{"cron(0/5 8-17 ? * MON-FRI *)", "2026-03-13 17:50", []string{"2026-03-13 17:55", "2026-03-16 08:00"}},
		{"cron(0/30 20-2 ? * MON-FRI *)", "2026-03-16 01:45", []string{"2026-03-16 02:00", "2026-03-16 02:30", "2026-03-16 20:00"}},
		{"cron(0 9 ? * 2#1 *)", "2026-03-14 00:00", []string{"2026-04-06 09:00", "2026-05-04 09:00"}},
		{"cron(0 17 ? * 3#2 *)", "2026-03-01 00:00", []string{"2026-03-10 17:00", "2026-04-14 17:00"}},
		{"cron(0 9 3W * ? *)", "2026-03-14 00:00", []string{"2026-04-03 09:00", "2026-05-04 09:00"}},
		{"cron(0 9 L * ? *)", "2026-02-01 00:00", []string{"2026-02-28 09:00", "2026-03-31 09:00"}},
		{"cron(0 9 LW * ? *)", "2026-02-01 00:00", []string{"2026-02-27 09:00", "2026-03-31 09:00"}},
		{"cron(15 10 ? * 6L 2026-2027)", "2026-11-01 00:00", []string{"2026-11-27 10:15", "2026-12-25 10:15", "2027-01-29 10:15"}},
		{"cron(0 0 ? * L *)", "2026-03-14 00:00", []string{"2026-03-21 00:00"}},
		{"cron(1/10 4 * * ? *)", "2026-03-14 00:00", []string{"2026-03-14 04:01", "2026-03-14 04:11", "2026-03-14 04:21"}},
		{"cron(0 2 ? JAN,APR,JUL,OCT MON#1 *)", "2026-02-01 00:00", []string{"2026-04-06 02:00", "2026-07-06 02:00"}},
		{"cron(0 12 1 1 ? 2030)", "2026-01-01 00:00", []string{"2030-01-01 12:00", "never"}},
		{"cron(0 0 29 2 ? *)", "2096-03-01 00:00", []string{"2104-02-29 00:00"}},
		{"cron(0 0 ? * 2#5 *)", "2026-03-14 00:00", []string{"2026-03-30 00:00", "2026-06-29 00:00"}},
		// Secrets Manager
		{"cron(0 8/8 * * ? *)", "2026-03-14 00:00", []string{"2026-03-14 08:00", "2026-03-14 16:00", "2026-03-15 08:00"}},
		{"cron(0 2/10 * * ? *)", "2026-03-14 13:00", []string{"2026-03-14 22:00", "2026-03-15 02:00"}},
		{"cron(0 8 1/7 * ? *)", "2026-03-28 00:00", []string{"2026-03-29 08:00", "2026-04-01 08:00"}},
		{"cron(0 4/12 * * ? *)", "2026-03-14 04:00", []string{"2026-03-14 16:00", "2026-03-15 04:00"}},
		{"cron(0 0 ? * SUN#1 *)", "2026-03-14 00:00", []string{"2026-04-05 00:00"}},
		{"cron(0 16 L * ? *)", "2026-03-14 00:00", []string{"2026-03-31 16:00"}},
		{"cron(0 16 ? * SUNL *)", "2026-03-14 00:00", []string{"2026-03-29 16:00"}},
		{"rate(4 hours)", "2026-03-14 01:00", []string{"2026-03-14 05:00"}},
		{"rate(1 day)", "2026-03-14 01:00", []string{"2026-03-15 01:00"}},
		{"rate(10 days)", "2026-03-14 01:00", []string{"2026-03-24 01:00"}},
		{"rate(5 minutes)", "2026-03-14 01:00", []string{"2026-03-14 01:05"}},
	} {
		fires(t, c.rule, time.UTC, c.after, c.want...)
	}
}

// W never leaves the month.
func TestWorkdayStaysInItsMonth(t *testing.T) {
	fires(t, "cron(0 0 1W * ? *)", time.UTC, "2026-07-15 00:00", "2026-08-03 00:00") // the first was a Saturday
	fires(t, "cron(0 0 31W * ? *)", time.UTC, "2026-05-01 00:00", "2026-05-29 00:00", "2026-07-31 00:00")
	fires(t, "cron(0 0 15W * ? *)", time.UTC, "2026-02-01 00:00", "2026-02-16 00:00") // a Sunday
}

func TestCrontab(t *testing.T) {
	for _, c := range []struct {
		rule, after string
		want        []string
	}{
		{"30 3 * * *", "2026-03-14 03:30", []string{"2026-03-15 03:30"}},
		{"*/20 9-10 * * 1-5", "2026-03-13 10:30", []string{"2026-03-13 10:40", "2026-03-16 09:00"}},
		{"0 0 13 * 5", "2026-03-01 00:00", []string{"2026-03-06 00:00", "2026-03-13 00:00", "2026-03-20 00:00", "2026-03-27 00:00", "2026-04-03 00:00", "2026-04-10 00:00", "2026-04-13 00:00"}},
		{"0 0 */10 * 0", "2026-03-01 00:00", []string{"2026-05-31 00:00"}}, // a star with a step restricts no days: both must fit
		{"0 0 * * 7", "2026-03-14 00:00", []string{"2026-03-15 00:00"}},
		{"0 0 29 feb *", "2026-03-14 00:00", []string{"2028-02-29 00:00"}},
		{"@monthly", "2026-03-14 00:00", []string{"2026-04-01 00:00"}},
		{"@weekly", "2026-03-14 00:00", []string{"2026-03-15 00:00"}},
	} {
		fires(t, c.rule, time.UTC, c.after, c.want...)
	}
}

func TestClocksAreChanged(t *testing.T) {
	vienna, york, apia, howe := location(t, "Europe/Vienna"), location(t, "America/New_York"), location(t, "Pacific/Apia"), location(t, "Australia/Lord_Howe")
	// 2026-03-29 02:00 CET became 03:00 CEST: 02:30 does not exist, and means 03:00, which is 01:00 UTC.
	fires(t, "30 2 * * *", vienna, "2026-03-28 12:00", "2026-03-29 01:00", "2026-03-30 00:30")
	fires(t, "cron(30 2 * * ? *)", vienna, "2026-03-28 12:00", "2026-03-29 01:00", "2026-03-30 00:30")
	// Two times within the gap are one.
	fires(t, "15,45 2 * * *", vienna, "2026-03-28 12:00", "2026-03-29 01:00", "2026-03-30 00:15")
	// 2026-10-25 03:00 CEST became 02:00 CET: 02:30 exists at 00:30 and at 01:30 UTC, and means the first.
	fires(t, "30 2 * * *", vienna, "2026-10-24 12:00", "2026-10-25 00:30", "2026-10-26 01:30")
	// Rules for every hour follow the elapsed time.
	fires(t, "30 * * * *", vienna, "2026-10-24 23:00", "2026-10-24 23:30", "2026-10-25 00:30", "2026-10-25 01:30", "2026-10-25 02:30")
	fires(t, "30 * * * *", vienna, "2026-03-29 00:00", "2026-03-29 00:30", "2026-03-29 01:30", "2026-03-29 02:30")
	fires(t, "30 1 * * *", york, "2026-10-31 12:00", "2026-11-01 05:30", "2026-11-02 06:30")
	// A shift of half an hour: 2026-10-04 02:00 +10:30 became 02:30 +11.
	fires(t, "15 2 * * *", howe, "2026-10-03 12:00", "2026-10-03 15:30", "2026-10-04 15:15")
	// 30 December 2011 was left out.
	fires(t, "0 9 * * *", apia, "2011-12-29 20:00", "2011-12-30 10:00", "2011-12-30 19:00")
}

func TestRulesThatAreWrong(t *testing.T) {
	for rule, about := range map[string]string{
		"":                            "empty",
		"soon":                        "not a schedule",
		"@often":                      "@daily",
		"every":                       "interval",
		"every 5":                     "interval",
		"every 5y":                    "interval",
		"every 30s":                   "out of bounds",
		"every 8000d":                 "out of bounds",
		"every 99999999999999999999d": "interval",
		"every 100000000000000000d":   "interval",
		"60 * * * *":                  "minutes",
		"* 24 * * *":                  "hours",
		"* * 0 * *":                   "day-of-month",
		"* * * 13 *":                  "month",
		"* * * FOO *":                 "JAN",
		"* * * * 8":                   "day-of-week",
		"5-1 * * * *":                 "before it begins",
		"*/0 * * * *":                 "step",
		"*/99 * * * *":                "step",
		"1,,2 * * * *":                "minutes",
		"1- * * * *":                  "minutes",
		"+1 * * * *":                  "minutes",
		"0 0 31 2 *":                  "never happens",
		"0 0 ? * *":                   "day-of-month",
		"rate(0 days)":                "positive",
		"rate(01 day)":                "positive",
		"rate(1 days)":                "singular",
		"rate(2 day)":                 "singular",
		"rate(2 weeks)":               "minutes, hours and days",
		"rate(2days)":                 "a number and a unit",
		"cron(0 10 * * ?)":            "six",
		"cron(0 10 * * * *)":          "must be ?",
		"cron(0 10 ? * ? *)":          "must be ?",
		"cron(0 10 1 * MON *)":        "must be ?",
		"cron(0 10 ? * 3#1,6#3 *)":    "#",
		"cron(0 10 ? * 3#6 *)":        "#",
		"cron(0 10 ? * 0 *)":          "1 to 7",
		"cron(0 10 L,5 * ? *)":        "stand alone",
		"cron(0 10 1-5W * ? *)":       "day-of-month",
		"cron(0 10 32W * ? *)":        "day-of-month",
		"cron(0 10 ? * 8L *)":         "day-of-week",
		"cron(0 10 * * ? 1969)":       "1970",
		"cron(0 10 * * ? 2030-2020)":  "before it begins",
		"cron(0 10 31 4,6 ? *)":       "never happens",
		"cron(0 10 29 2 ? 2027)":      "never happens",
		"cron(? 10 * * ? *)":          "minutes",
		"cron(0 10 * * ? *":           "not a schedule",
	} {
		_, err := ParseRule(rule)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), about) {
			t.Errorf("%q: %v, want an invalid that tells of %q", rule, err, about)
		}
	}
}

func TestCanonicalForms(t *testing.T) {
	for text, want := range map[string]string{
		"every 2w":               "every 14d",
		"EVERY 36h":              "every 1d12h",
		"  30 3  * * mon ":       "30 3 * * MON",
		"cron( 0 8 ? * mon#1 *)": "cron(0 8 ? * MON#1 *)",
		"rate( 1  day )":         "rate(1 day)",
		"@daily window  sat-mon 02:00+90m zone UTC":             "0 0 * * * window sun,mon,sat 02:00+1h30m",
		"every 30d window sun-sat 02:00+24h zone Europe/Vienna": "every 30d window 02:00+1d zone Europe/Vienna",
	} {
		s, err := Parse(text)
		if err != nil || s.String() != want {
			t.Errorf("%q: %q (%v), want %q", text, s, err, want)
		}
	}
}

func TestJSON(t *testing.T) {
	type policy struct {
		Schedule Schedule `json:"schedule"`
		Rule     Rule     `json:"rule"`
	}
	const text = `{"schedule":"every 30d window sun,sat 02:00+4h zone Europe/Vienna","rule":"rate(10 days)"}`
	var p, empty policy
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(p)
	if err != nil || string(again) != text {
		t.Errorf("%s (%v), want %s", again, err, text)
	}
	if again, err = json.Marshal(empty); err != nil || string(again) != `{"schedule":"","rule":""}` {
		t.Errorf("an empty policy is %s (%v)", again, err)
	}
	if err := json.Unmarshal(again, &p); err != nil || !p.Schedule.IsZero() || !p.Rule.IsZero() {
		t.Errorf("an empty policy reads as %v (%v)", p, err)
	}
	if err := json.Unmarshal([]byte(`{"rule":"nonsense"}`), &p); err == nil {
		t.Error("a wrong rule was read")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"every 30d window sat,sun 02:00+4h zone Europe/Vienna", "30 3 * * mon-fri", "rate(10 days)", "cron(0 8 ? * MON#1 *)",
		"cron(0/30 20-2 L * ? 2026-2030)", "@daily zone America/New_York", "cron(0 9 3W * ? *)", "*/7,3-5/2 1-20/3 * feb 7"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q -> %q -> %q (%v)", text, s, again, err)
		}
		now := at("2026-03-14 12:00")
		next, ok := s.Rule.Next(now, s.zone())
		if ok && !next.After(now) {
			t.Fatalf("%q happens at %s, which is not after %s", text, next, now)
		}
		if other, ok2 := again.Rule.Next(now, again.zone()); ok2 != ok || !other.Equal(next) {
			t.Fatalf("%q happens at %s, and its canonical form at %s", text, next, other)
		}
	})
}
