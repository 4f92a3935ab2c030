package rotation

import (
	"slices"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// ending is a revocation of "old" on account a, which "new" on account b replaced at noon.
func ending(p Policy) Run {
	p.Strategy, p.Accounts = rotator.Alternating, []string{"a", "b"}
	r := newRotation("run", noon, Start{Cause: OnDemand, Actor: "asker"}, p, DefaultPace)
	r.Able = Able{Probes: true, Observes: true, Tells: rotator.AccountEvidence}
	r.Places = map[vault.VersionID]Place{"old": {Account: "a"}, "new": {Account: "b"}}
	return r.Revocation("end", Effect{Version: "new", Old: []vault.VersionID{"old"}}, noon)
}

// look lets a run look at a witness.
func look(t *testing.T, r Run, w Witness, now time.Time) (Run, []Effect) {
	t.Helper()
	r, effects, _ := Next(r, Observation{}, now)
	if len(effects) == 0 || effects[len(effects)-1].Kind != CallWitness {
		return r, effects
	}
	r, more, _ := Next(r, Observation{Of: CallWitness, Evidence: &w}, now)
	return r, slices.Concat(effects[:len(effects)-1], more)
}

var (
	quiet = Witness{Told: true, Safe: true}
	held  = Witness{Told: true, Waiting: []Holder{{Principal: "laggard"}}}
)

// An old version goes only when every part of the rule holds.
func TestWhenAnOldVersionMayGo(t *testing.T) {
	const grace, window = time.Hour, 10 * time.Minute
	for _, c := range []struct {
		name string
		seen []Witness // one each minute after the grace
		ends bool
		why  Reason
	}{
		{"nobody left", repeat(quiet, 12), true, SafeToRevoke},
		{"the window is not over", repeat(quiet, 9), false, ObservationWindow},
		{"a consumer holds it", repeat(held, 12), false, ConsumersLeft},
		{"a session is left", repeat(Witness{Told: true, Safe: true, Sessions: 1}, 12), false, SessionsLeft},
		{"a session in between", slices.Concat(repeat(quiet, 6), []Witness{{Told: true, Safe: true, Sessions: 1}}, repeat(quiet, 5)), false, ObservationWindow},
		{"the target does not tell", repeat(Witness{Safe: true}, 12), false, ObservationWindow},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := ending(Policy{Grace: Duration(grace), Observation: Duration(window)})
			for i, w := range c.seen {
				r, _ = look(t, r, w, noon.Add(grace+time.Duration(i)*time.Minute))
				if r.State != Awaiting {
					break
				}
			}
			if (r.State == Verifying) != c.ends || r.Reason != c.why {
				t.Errorf("the run is %s because of %s, want %s", r.State, r.Reason, c.why)
			}
		})
	}
}

func repeat(w Witness, n int) []Witness { return slices.Repeat([]Witness{w}, n) }

// What is not known for sure since some instant starts the grace anew from there.
func TestGraceStartsAnewWhenEvidenceWasLost(t *testing.T) {
	r := ending(Policy{Grace: Duration(time.Hour)})
	lost := quiet
	lost.Whole = noon.Add(50 * time.Minute)
	r, _ = look(t, r, lost, noon.Add(time.Hour))
	if r.State != Awaiting || !r.NextAt.Equal(noon.Add(110*time.Minute)) {
		t.Fatalf("the run is %s, next at %v: want the grace from the loss on", r.State, r.NextAt)
	}
	if r, _ = look(t, r, lost, noon.Add(110*time.Minute)); r.State != Verifying {
		t.Errorf("the run is %s (%s) after the second grace", r.State, r.Reason)
	}
}

// The second look at what a target acknowledged is later than its replication lag and a minute, whatever the grace.
func TestNothingGoesBeforeTheTargetIsDurable(t *testing.T) {
	r := ending(Policy{ReplicationLag: Duration(5 * time.Minute)})
	if r, _ = look(t, r, quiet, noon.Add(6*time.Minute-time.Second)); r.State != Awaiting {
		t.Errorf("the run is %s before the target is durable", r.State)
	}
	if r, _ = look(t, r, quiet, noon.Add(6*time.Minute)); r.State != Verifying {
		t.Errorf("the run is %s (%s)", r.State, r.Reason)
	}
}

