package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/fault"
)

func parse(t testing.TB, text string) Schedule {
	t.Helper()
	s, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDue(t *testing.T) {
	for _, c := range []struct {
		name, schedule, last, id string
		need                     time.Duration
		at, limit                string
		late                     bool
	}{
		{name: "no window", schedule: "every 10d", last: "2026-03-01 00:00", id: "", at: "early", limit: "2026-03-11 00:00"},
		{name: "waits for the window", schedule: "every 10d window 12:00+2h", last: "2026-03-01 13:00", need: time.Hour, at: "in window", limit: "2026-03-11 13:00"},
		{name: "the opening before", schedule: "every 10d window sun 12:00+2h", last: "2026-03-01 13:00", need: time.Hour, at: "2026-03-08 12:00", limit: "2026-03-11 13:00"},
		{name: "no opening in time", schedule: "every 7d window sun 02:00+2h", last: "2026-03-08 05:00", need: time.Hour, at: "2026-03-15 02:00", limit: "2026-03-15 05:00"},
		{name: "the rest of this opening", schedule: "every 1d window 02:00+3h zone Europe/Vienna", last: "2026-10-25 00:00", need: time.Hour, at: "2026-10-25 01:00", limit: "2026-10-26 00:00"},
		{name: "cron", schedule: "0 3 * * 0", last: "2026-03-14 13:00", at: "2026-03-15 03:00", limit: "2026-03-22 03:00"},
		{name: "cron with a window", schedule: "0 0 1 * * window sat 22:00+2h", last: "2026-03-14 13:00", need: time.Hour, at: "2026-04-04 22:00", limit: "2026-05-01 00:00"},
		{name: "cron without such a window", schedule: "0 3 * * * window sun 02:00+2h", last: "2026-03-08 04:00", need: time.Hour, at: "2026-03-15 02:00", limit: "2026-03-10 03:00", late: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := parse(t, c.schedule)
			due, ok := s.Due(at(c.last), c.id, c.need)
			if !ok || !due.Limit.Equal(at(c.limit)) || due.Late != c.late {
				t.Errorf("got %+v (%v), want the limit %s, late %v", due, ok, c.limit, c.late)
			}
			switch c.at {
			case "early":
				if due.At.After(due.Limit) || due.Limit.Sub(due.At) > s.Rule.Interval()/10 {
					t.Errorf("due at %s, more than a tenth before %s", due.At, due.Limit)
				}
			case "in window":
				if !mayStart(s, due.At, c.need) || due.At.After(due.Limit) {
					t.Errorf("due at %s, outside of the window", due.At)
				}
			default:
				if want := at(c.at); !due.At.Equal(want) {
					t.Errorf("due at %s, want %s", due.At, want)
				}
			}
		})
	}
	s := parse(t, "cron(0 0 1 1 ? 2020)")
	if due, ok := s.Due(at("2026-01-01 00:00"), "a", 0); ok {
		t.Errorf("a rule of the past is due at %v", due)
	}
}

func TestJitterSpreads(t *testing.T) {
	s := parse(t, "every 100d")
	last := at("2026-03-01 00:00")
	counts := make([]int, 10)
	for n := range 10000 {
		due, _ := s.Due(last, fmt.Sprintf("%032x", n), 0)
		again, _ := s.Due(last, fmt.Sprintf("%032x", n), 0)
		if due != again {
			t.Fatal("the same object is due at two times")
		}
		counts[due.Limit.Sub(due.At)/day]++
	}
	for i, n := range counts {
		if n < 800 || n > 1200 {
			t.Errorf("%d of 10000 are due %d days early, want about 1000", n, i)
		}
	}
}

// mayStart reports whether a run may start right then.
func mayStart(s Schedule, now time.Time, need time.Duration) bool {
	open, ok := s.Opens(now, need)
	return ok && open.Equal(now)
}

func TestOpens(t *testing.T) {
	s := parse(t, "every 30d window sat 23:00+4h zone Europe/Vienna")
	for when, want := range map[string]bool{
		"2026-03-14 21:59": false, "2026-03-14 22:00": true, "2026-03-15 00:00": true, // over midnight, a Sunday then
		"2026-03-15 01:00": true, "2026-03-15 01:01": false, "2026-03-15 02:00": false, "2026-03-15 22:00": false,
	} {
		if got := mayStart(s, at(when), time.Hour); got != want {
			t.Errorf("a run of an hour may start at %s: %v, want %v", when, got, want)
		}
	}
	if mayStart(s, at("2026-03-14 22:00"), 5*time.Hour) {
		t.Error("a run of five hours may start in a window of four")
	}
	if _, ok := s.Opens(at("2026-03-14 22:00"), 5*time.Hour); ok {
		t.Error("a run of five hours finds an opening")
	}
	if open, ok := s.Opens(at("2026-03-15 01:30"), time.Hour); !ok || !open.Equal(at("2026-03-21 22:00")) {
		t.Errorf("the next opening is at %s (%v)", open, ok)
	}
}

