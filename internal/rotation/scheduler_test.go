package rotation_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
)

func (w *world) policy(name string) *rotation.PolicyInfo {
	w.T.Helper()
	p, err := w.service(w.engine).Policy(w.Ctx, w.Call(w.caller), name)
	must(w.T, err)
	return p
}

// A policy that is due gets one run, with its reason, and its next date counts from the success.
func TestSchedule(t *testing.T) {
	w := newWorld(t)
	p := policyFor(rotator.Alternating)
	p.Schedule = "every 60s"
	w.database("db", p)
	due := w.policy("db").DueAt
	if until := time.Until(due); until < 50*time.Second || until > time.Minute {
		t.Fatalf("first due in %v, want up to a tenth less than a minute", until)
	}
	must(t, w.engine.Tick(w.Ctx))
	if runs := w.runs(store.RunQuery{}); len(runs) != 0 {
		t.Fatal("a run began although nothing is due")
	}
	ahead := w.newEngineAt(time.Now().Add(2 * time.Minute))
	must(t, ahead.Tick(w.Ctx))
	must(t, ahead.Tick(w.Ctx))
	runs := w.runs(store.RunQuery{})
	if len(runs) != 1 || runs[0].Start.Cause != rotation.Scheduled {
		t.Fatalf("%d runs, want one by schedule", len(runs))
	}
	if !w.policy("db").DueAt.IsZero() {
		t.Error("the policy is due again before its run has ended")
	}
}

// newEngineAt is an engine whose clock stands still at an instant.
func (w *world) newEngineAt(now time.Time) *rotation.Engine {
	w.T.Helper()
	c := w.engine.Config
	c.Clock = clock.NewManual(now)
	e, err := rotation.New(c)
	must(w.T, err)
	return e
}

// What expires, or is too old, is due in time.
func TestDueDates(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		name  string
		edit  func(*rotation.Policy)
		cause rotation.Cause
		in    time.Duration
	}{
		{"maximum age", func(p *rotation.Policy) { p.MaxAge = d(30 * day) }, rotation.TooOld, 29 * day},
		{"expiry", func(p *rotation.Policy) { p.BeforeExpiry = d(10 * day) }, rotation.Expiring, 90 * day},
		{"the first of both", func(p *rotation.Policy) { p.BeforeExpiry, p.MaxAge = d(10*day), d(30*day) }, rotation.TooOld, 29 * day},
		{"paused", func(p *rotation.Policy) { p.MaxAge, p.Paused = d(30*day), true }, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), "db", secret.Input{Value: []byte(`{"username":"app_a","password":"the-first-password"}`), Enabled: true,
				Expires: time.Now().Add(100 * day)})
			must(t, err)
			p := policyFor(rotator.Alternating)
			c.edit(&p)
			must(t, w.service(w.engine).SetPolicy(w.Ctx, w.Call(w.caller), "db", &p))
			got := w.policy("db")
			if got.Cause != c.cause {
				t.Errorf("due because of %q, want %q", got.Cause, c.cause)
			}
			if in := time.Until(got.DueAt); c.in > 0 && (in > c.in || in < c.in-time.Minute) || c.in == 0 && !got.DueAt.IsZero() {
				t.Errorf("due in %v, want %v", in, c.in)
			}
		})
	}
}

// Children follow when their parent has settled, and a ring is refused.
func TestDependents(t *testing.T) {
	w := newWorld(t)
	w.database("parent", policyFor(rotator.Alternating))
	child := policyFor(rotator.Single)
	child.Accounts = []string{"child"}
	child.DependsOn = []rotation.Reference{{Name: "parent"}}
	w.target.mu.Lock()
	w.target.accounts["child"] = []string{"password-of-the-child"}
	w.target.mu.Unlock()
	_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), "child", secret.Input{Value: []byte(`{"username":"child","password":"password-of-the-child"}`), Enabled: true})
	must(t, err)
	must(t, w.service(w.engine).SetPolicy(w.Ctx, w.Call(w.caller), "child", &child))
	ring := policyFor(rotator.Alternating)
	ring.DependsOn = []rotation.Reference{{Name: "child"}}
	if err := w.service(w.engine).SetPolicy(w.Ctx, w.Call(w.caller), "parent", &ring); err == nil {
		t.Error("a ring of dependencies was accepted")
	}
	run := w.rotate("parent")
	w.start(w.engine)
	w.eventually("the run of the child", func() bool {
		for _, r := range w.runs(store.RunQuery{Kind: store.RotationRun}) {
			if r.NameKey == "child" && r.State == rotation.Done {
				return r.Start.Cause == rotation.Dependency && w.run(run.ID).State == rotation.Done
			}
		}
		return false
	})
}

