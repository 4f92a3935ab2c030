package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestEventsAreRead(t *testing.T) {
	r := newEventReader(strings.NewReader(": hello\n\nid: 1\nevent: ready\ndata: {}\n\nid: 2\n\nevent: lost\n\nevent: change\r\ndata: a\r\ndata:b\r\n\r\nunknown: x\ndata: last\n\nid: 9\ndata: unfinished\n"), nil)
	for _, want := range []struct{ kind, data, id string }{{"ready", "{}", "1"}, {"change", "a\nb", "2"}, {"", "last", "2"}} {
		if e, err := r.next(); err != nil || e != (serverEvent{want.kind, want.data}) || r.id != want.id {
			t.Errorf("got %q behind %q, %v; want %q", e, r.id, err, want)
		}
	}
	if e, err := r.next(); err != io.EOF || e != (serverEvent{}) {
		t.Errorf("an event that was cut off is %q, %v", e, err)
	}
	for _, long := range []string{strings.Repeat("x", maxEventLine+1), strings.Repeat("data: "+strings.Repeat("x", maxEventLine/2)+"\n", 9) + "\n"} {
		if _, err := newEventReader(strings.NewReader(long), nil).next(); err != errEventTooLong {
			t.Errorf("an endless event: %v", err)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add("id: 1\nevent: change\ndata: {}\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		r := newEventReader(strings.NewReader(text), nil)
		for {
			e, err := r.next()
			if err != nil {
				return
			}
			if strings.ContainsRune(r.id, '\n') || strings.ContainsRune(e.kind, '\n') {
				t.Errorf("%q holds a line break", e)
			}
			again := newEventReader(strings.NewReader("event: "+e.kind+"\ndata: "+strings.ReplaceAll(e.data, "\n", "\ndata: ")+"\n\n"), nil)
			if got, err := again.next(); err != nil || got != e {
				t.Errorf("%q is read again as %q, %v", e, got, err)
			}
		}
	})
}

// TestAWatchResumes cuts the stream off twice, and refuses it once.
func TestAWatchResumes(t *testing.T) {
	var asked []string
	stream := func(events string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, r.URL.Query().Get("after"))
			io.WriteString(w, events)
		}
	}
	c, _ := fake(t,
		stream("id: 1-a\nevent: ready\ndata: {}\n\nid: 2-b\nevent: change\ndata: {\"name\":\"x\",\"version\":\"v1\"}\n\nid: 3-c\nevent: change\ndata: {\"na"),
		problem(503, Unavailable),
		stream("event: ready\ndata: {}\n\nid: 3-c\nevent: change\ndata: {\"name\":\"x\",\"version\":\"v2\"}\n\nevent: end\ndata: {\"reason\":\"shutdown\"}\n\n"),
		stream("id: 7-d\nevent: reset\ndata: {}\n\nevent: end\ndata: {\"reason\":\"forbidden\"}\n\n"),
		problem(403, Forbidden))
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var got []string
	for change, err := range c.Vault("v").Watch(ctx, time.Hour, "x") {
		switch {
		case err != nil:
			got = append(got, string(KindOf(err)))
		case change == nil:
			got = append(got, "read anew")
		default:
			got = append(got, change.Version)
		}
		if KindOf(err) == Forbidden {
			break
		}
	}
	if want := "[read anew read anew v1 unavailable v2 read anew forbidden]"; fmt.Sprint(got) != want {
		t.Errorf("the watch told %v, want %s", got, want)
	}
	if fmt.Sprintf("%q", asked) != `["" "2-b" "3-c"]` {
		t.Errorf("the streams were asked for behind %q", asked)
	}
}