func TestSchedulesThatCannotBeKept(t *testing.T) {
	for text, about := range map[string]string{
		"every 1d window sun 02:00+2h":     "7d apart",
		"every 2d window mon-fri 02:00+2h": "3d apart",
		"every 30d window 2:00+2h":         "not a window",
		"every 30d window 25:00+2h":        "not a window",
		"every 30d window 02:00+25h":       "out of bounds",
		"every 30d window 02:00+10s":       "out of bounds",
		"every 30d window 02:00":           "not a window",
		"every 30d window xyz 02:00+1h":    "not a window",
		"every 30d window 1 02:00+1h":      "not a window",
		"every 30d window a b c":           "not a window",
		"every 30d zone Atlantis/Capital":  "time zone",
		"every 30d zone Local":             "time zone",
		"every 30d zone":                   "time zone",
		"every 30d zone ../../etc/passwd":  "time zone",
	} {
		_, err := Parse(text)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), about) {
			t.Errorf("%q: %v, want an invalid that tells of %q", text, err, about)
		}
	}
	s := parse(t, "every 30d window 02:00+2h")
	if err := s.Check(3 * time.Hour); !fault.Is(err, fault.Invalid) {
		t.Errorf("a run of three hours in a window of two: %v", err)
	}
}

func TestSecretsManager(t *testing.T) {
	for _, c := range []struct{ expression, duration, want string }{
		{"rate(10 days)", "", "rate(10 days) window 00:00+1d"},
		{"rate(1 day)", "3h", "rate(1 day) window 00:00+3h"},
		{"rate(4 hours)", "2h", "rate(4 hours)"},
		{"cron(0 8 1/7 * ? *)", "", "cron(0 8 1/7 * ? *) window 08:00+16h"},
		{"cron(0 0 ? * SUN#1 *)", "24h", "cron(0 0 ? * SUN#1 *) window 00:00+1d"},
		{"cron(0 4/12 * * ? *)", "3h", "cron(0 4/12 * * ? *)"},
		{"cron(0 2/10 * * ? *)", "4h", "cron(0 2/10 * * ? *)"},
	} {
		s, err := SecretsManager(c.expression, c.duration)
		if err != nil || s.String() != c.want {
			t.Errorf("%s for %q: %q (%v), want %q", c.expression, c.duration, s, err, c.want)
		}
	}
	for _, c := range []struct{ expression, duration, about string }{
		{"rate(3 hours)", "", "every 4 hours"},
		{"rate(1000 days)", "", "999 days"},
		{"rate(240 minutes)", "", "hours or days"},
		{"rate(4 hours)", "5h", "next one"},
		{"rate(4 days)", "25h", "duration"},
		{"rate(4 days)", "h", "duration"},
		{"rate(4 days)", "004h", "duration"},
		{"rate(4 days)", "90m", "duration"},
		{"every 4d", "", "rate(...)"},
		{"cron(5 8 * * ? *)", "", "minutes must be 0"},
		{"cron(0/30 8 * * ? *)", "", "minutes must be 0"},
		{"cron(0 8 * * ? 2027)", "", "year must be *"},
		{"cron(0 8 3W * ? *)", "", "W"},
		{"cron(0 8/2 * * ? *)", "", "2h apart"},
		{"cron(0 0,21 * * ? *)", "", "3h apart"},
		{"cron(0 20 * * ? *)", "5h", "next day"},
		{"cron(0 2/10 * * ? *)", "5h", "next one"},
		{"nonsense", "", "not a schedule"},
	} {
		_, err := SecretsManager(c.expression, c.duration)
		if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), c.about) {
			t.Errorf("%s for %q: %v, want an invalid that tells of %q", c.expression, c.duration, err, c.about)
		}
	}
	if RateInDays(1) != "rate(1 day)" || RateInDays(30) != "rate(30 days)" {
		t.Error("days are no rates")
	}
}

var zoneNames = []string{"UTC", "Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/St_Johns"}

func drawTime(t *rapid.T) time.Time {
	return at("2024-01-01 00:00").Add(time.Duration(rapid.Int64Range(0, int64(4*366*day)).Draw(t, "after")))
}

func drawCron(t *rapid.T) string {
	pick := func(name string, of ...string) string { return rapid.SampledFrom(of).Draw(t, name) }
	minutes, hours := pick("minutes", "0", "*", "*/7", "10,50", "59"), pick("hours", "*", "0", "2", "1-3", "23", "*/6")
	if rapid.Bool().Draw(t, "crontab") {
		return strings.Join([]string{minutes, hours, pick("day", "*", "1", "*/5", "29-31"), pick("month", "*", "3", "10-11"), pick("weekday", "*", "0", "mon-fri")}, " ")
	}
	if rapid.Bool().Draw(t, "by weekday") {
		return fmt.Sprintf("cron(%s %s ? %s %s *)", minutes, hours, pick("month", "*", "3", "OCT-FEB"), pick("weekday", "*", "L", "1L", "FRI-MON", "2#3"))
	}
	return fmt.Sprintf("cron(%s %s %s %s ? *)", minutes, hours, pick("day", "*", "L", "LW", "15W", "1/10"), pick("month", "*", "3", "OCT-FEB"))
}

