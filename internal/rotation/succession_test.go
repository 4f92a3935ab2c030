package rotation

import (
	"slices"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var authorityNoon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// waitingRun is the change of one authority that waits in a state since noon.
func waitingRun(s State, p Policy) Run {
	p.Strategy = rotator.CertificateOverlap
	return Run{ID: "r", Kind: store.AuthorityRun, Object: "bundle", State: s, Since: authorityNoon, Promoted: authorityNoon, NextAt: authorityNoon, Start: Start{Cause: OnDemand, Actor: "asker"},
		Policy: p, Pace: Pace{Base: Duration(time.Second), Cap: Duration(time.Minute), Tries: 8, Call: Duration(time.Second), Look: Duration(time.Minute)}, Base: "b2", Pending: "b2",
		Succession: &Succession{Line: []Heir{{Name: "root", Object: "root", Old: "v1", New: "v2", Issues: s != Trusting}}, Bundles: []Bundle{{Name: "root-trust", Object: "bundle", Version: "b2", Base: "b1"}}}}
}

// seen is what the ledger says in a state; with somebody left who holds what goes, or nobody.
func seen(s State, someone bool) Observation {
	o := Observation{Of: stepOf(s).call, Evidence: &Witness{Safe: !someone}}
	if someone {
		o.Evidence.Waiting = []Holder{{Principal: "app"}}
	}
	if s == Deploying {
		o.Children = []Child{{Name: "web", Old: []vault.VersionID{"c1"}, New: "c2"}}
	}
	return o
}

func hasEffect(list []Effect, k EffectKind) bool {
	return slices.ContainsFunc(list, func(e Effect) bool { return e.Kind == k })
}

// What a wait does when it is looked at, by its policy and the time that has passed.
func TestAuthorityWaits(t *testing.T) {
	force := Overdue{Then: Force}
	asks := Overdue{Then: Force, Approval: true}
	for name, c := range map[string]struct {
		policy  Policy
		someone bool
		after   time.Duration
		moves   bool
		reason  Reason
		alerts  bool
	}{
		"nobody left":                   {after: time.Minute, moves: true},
		"nobody left, within the grace": {policy: Policy{Grace: Duration(time.Hour)}, after: time.Minute, reason: GracePeriod},
		"somebody left":                 {someone: true, after: 1000 * time.Hour, reason: ConsumersLeft},
		"before the deadline":           {policy: Policy{Deadline: Duration(time.Hour), Overdue: force}, someone: true, after: 10 * time.Minute, reason: ConsumersLeft},
		"half of the deadline":          {policy: Policy{Deadline: Duration(time.Hour)}, someone: true, after: 31 * time.Minute, reason: ConsumersLeft, alerts: true},
		"a deadline that holds":         {policy: Policy{Deadline: Duration(time.Hour)}, someone: true, after: time.Hour, reason: DeadlineHolds, alerts: true},
		"a deadline that asks":          {policy: Policy{Deadline: Duration(time.Hour), Overdue: asks}, someone: true, after: time.Hour, reason: ApprovalNeeded, alerts: true},
		"a deadline that forces":        {policy: Policy{Deadline: Duration(time.Hour), Overdue: force}, someone: true, after: time.Hour, moves: true, reason: DeadlineForces, alerts: true},
	} {
		for _, s := range []State{Trusting, Deploying} {
			t.Run(name+"/"+string(s), func(t *testing.T) {
				r, effects, reason := Next(waitingRun(s, c.policy), seen(s, c.someone), authorityNoon.Add(c.after))
				if moved := r.State != s; moved != c.moves {
					t.Fatalf("it stands at %s (%s)", r.State, reason)
				}
				if c.reason != "" && reason != c.reason {
					t.Errorf("because of %s, want %s", reason, c.reason)
				}
				if !c.moves && (hasEffect(effects, MoveIssue) || hasEffect(effects, MovePublish) || !r.NextAt.After(authorityNoon.Add(c.after))) {
					t.Errorf("it waits and does %v, next at %s", effects, r.NextAt)
				}
				if hasEffect(effects, MoveAlert) != c.alerts {
					t.Errorf("people are told: %v", !c.alerts)
				}
				if c.moves && s == Trusting && (!hasEffect(effects, MoveIssue) || !r.Succession.Line[0].Issues || r.State != Reissuing || r.Forced != "") {
					t.Errorf("it goes on to %s with %v, forced %q", r.State, effects, r.Forced)
				}
			})
		}
	}
}

// Without an answer of the ledger nothing goes on, whatever else is true.
func TestAuthorityWaitsForEvidence(t *testing.T) {
	for _, s := range []State{Trusting, Deploying} {
		o := Observation{Of: stepOf(s).call, Err: &Trouble{Class: "doubt", Message: "x"}}
		r, effects, reason := Next(waitingRun(s, Policy{Deadline: Duration(time.Hour), Overdue: Overdue{Then: Force}}), o, authorityNoon.Add(2*time.Hour))
		if r.State != s || reason != Retrying || len(effects) > 0 {
			t.Errorf("in %s it goes to %s (%s) with %v", s, r.State, reason, effects)
		}
	}
}

// A person's word counts for one wait; the old authority is signing again when a change is aborted, and only forward is left once it is dropped.
func TestAuthorityOrders(t *testing.T) {
	force := Order{Kind: ForceOrder, At: authorityNoon, By: "somebody", Note: "why"}
	r, err := ptr(waitingRun(Trusting, Policy{})).Take(force)
	if err != nil {
		t.Fatal(err)
	}
	r, effects, _ := Next(r, Observation{}, authorityNoon.Add(time.Second))
	if r.State != Reissuing || r.Forced != "" || !hasEffect(effects, MoveIssue) {
		t.Errorf("forced it goes to %s, still forced %q, with %v", r.State, r.Forced, effects)
	}
	if _, err := ptr(waitingRun(Publishing, Policy{})).Take(force); !fault.Is(err, fault.Conflict) {
		t.Errorf("one that waits for nobody is forced: %v", err)
	}

	abort := Order{Kind: AbortOrder, At: authorityNoon, By: "somebody"}
	r, err = ptr(waitingRun(Deploying, Policy{})).Take(abort)
	if err != nil {
		t.Fatal(err)
	}
	r, effects, _ = Next(r, Observation{}, authorityNoon.Add(time.Second))
	if r.State != Reissuing || r.Undo != Aborted || r.Succession.Line[0].Issues || !hasEffect(effects, MoveIssue) || r.keep()["root"] != "v1" {
		t.Errorf("aborted it goes to %s, undoing %q, with %v, and keeps %v", r.State, r.Undo, effects, r.keep())
	}
	cut := waitingRun(Withdrawing, Policy{})
	cut.Succession.Cut = true
	if _, err := cut.Take(abort); !fault.Is(err, fault.Conflict) {
		t.Errorf("one that dropped the old authority is aborted: %v", err)
	}
	if _, err := ptr(waitingRun(Trusting, Policy{})).Take(Order{Kind: AdoptOrder, Version: "v", At: authorityNoon}); !fault.Is(err, fault.Conflict) {
		t.Errorf("it adopts: %v", err)
	}
}

func ptr(r Run) *Run { return &r }

// Another write of the trust bundle is written over while the change is under way.
func TestAuthorityOverwritten(t *testing.T) {
	r, effects, _ := Next(waitingRun(Deploying, Policy{}), Observation{Moved: "b3"}, authorityNoon)
	if r.State != Publishing || r.Base != "b3" || !hasEffect(effects, CallBundle) {
		t.Errorf("it goes to %s on %s with %v", r.State, r.Base, effects)
	}
}