// A deadline does what the policy says: it holds, forces, or disables first; with an approval only after a second person agreed.
func TestDeadlines(t *testing.T) {
	late := noon.Add(2 * time.Hour)
	policy := func(then Then, approval bool) Policy {
		return Policy{Grace: Duration(30 * time.Minute), Deadline: Duration(time.Hour), Overdue: Overdue{Then: then, Approval: approval}}
	}
	t.Run("hold", func(t *testing.T) {
		r, effects := look(t, ending(policy(Hold, false)), held, late)
		if r.State != Held || r.NextAt.IsZero() || !has(effects, MoveAlert) {
			t.Errorf("%s, next %v, %v", r.State, r.NextAt, effects)
		}
		if r, _ = look(t, r, quiet, late.Add(time.Minute)); r.State != Verifying {
			t.Errorf("the last consumer has moved, and the run is %s", r.State)
		}
	})
	t.Run("force", func(t *testing.T) {
		r, effects := look(t, ending(policy(Force, false)), held, late)
		if r.State != Verifying || r.Forced != DeadlineForces || !has(effects, MoveAlert) {
			t.Errorf("%s, %s", r.State, r.Forced)
		}
	})
	t.Run("force with approval", func(t *testing.T) {
		r, _ := look(t, ending(policy(Force, true)), held, late)
		if r.State != Held || r.Reason != ApprovalNeeded {
			t.Fatalf("%s, %s", r.State, r.Reason)
		}
		r, err := r.Take(Order{Kind: ApproveOrder, At: late, By: "second"})
		if err != nil {
			t.Fatal(err)
		}
		if r, _, _ = Next(r, Observation{}, late); r.State != Verifying || r.Forced != DeadlineForces {
			t.Errorf("approved: %s, %s", r.State, r.Forced)
		}
	})
	t.Run("disable then delete", func(t *testing.T) {
		r, effects := look(t, ending(policy(DisableThenDelete, false)), held, late)
		if r.State != Held || !has(effects, MoveDisable) {
			t.Fatalf("%s, %v", r.State, effects)
		}
		r, effects = look(t, r, held, late.Add(29*time.Minute))
		if r.State != Held || has(effects, MoveDisable) {
			t.Errorf("one grace is not over, and the run is %s, %v", r.State, effects)
		}
		if r, _ = look(t, r, held, late.Add(30*time.Minute)); r.State != Verifying {
			t.Errorf("one grace is over, and the run is %s", r.State)
		}
	})
	t.Run("people are told before", func(t *testing.T) {
		r := ending(policy(Hold, false))
		alerts := 0
		for m := 0; m < 60; m += 5 {
			var effects []Effect
			r, effects = look(t, r, held, noon.Add(time.Duration(m)*time.Minute))
			for _, e := range effects {
				if e.Kind == MoveAlert {
					alerts++
				}
			}
		}
		if alerts != 2 {
			t.Errorf("%d alerts, want one at half and one at nine tenths", alerts)
		}
	})
}

func has(effects []Effect, k EffectKind) bool {
	return slices.ContainsFunc(effects, func(e Effect) bool { return e.Kind == k })
}

// step makes one step with a probe's outcome.
func probeSays(t *testing.T, r Run, now time.Time, verdicts map[vault.VersionID]rotator.Verdict) (Run, []Effect) {
	t.Helper()
	r, effects, _ := Next(r, Observation{}, now)
	if n := len(effects); n == 0 || effects[n-1].Kind != CallProbe {
		t.Fatalf("in %s there is no login: %v", r.State, effects)
	}
	r, effects, _ = Next(r, Observation{Of: CallProbe, Matrix: verdicts}, now)
	return r, effects
}

// A target that lost what it acknowledged gets the current value again, and the old one stays until that works.
func TestAcknowledgedAndLost(t *testing.T) {
	r := ending(Policy{})
	now := noon.Add(time.Hour)
	r.State = Verifying
	r, effects := probeSays(t, r, now, map[vault.VersionID]rotator.Verdict{"new": rotator.Rejected, "old": rotator.Accepted})
	if r.State != Repairing || !has(effects, CallSet) || !has(effects, MoveAlert) || effects[len(effects)-1].Version != "new" {
		t.Fatalf("%s, %v", r.State, effects)
	}
	r, _, _ = Next(r, Observation{Of: CallSet}, now.Add(time.Second))
	if r.State != Verifying {
		t.Fatalf("after the repair: %s", r.State)
	}
	if r, _ = probeSays(t, r, now.Add(time.Minute), map[vault.VersionID]rotator.Verdict{"new": rotator.Accepted}); r.State != Revoking {
		t.Errorf("the current value works again, and the run is %s", r.State)
	}
}

