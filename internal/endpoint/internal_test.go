package endpoint

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/vault"
)

// said is a connection to a server that says something and listens to nothing.
type said struct {
	net.Conn
	io.Reader
}

func (s said) Read(b []byte) (int, error)  { return s.Reader.Read(b) }
func (s said) Write(b []byte) (int, error) { return len(b), nil }

// Whatever a server says before TLS, the negotiation ends, and takes no more of it than there is.
func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{"220 mx\r\n250 mx\r\n220 go\r\n", "* OK\r\nk1 OK\r\n", "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00", "S", "\x30\x84\x00\x00\x00\x03\x02\x01\x01"} {
		for i := range Protocols {
			f.Add(uint8(i), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, p uint8, text []byte) {
		r := bytes.NewReader(text)
		err := negotiate(Protocols[int(p)%len(Protocols)], said{Reader: r})
		if err == nil && Protocols[int(p)%len(Protocols)] != TLS && r.Len() == len(text) {
			t.Error("it was agreed to begin TLS, and nothing was said")
		}
	})
}

// The marks of a countdown for certificates of all lengths: never before the last third of a life, never more than the days.
func TestStages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		life := time.Duration(rapid.Int64Range(int64(time.Hour), int64(10*365*day)).Draw(t, "life"))
		from := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		l := &Leaf{NotBefore: from, NotAfter: from.Add(life)}
		last := 0
		for i := range 200 {
			now := from.Add(life / 199 * time.Duration(i))
			n := stage(l, now)
			if n < last {
				t.Fatalf("the stage falls from %d to %d", last, n)
			}
			if n > 0 && l.NotAfter.Sub(now) > min(30*day, life/3) {
				t.Fatalf("the stage %d with %s of %s left", n, l.NotAfter.Sub(now), life)
			}
			last = n
		}
		if stage(l, l.NotAfter) != len(marks) || level(len(marks)) != Critical {
			t.Fatal("at the end not all marks are passed")
		}
	})
}

// Random histories of what is seen: nobody is left without news while there is an alarm, a level that rises is told at once, and the end of all alarms is told once.
func TestNews(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		e := &Endpoint{Spec: Spec{Grace: time.Hour, Care: Care{Team: "web"}}}
		want := &expected{current: "2"}
		toldAt, worst, standing := time.Time{}, Level(""), false
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.Int64Range(int64(time.Minute), int64(6*time.Hour)).Draw(t, "pause")))
			e.Sights = nil
			for i := range rapid.IntRange(0, 3).Draw(t, "nodes") {
				s := Sight{Address: fmt.Sprintf("192.0.2.%d:443", i), Failures: rapid.IntRange(0, 4).Draw(t, "failures")}
				if rapid.Bool().Draw(t, "seen") {
					s.Leaf = Leaf{SHA256: "x", NotBefore: now.Add(-80 * day), NotAfter: now.Add(time.Duration(rapid.IntRange(-2, 100).Draw(t, "left")) * day)}
					s.Version = vault.VersionID(rapid.SampledFrom([]string{"", "1", "2"}).Draw(t, "version"))
				}
				e.Sights = append(e.Sights, s)
			}
			before, was := e.Alarms, e.Task
			e.Alarms = judge(e, want, now)
			event := e.tells(before, now)
			alarm, clear := event != "" && event != EndpointClear, event == EndpointClear
			level := e.Level()
			quiet := was != nil && !was.Acknowledged.IsZero() // until something gets worse
			switch {
			case level == "":
				if alarm || clear != standing {
					t.Fatalf("all is well: alarm %t, clear %t after standing %t", alarm, clear, standing)
				}
			case clear:
				t.Fatal("clear while there is an alarm")
			case level.Above(worst) && (!alarm || !e.Task.Acknowledged.IsZero()):
				t.Fatalf("the level rose from %q to %q, and nobody is told", worst, level)
			case now.Sub(toldAt) >= tellEvery && !alarm && !quiet:
				t.Fatalf("nobody was told since %s", toldAt)
			case quiet && !e.Task.Acknowledged.IsZero() && event == EndpointAlarm:
				t.Fatalf("told again after somebody took it on: %+v", e.Alarms)
			case !e.Task.Escalate.After(now) && !e.Task.Escalated:
				t.Fatalf("not escalated at %s: %+v", now, e.Task)
			}
			if (e.Task == nil) != (level == "") {
				t.Fatalf("level %q, task %+v", level, e.Task)
			}
			if alarm {
				toldAt = now
			}
			if e.Task != nil && rapid.IntRange(0, 4).Draw(t, "acknowledges") == 0 {
				taken := *e.Task
				taken.Acknowledged, taken.By = now, "somebody"
				e.Task = &taken
			}
			worst, standing = level, level != ""
			seen := map[Kind]bool{}
			for i, a := range e.Alarms {
				if seen[a.Kind] || a.Since.After(now) || !a.Raised.IsZero() && a.Raised.Before(a.Since) || i > 0 && a.Level.Above(e.Alarms[i-1].Level) {
					t.Fatalf("%+v", e.Alarms)
				}
				seen[a.Kind] = true
			}
			if outdated := slices.IndexFunc(e.Alarms, func(a Alarm) bool { return a.Kind == Outdated }); outdated >= 0 {
				a := e.Alarms[outdated]
				if a.Raised.IsZero() && now.Sub(a.Since) >= e.Grace {
					t.Fatalf("the grace is over: %+v", a)
				}
			}
		}
	})
}
