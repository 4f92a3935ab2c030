package endpoint_test

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/fault"
)

// An alarm is somebody's: the assignee is reminded until all is well, whoever took it on, and the team hears of it before it is too late.
func TestAlarmsAreSomebodysTask(t *testing.T) {
	w := newWorld(t)
	root := newRoot(t, "Root")
	w.do(w.certs.SetContacts(w.Ctx, w.call(), []cert.Contact{{Email: "ops@example.org"}}))
	w.imports("web", root.issue(noon.Add(-day), []*x509.Certificate{root.cert}, nil))
	w.resolve("shop.example", "192.0.2.1")
	stranger := root.issue(noon, nil, nil)
	n := w.serve("192.0.2.1:443", stranger.served(1), nil)
	w.set(endpoint.Spec{Name: "front", Certificate: "web", Address: "shop.example:443", Every: 6 * time.Hour,
		Care: endpoint.Care{Assignee: "web@example.org", Team: "duty@example.org", Within: 10 * day, Remind: []time.Duration{4 * day, 2 * day}, Escalate: 3 * day}})
	if _, err := w.svc.Acknowledge(w.Ctx, w.call(), "nowhere"); !fault.Is(err, fault.NotFound) {
		t.Errorf("an endpoint that is not there: %v", err)
	}
	_, err := w.svc.Acknowledge(w.Ctx, w.call(), "front")
	w.fails(err, fault.Conflict)
	w.due()
	e := w.get("front")
	if e.Task == nil || !e.Task.Due.Equal(noon.Add(10*day)) || !e.Task.Acknowledged.IsZero() {
		t.Fatalf("%+v", e.Task)
	}
	w.now.Advance(2 * day)
	w.due()
	if got := types(w.events()); !slices.Equal(got, []string{"Alarm", "Alarm"}) {
		t.Errorf("before somebody takes it on, it is told each day: %v", got)
	}

	e, err = w.svc.Acknowledge(w.Ctx, w.call(), "front")
	w.do(err)
	if !e.Task.Acknowledged.Equal(w.now.Now()) || e.Task.By != string(w.admin.Principal) {
		t.Errorf("%+v", e.Task)
	}
	for range 4 * 9 {
		w.now.Advance(6 * time.Hour)
		w.due()
	}
	events := w.events()
	if got := types(events); !slices.Equal(got[2:], []string{"Reminder", "Escalated", "Reminder"}) {
		t.Errorf("after it: %v", got)
	}
	if last := events[len(events)-1]; last.Assignee != "web@example.org" || last.Team != "duty@example.org" || last.By != string(w.admin.Principal) || !last.Due.Equal(noon.Add(10*day)) {
		t.Errorf("%+v", last)
	}
	for i, want := range []string{"ops web", "ops web", "ops web", "ops web duty", "ops web duty"} {
		var to []string
		for _, a := range w.letters[i].To {
			to = append(to, strings.TrimSuffix(a.Address, "@example.org"))
		}
		if got := strings.Join(to, " "); got != want {
			t.Errorf("letter %d goes to %s, not to %s", i, got, want)
		}
	}
	if l := w.letters[3]; !strings.HasPrefix(l.Subject, "Escalated, WARNING") || !strings.Contains(l.Text, "taken on") || !strings.Contains(l.Text, "cert endpoint ack front") {
		t.Errorf("%s\n%s", l.Subject, l.Text)
	}

	// Something worse has to be taken on anew.
	n.serving.Store(root.issue(noon.Add(-85*day), nil, nil).served(1))
	e = w.check("front")
	if !e.Task.Acknowledged.IsZero() || !e.Task.Due.Equal(noon.Add(5*day)) {
		t.Errorf("an older certificate: %+v", e.Task)
	}
	// All is well: the task is over.
	n.serving.Store(nil)
	good := root.issue(w.now.Now(), []*x509.Certificate{root.cert}, nil)
	w.imports("web", good)
	n.serving.Store(good.served(1))
	if e := w.check("front"); e.Task != nil {
		t.Errorf("%+v", e.Task)
	}
}

// Who sees to an endpoint can be changed while there is an alarm, and stays when it is set again at the same place.
func TestTheAssigneeChanges(t *testing.T) {
	w := newWorld(t)
	w.resolve("shop.example", "192.0.2.1")
	root := newRoot(t, "Root")
	w.serve("192.0.2.1:443", root.issue(noon, nil, nil).served(1), nil)
	spec := endpoint.Spec{Name: "front", Address: "shop.example:443"}
	w.set(spec)
	if e := w.check("front"); !e.Task.Due.Equal(noon.Add(endpoint.DefaultWithin)) || !e.Task.Escalate.Equal(noon.Add(27*day)) {
		t.Errorf("usually: %+v", e.Task)
	}
	_, err := w.svc.Acknowledge(w.Ctx, w.call(), "front")
	w.do(err)
	spec.Care = endpoint.Care{Assignee: "the web team", Team: "duty", Within: 2 * day, Escalate: day}
	if e := w.set(spec); !e.Task.Due.Equal(noon.Add(2*day)) || !e.Task.Escalate.Equal(noon.Add(day)) || e.Task.Acknowledged.IsZero() {
		t.Errorf("%+v", e.Task)
	}
	w.now.Advance(day)
	w.due()
	if got := types(w.events()); !slices.Equal(got, []string{"Alarm", "Escalated"}) {
		t.Errorf("%v", got)
	}
	for _, c := range []endpoint.Care{{Within: time.Minute}, {Within: day, Escalate: 2 * day}, {Escalate: -1}, {Remind: make([]time.Duration, 11)}, {Remind: []time.Duration{-1}},
		{Team: strings.Repeat("x", 300)}} {
		spec.Care = c
		_, err := w.svc.Set(w.Ctx, w.call(), spec)
		w.fails(err, fault.Invalid)
	}
}

// types are the events in short.
func types(list []told) (out []string) {
	for _, e := range list {
		out = append(out, strings.TrimPrefix(e.Type, "Keywright.Endpoint"))
	}
	return out
}