// A person changes the target: a task asks for it, and the value is current when it logs in.
func TestManualStep(t *testing.T) {
	w := newWorld(t)
	p := policyFor(rotator.Manual)
	p.Manual = &rotation.Manual{Assignee: "the database team", Within: d(48 * time.Hour), Remind: []rotation.Duration{d(24 * time.Hour)}}
	w.database("db", p)
	service := w.service(w.engine)
	run := w.rotate("db")
	w.start(w.engine)
	var task *rotation.Task
	open := func() bool {
		tasks, err := service.Tasks(w.Ctx, w.Call(w.caller), true, "", 10)
		must(t, err)
		if len(tasks) == 1 {
			task = tasks[0]
		}
		return len(tasks) == 1
	}
	w.eventually("the task", open)
	must(t, service.Acknowledge(w.Ctx, w.Call(w.caller), task.ID))

	must(t, w.newEngineAt(time.Now().Add(25*time.Hour)).Tick(w.Ctx))
	must(t, w.newEngineAt(time.Now().Add(49*time.Hour)).Tick(w.Ctx))
	if n := w.events(string(rotation.TaskReminder)); n != 1 {
		t.Errorf("%d reminders, want 1", n)
	}
	if n := w.events(string(rotation.TaskEscalated)); n != 1 {
		t.Errorf("%d escalations, want 1", n)
	}

	// What does not log in is asked for again, and never seen by a reader.
	_, err := service.Submit(w.Ctx, w.Call(w.caller), task.ID, secret.Input{Value: []byte(`{"username":"app_a","password":"mistyped-password"}`)}, false)
	must(t, err)
	first := task.ID
	w.eventually("another task", func() bool { return open() && task.ID != first })
	if _, pass, _ := w.read("db"); pass == "mistyped-password" {
		t.Fatal("a value that does not log in was published")
	}
	w.target.give("app_a", "typed-well-password")
	_, err = service.Submit(w.Ctx, w.Call(w.caller), task.ID, secret.Input{Value: []byte(`{"username":"app_a","password":"typed-well-password"}`)}, false)
	must(t, err)
	w.eventually("the end of all runs", w.closed)
	if _, pass, _ := w.read("db"); pass != "typed-well-password" || w.run(run.ID).State != rotation.Done {
		t.Errorf("the submitted value is not current; the run is %s", w.run(run.ID).State)
	}
}

func (w *world) events(kind string) (n int) {
	w.T.Helper()
	must(w.T, w.Store.View(w.Ctx, func(tx store.Tx) error {
		commits, err := tx.Commits(w.Ctx, 0, 0)
		for _, c := range commits {
			for _, e := range c.Events {
				if e.Type == kind {
					n++
				}
			}
		}
		return err
	}))
	return n
}

// A rehearsal reaches everything, finds what is wrong, and changes nothing.
func TestRehearsal(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Alternating))
	_, _, v := w.read("db")
	w.ledger.hold(v, "the shop")
	service := w.service(w.engine)
	h, err := service.Plan(w.Ctx, w.Call(w.caller), "db")
	must(t, err)
	if !h.Safe || h.Plan.Next.Account != "app_b" || len(h.AtRisk) != 1 || h.System != "fake 1" {
		doc, _ := json.Marshal(h)
		t.Errorf("%s", doc)
	}
	w.target.mu.Lock()
	w.target.down = true
	w.target.mu.Unlock()
	if h, err = service.Plan(w.Ctx, w.Call(w.caller), "db"); err != nil || h.Safe || h.Refused == "" {
		t.Errorf("with the target down: %+v, %v", h, err)
	}
	if _, _, after := w.read("db"); after != v || len(w.runs(store.RunQuery{})) != 0 || len(w.target.set) != 0 {
		t.Error("the rehearsal changed something")
	}
}