// A person returns to the version before while that still logs in; the bad one is then what is revoked.
func TestReturn(t *testing.T) {
	now := noon.Add(time.Minute)
	order := func(r Run) Run {
		r, err := r.Take(Order{Kind: AbortOrder, At: now, By: "somebody"})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r, effects := probeSays(t, order(ending(Policy{})), now, map[vault.VersionID]rotator.Verdict{"old": rotator.Accepted})
	if r.State != Awaiting || !has(effects, MoveReturn) || r.Current != "old" || r.Old[0] != "new" || !r.Promoted.Equal(now) {
		t.Errorf("%s, current %s, old %v, %v", r.State, r.Current, r.Old, effects)
	}
	r, effects = probeSays(t, order(ending(Policy{})), now, map[vault.VersionID]rotator.Verdict{"old": rotator.Rejected})
	if r.State != Awaiting || has(effects, MoveReturn) || r.Current != "new" || r.Reason != NotAccepted {
		t.Errorf("the old one does not log in: %s, %s, %v", r.State, r.Reason, effects)
	}
}

// Forward only: what is being revoked cannot be returned to.
func TestNoReturnOnceRevoking(t *testing.T) {
	r := ending(Policy{})
	r.State = Revoking
	if _, err := r.Take(Order{Kind: AbortOrder, At: noon}); err == nil {
		t.Error("the abort of a revocation under way was accepted")
	}
}

// The exposure of what leaked ends with the login that proves it dead.
func TestExposure(t *testing.T) {
	r := ending(Policy{})
	r.Start = Start{Cause: Leaked, Version: "old", Exposed: noon.Add(-time.Hour)}
	r.State = Confirming
	end := noon.Add(time.Minute)
	r, _ = probeSays(t, r, end, map[vault.VersionID]rotator.Verdict{"new": rotator.Accepted, "old": rotator.Rejected})
	if r.State != Done || r.Exposure == nil || !r.Exposure.From.Equal(noon.Add(-time.Hour)) || !r.Exposure.Until.Equal(end) {
		t.Errorf("%s, exposure %+v", r.State, r.Exposure)
	}
}

// Before each wrong login is the question whether it could lock the account.
func TestLockoutIsNotReached(t *testing.T) {
	r := newRotation("run", noon, Start{Cause: OnDemand}, Policy{Strategy: rotator.Single, Accounts: []string{"a"}}, DefaultPace)
	r.State, r.Pending, r.Base, r.Sent, r.Able = Probing, "new", "now", true, Able{Probes: true, Lockout: 3}
	r.Places = map[vault.VersionID]Place{"new": {Account: "a"}, "now": {Account: "a"}, "before": {Account: "a"}}
	r.Previous = "before"
	r, effects, _ := Next(r, Observation{}, noon)
	if probe := effects[len(effects)-1].Probe; len(probe) != 2 {
		t.Errorf("a pass of %v could end with three wrong logins", probe)
	}
	r, _, _ = Next(r, Observation{Of: CallProbe, Matrix: map[vault.VersionID]rotator.Verdict{"new": rotator.Rejected, "now": rotator.Rejected}}, noon)
	if r, effects, _ = Next(r, Observation{}, noon.Add(time.Hour)); has(effects, CallProbe) {
		t.Errorf("a third wrong login was planned: %v", effects)
	}
	if r.State != Stuck {
		t.Errorf("the run is %s", r.State)
	}
}

// People see who has not moved within a minute of the promotion, however long the grace is; and the looks become rare, so that a long grace costs little.
func TestLaggardsAreNamedDuringTheGrace(t *testing.T) {
	r := ending(Policy{Grace: Duration(30 * day)})
	named, looks := time.Time{}, 0
	for now := noon; now.Before(noon.Add(30 * day)); now = r.NextAt {
		before := r.Looks
		r, _ = look(t, r, held, now)
		if r.Looks > before {
			looks++
			if named.IsZero() && len(r.Waiting) == 1 {
				named = now
			}
		}
		if r.State != Awaiting || r.Reason != GracePeriod || !r.NextAt.After(now) {
			t.Fatalf("at %v the run is %s because of %s, next at %v", now, r.State, r.Reason, r.NextAt)
		}
	}
	if named.IsZero() || named.After(noon.Add(time.Minute)) {
		t.Errorf("the laggard was named at %v, the promotion was at %v", named, noon)
	}
	if looks > 30 {
		t.Errorf("%d looks in thirty days of grace", looks)
	}
	if !r.NextAt.Equal(noon.Add(30 * day)) {
		t.Errorf("the next look is at %v, the grace ends at %v", r.NextAt, noon.Add(30*day))
	}
}
