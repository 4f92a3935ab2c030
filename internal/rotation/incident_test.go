package rotation_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

// A leak is an incident that stays open until what leaked is refused, and somebody has said how it came about.
func TestIncident(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Alternating))
	_, _, leaked := w.read("db")
	s, call := w.service(w.engine), w.Call(w.caller)
	open := func() []*rotation.Run {
		t.Helper()
		list, _, err := s.Incidents(w.Ctx, call, "", 10)
		must(t, err)
		return list
	}
	if _, err := s.Run(w.Ctx, call, "db", rotation.Start{Cause: rotation.Leaked, Version: vault.NewVersionID(time.Now())}); !fault.Is(err, fault.NotFound) {
		t.Errorf("a version that the secret does not have leaked: %v", err)
	}
	since := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
	run, err := s.Run(w.Ctx, call, "db", rotation.Start{Cause: rotation.Leaked, Version: leaked, Exposed: since})
	must(t, err)
	if list := open(); len(list) != 1 || list[0].ID != run.ID || list[0].Incident.Version != leaked || !list[0].Incident.Until.IsZero() {
		t.Fatalf("open incidents: %+v", list)
	}
	cause := rotation.RootCause{What: "the password of the shop", How: "it was in a script", Measures: "the script reads it from the vault"}
	for _, c := range []rotation.RootCause{{}, {What: cause.What, How: cause.How}, {How: cause.How, Measures: cause.Measures}} {
		if _, err := s.RecordCause(w.Ctx, call, run.ID, c); !fault.Is(err, fault.Invalid) {
			t.Errorf("the root cause %+v: %v", c, err)
		}
	}
	reader := w.Call(w.Caller(authz.SecretsUser))
	if _, err := s.RecordCause(w.Ctx, reader, run.ID, cause); !fault.Is(err, fault.Forbidden) {
		t.Errorf("who may only read recorded a cause: %v", err)
	}
	_, err = s.RecordCause(w.Ctx, call, run.ID, cause)
	must(t, err)
	if _, err := s.CloseIncident(w.Ctx, call, run.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("closing it while the target accepts what leaked: %v", err)
	}
	w.start(w.engine)
	w.eventually("the end of all runs", w.closed)
	list := open()
	if len(list) != 1 || !list[0].Incident.From.Equal(since) || list[0].Incident.Until.Before(list[0].Incident.Opened) {
		t.Fatalf("after the revocation: %+v", list)
	}
	if c := list[0].Incident.Cause; c == nil || c.What != cause.What || c.By != string(w.caller.Principal) || c.At.IsZero() {
		t.Errorf("the worker lost the root cause: %+v", c)
	}
	// A policy that is taken away does not close it.
	must(t, s.DeletePolicy(w.Ctx, call, "db"))
	if len(open()) != 1 {
		t.Error("the incident went with the policy")
	}
	closed, err := s.CloseIncident(w.Ctx, call, run.ID)
	must(t, err)
	if closed.Incident.Closed.IsZero() || closed.Incident.ClosedBy != string(w.caller.Principal) || len(open()) != 0 {
		t.Errorf("closed as %+v, %d open", closed.Incident, len(open()))
	}
	if _, err := s.CloseIncident(w.Ctx, call, run.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("closing it again: %v", err)
	}
	if _, err := s.RecordCause(w.Ctx, call, run.ID, cause); !fault.Is(err, fault.Conflict) {
		t.Errorf("changing the cause of a closed incident: %v", err)
	}
}

// A leak that makes an open run urgent is an incident too, and none closes without its cause.
func TestIncidentOfAnOpenRun(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Single))
	_, _, leaked := w.read("db")
	s, call := w.service(w.engine), w.Call(w.caller)
	run := w.rotate("db")
	if _, err := s.CloseIncident(w.Ctx, call, run.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("closing the incident of a run that answers no leak: %v", err)
	}
	hurried, err := s.Run(w.Ctx, call, "db", rotation.Start{Cause: rotation.Leaked, Version: leaked})
	must(t, err)
	if hurried.ID != run.ID {
		t.Fatal("another run began")
	}
	w.start(w.engine)
	w.eventually("the end of all runs", w.closed)
	if r := w.run(run.ID); r.Incident == nil || r.Incident.Until.IsZero() {
		t.Fatalf("the incident is %+v", r.Incident)
	}
	if _, err := s.CloseIncident(w.Ctx, call, run.ID); !fault.Is(err, fault.Conflict) {
		t.Errorf("closing it without a root cause: %v", err)
	}
}