// An emergency goes over an open revocation, and revokes at once what somebody still holds.
func TestEmergency(t *testing.T) {
	w := newWorld(t)
	w.database("db", policyFor(rotator.Alternating))
	user, pass, v := w.read("db")
	w.ledger.hold(v, "laggard")
	w.rotate("db")
	w.start(w.engine)
	w.eventually("an open revocation", func() bool { return len(w.runs(store.RunQuery{Open: true, Kind: store.RevocationRun})) == 1 })
	second, stolen, leaked := w.read("db")
	_, err := w.service(w.engine).Run(w.Ctx, w.Call(w.caller), "db", rotation.Start{Cause: rotation.Leaked, Version: leaked, Exposed: time.Now().Add(-time.Hour)})
	must(t, err)
	w.eventually("the end of all runs", w.closed)
	if w.target.accepts(user, pass) || w.target.accepts(second, stolen) {
		t.Error("what leaked, or what came before it, is still accepted")
	}
	if now, value, _ := w.read("db"); !w.target.accepts(now, value) {
		t.Error("the current value does not log in")
	}
}

// What is due outside of its windows waits for one, without a run in the queue.
func TestScheduleKeepsToItsWindows(t *testing.T) {
	w := newWorld(t)
	p := policyFor(rotator.Alternating)
	p.Schedule = "every 30d window 02:00+1h"
	w.database("db", p)
	next := time.Now().AddDate(0, 0, 40).UTC().Truncate(24 * time.Hour)
	must(t, w.newEngineAt(next.Add(12*time.Hour)).Tick(w.Ctx))
	if due, want := w.policy("db").DueAt, next.Add(26*time.Hour); !due.Equal(want) || len(w.runs(store.RunQuery{})) > 0 {
		t.Fatalf("due at %s, want %s; %d runs", due, want, len(w.runs(store.RunQuery{})))
	}
	must(t, w.newEngineAt(next.Add(26*time.Hour+time.Minute)).Tick(w.Ctx))
	if runs := w.runs(store.RunQuery{}); len(runs) != 1 || runs[0].Start.Cause != rotation.Scheduled {
		t.Errorf("%d runs in the window, want one", len(runs))
	}
}

// A secret that is deleted under its run, and recovered, is rotated again when it is due.
func TestRecoveredSecretIsScheduled(t *testing.T) {
	w := newWorld(t)
	p := policyFor(rotator.Alternating)
	p.MaxAge = d(30 * 24 * time.Hour)
	w.database("db", p)
	due := w.policy("db").DueAt
	run := w.rotate("db")
	_, err := w.secrets.Delete(w.Ctx, w.Call(w.caller), "db")
	must(t, err)
	w.start(w.engine)
	w.eventually("the end of the run", w.closed)
	if r := w.run(run.ID); r.State != rotation.Aborted {
		t.Fatalf("the run of a deleted secret ended as %s", r.State)
	}
	must(t, w.newEngineAt(time.Now().Add(2*time.Hour)).Tick(w.Ctx))
	_, err = w.secrets.Recover(w.Ctx, w.Call(w.caller), "db")
	must(t, err)
	must(t, w.newEngineAt(time.Now().Add(4*time.Hour)).Tick(w.Ctx))
	if got := w.policy("db").DueAt; !got.Equal(due) || len(w.runs(store.RunQuery{})) != 1 {
		t.Errorf("due at %s, want %s; %d runs", got, due, len(w.runs(store.RunQuery{})))
	}
}