// A small model: what a cron rule means is read off every minute's local time.
func TestNextFindsTheFirstMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, zone := drawCron(t), rapid.SampledFrom(zoneNames).Draw(t, "zone")
		s, err := Parse(text + " zone " + zone)
		if err != nil {
			t.Fatal(err)
		}
		after := drawTime(t)
		next, ok := s.Rule.Next(after, s.zone())
		if !ok || !next.After(after) {
			t.Fatalf("%s after %s: %s (%v)", text, after, next, ok)
		}
		// The search of the model is bounded, so that the test is quick.
		end := after.Add(3 * day)
		for m := after.Truncate(time.Minute).Add(time.Minute); m.Before(end) && m.Before(next); m = m.Add(time.Minute) {
			if s.Rule.cron.modelMatches(m.In(s.zone())) {
				t.Fatalf("%s after %s in %s is %s, but %s fits too", text, after, zone, next, m.In(s.zone()))
			}
		}
		if local := next.In(s.zone()); dateOf(local).even(s.zone()) && !s.Rule.cron.modelMatches(local) {
			t.Fatalf("%s after %s is %s, which does not fit", text, after, local)
		}
		// The further one asks, the later the answer.
		later := after.Add(time.Duration(rapid.Int64Range(0, int64(2*day)).Draw(t, "later")))
		if n, ok := s.Rule.Next(later, s.zone()); !ok || n.Before(next) {
			t.Fatalf("%s after %s is %s, but after the later %s it is %s", text, after, next, later, n)
		}
	})
}

func (c *cron) modelMatches(local time.Time) bool {
	y, m, d := local.Date()
	if !c.minutes.has(local.Minute()) || !c.hours.has(local.Hour()) || !c.months.has(int(m)) || !c.days.match(y, m, d) {
		return false
	}
	first, _ := occurrences(local)
	return c.everyHour || first.Equal(local)
}

func TestDueKeepsLimitAndWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := Window{Start: rapid.IntRange(0, 1439).Draw(t, "start"), Length: time.Duration(rapid.IntRange(30, 1440).Draw(t, "length")) * time.Minute,
			Days: uint8(rapid.IntRange(0, 127).Draw(t, "days"))}
		s := Schedule{Window: w}
		var err error
		if s.Zone, err = time.LoadLocation(rapid.SampledFrom(zoneNames).Draw(t, "zone")); err != nil {
			t.Fatal(err)
		}
		s.Rule, err = Every(w.longestGap() + time.Duration(rapid.IntRange(0, 90*24).Draw(t, "hours"))*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		need := time.Duration(rapid.Int64Range(0, int64(w.Length)).Draw(t, "need"))
		if err := s.Check(need); err != nil {
			t.Fatal(err)
		}
		last, id := drawTime(t), rapid.StringN(0, 40, -1).Draw(t, "id")
		due, ok := s.Due(last, id, need)
		switch {
		case !ok || !due.Limit.Equal(last.Add(s.Rule.Interval())):
			t.Fatalf("%s: %+v (%v)", s, due, ok)
		case !due.At.After(last):
			t.Fatalf("%s is due at %s, which is not after the last success at %s", s, due.At, last)
		case !mayStart(s, due.At, need):
			t.Fatalf("%s is due at %s, where a run of %s does not fit into the window", s, due.At.In(s.Zone), need)
		case due.Late != due.At.After(due.Limit):
			t.Fatalf("%s is due at %s with the limit %s, late %v", s, due.At, due.Limit, due.Late)
		}
		if !due.Late {
			return
		}
		// The model: no quarter of an hour between the two could have been used.
		for m := last.Add(1); !m.After(due.Limit); m = m.Add(15 * time.Minute) {
			if mayStart(s, m, need) {
				t.Fatalf("%s is late, although a run could start at %s", s, m.In(s.Zone))
			}
		}
	})
}

func TestDueIsMonotonic(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Schedule{}
		var err error
		if s.Rule, err = Every(time.Duration(rapid.IntRange(1, 5000).Draw(t, "hours")) * time.Hour); err != nil {
			t.Fatal(err)
		}
		last := drawTime(t)
		later := last.Add(time.Duration(rapid.Int64Range(0, int64(30*day)).Draw(t, "later")))
		one, _ := s.Due(last, "x", 0)
		two, _ := s.Due(later, "x", 0)
		if two.At.Before(one.At) || one.At.After(one.Limit) {
			t.Fatalf("%s: %+v, then %+v", s, one, two)
		}
	})
}
