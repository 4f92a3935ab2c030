package rotation

import (
	"slices"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

func kinds(effects []Effect) (list []EffectKind) {
	for _, e := range effects {
		list = append(list, e.Kind)
	}
	return list
}

// A revocation that another process wrote last looks at both versions before it ends one, and leaves alone what the target refuses already.
func TestInheritedRevocationLooks(t *testing.T) {
	for _, state := range []State{Verifying, Revoking} {
		r := ending(Policy{})
		r.State, r.Forced, r.Cut = state, ByOrder, state == Revoking
		later := noon.Add(time.Hour)
		r, effects, _ := Next(r, Observation{Inherited: true}, later)
		if n := len(effects); n != 1 || effects[0].Kind != CallProbe || !effects[0].All || r.State != Verifying {
			t.Fatalf("%s: the run is %s and makes %v", state, r.State, effects)
		}
		seen := func(old rotator.Verdict) (Run, []Effect) {
			n, effects, _ := Next(r, Observation{Of: CallProbe, Matrix: map[vault.VersionID]rotator.Verdict{"new": rotator.Accepted, "old": old}}, later)
			return n, effects
		}
		if n, effects := seen(rotator.Rejected); n.State != Done || !slices.Equal(kinds(effects), []EffectKind{MoveRetired}) {
			t.Errorf("%s: with a refused old version the run is %s and makes %v", state, n.State, kinds(effects))
		}
		if n, effects := seen(rotator.Unknown); slices.Contains(kinds(effects), CallRevoke) || n.State != Verifying {
			t.Errorf("%s: with an unknown old version the run is %s and makes %v", state, n.State, kinds(effects))
		}
		if n, effects := seen(rotator.Accepted); n.State != Revoking || !slices.Contains(kinds(effects), CallRevoke) || n.Inherited {
			t.Errorf("%s: with an accepted old version the run is %s and makes %v", state, n.State, kinds(effects))
		}
	}
}

// A value that another process made is set only after another preflight, and an approval is not asked for twice.
func TestInheritedValueIsNotSetBlindly(t *testing.T) {
	r := newRotation("run", noon, Start{Cause: OnDemand}, Policy{Strategy: rotator.Single, Accounts: []string{"a"}, Approval: true}, DefaultPace)
	r.State, r.Base, r.Pending, r.Began = Generated, "old", "new", noon
	r.Able.Probes, r.Places = true, map[vault.VersionID]Place{"old": {Account: "a"}, "new": {Account: "a"}}
	r.Orders, r.Obeyed = []Order{{Kind: ApproveOrder}}, 1
	r, effects, _ := Next(r, Observation{Inherited: true}, noon)
	if r.State != Preflight || !slices.Equal(kinds(effects), []EffectKind{CallPreflight}) {
		t.Fatalf("the run is %s and makes %v", r.State, kinds(effects))
	}
	failed, _, _ := Next(r, Observation{Of: CallPreflight, Class: rotator.Misconfigured, Err: &Trouble{Message: "refused"}}, noon)
	if failed.State != Stuck || failed.Pending != "new" {
		t.Errorf("the run is %s with the value %q", failed.State, failed.Pending)
	}
	failed.Orders = append(failed.Orders, Order{Kind: ReplayOrder})
	if again, effects, _ := Next(failed, Observation{}, noon); again.State != Preflight || again.Pending != "new" || !slices.Equal(kinds(effects), []EffectKind{CallPreflight}) {
		t.Errorf("sent on its way again the run is %s with the value %q and makes %v", again.State, again.Pending, kinds(effects))
	}
	r, _, _ = Next(r, Observation{Of: CallPreflight, Report: &Found{}}, noon)
	r, effects, _ = Next(r, Observation{}, noon)
	if r.State != Setting || !slices.Equal(kinds(effects), []EffectKind{CallSet}) {
		t.Errorf("after the preflight the run is %s and makes %v", r.State, kinds(effects))
	}
}

// A target that lost the current value after the old one was revoked gets it again, also when the first attempt at that was lost on the way.
func TestRepairIsRepeated(t *testing.T) {
	r := ending(Policy{})
	r.State, r.Cut = Repairing, true
	r, _, _ = Next(r, Observation{Of: CallSet, Class: rotator.Doubt, Err: &Trouble{Message: "no reply"}}, noon)
	neither := map[vault.VersionID]rotator.Verdict{"new": rotator.Rejected, "old": rotator.Rejected}
	r, _, _ = Next(r, Observation{Of: CallProbe, Matrix: neither}, noon.Add(time.Hour))
	if r.State != Repairing {
		t.Errorf("the run is %s (%s)", r.State, r.Reason)
	}
}