// A version that is made to end earlier is replaced earlier, without waiting for the date that was right before.
func TestShorterValidityBringsTheRunForward(t *testing.T) {
	const day = 24 * time.Hour
	w := newWorld(t)
	p := policyFor(rotator.Alternating)
	p.BeforeExpiry = d(10 * day)
	w.database("db", p)
	if due := w.policy("db").DueAt; !due.IsZero() {
		t.Fatalf("what never ends is due at %s", due)
	}
	ends := func(in time.Duration) time.Time {
		t.Helper()
		end := time.Now().Add(in).UTC().Truncate(time.Second)
		_, err := w.secrets.Update(w.Ctx, w.Call(w.caller), secret.Selector{Name: "db"}, secret.Change{Expires: &end})
		must(t, err)
		return end
	}
	for _, in := range []time.Duration{100 * day, 50 * day} {
		if end := ends(in); !w.policy("db").DueAt.Equal(end.Add(-10*day)) || w.policy("db").Cause != rotation.Expiring {
			t.Errorf("with an end at %s it is due at %s, because of %s", end, w.policy("db").DueAt, w.policy("db").Cause)
		}
	}
	before := w.policy("db").DueAt
	ends(80 * day)
	if due := w.policy("db").DueAt; !due.Equal(before) {
		t.Errorf("a later end has moved the date to %s before it came", due)
	}
	value := []byte(`{"username":"app_a","password":"written-by-somebody-else"}`)
	_, err := w.secrets.Set(w.Ctx, w.Call(w.caller), "db", secret.Input{Value: value, Enabled: true, Expires: time.Now().Add(20 * day)})
	must(t, err)
	if due := w.policy("db").DueAt; due.After(time.Now().Add(10 * day)) {
		t.Errorf("a write with an earlier end left the date at %s", due)
	}
}

// Trying on counts as beginning: outside of its window a run that has changed nothing yet waits for the next one.
func TestRetriesKeepToTheWindow(t *testing.T) {
	w := newWorld(t)
	p := policyFor(rotator.Alternating)
	p.Schedule = "every 1d window 02:00+1h"
	w.database("db", p)
	run := w.rotate("db")
	w.Change(func(tx store.Tx) error {
		stored, err := tx.Run(w.Ctx, run.ID)
		if err != nil {
			return err
		}
		r, err := rotation.ReadRun(stored)
		if err != nil {
			return err
		}
		r.Start.Cause = rotation.Scheduled
		r.NextAt = time.Now().Add(-72 * time.Hour)
		record, err := r.Record()
		if err != nil {
			return err
		}
		return tx.PutRun(w.Ctx, record)
	})
	w.target.before = func(verb string) error {
		if verb == "preflight" {
			return rotator.Fail(rotator.Busy, nil, "too many connections")
		}
		return nil
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	in := w.newEngineAt(today.Add(2*time.Hour + 10*time.Minute))
	must(t, in.Drive(w.Ctx, run.ID))
	if r := w.run(run.ID); r.State != rotation.Preflight || r.Tries == 0 {
		t.Fatalf("within its window the run stands at %s after %d tries", r.State, r.Tries)
	}
	w.target.before = nil
	out := w.newEngineAt(today.Add(5 * time.Hour))
	must(t, out.Drive(w.Ctx, run.ID))
	r := w.run(run.ID)
	if r.State != rotation.Queued || r.Reason != rotation.WindowClosed || !r.NextAt.Equal(today.Add(26*time.Hour)) {
		t.Fatalf("outside of its window the run stands at %s (%s) until %s", r.State, r.Reason, r.NextAt)
	}
	if u, _, _ := w.read("db"); u != "app_a" {
		t.Error("the credential changed outside of the window")
	}
	must(t, w.newEngineAt(today.Add(26*time.Hour+time.Minute)).Drive(w.Ctx, run.ID))
	if r := w.run(run.ID); r.State != rotation.Done {
		t.Errorf("in its next window the run stands at %s (%s)", r.State, r.Reason)
	}
}
