package rotation

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// A target at which nobody can try a credential is believed when it says that it took one, and is a person's business when it says nothing.
func TestATargetThatCannotBeAskedIsBelievedOrStuck(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	setting := Run{ID: "run", Kind: store.RotationRun, State: Setting, Policy: Policy{Strategy: rotator.Single}, Pace: DefaultPace, Base: "one", Pending: "two",
		Places: map[vault.VersionID]Place{"one": {Account: "a"}, "two": {Account: "a"}}, Began: now, Sent: true, SetAt: now}

	done, effects, reason := Next(setting, Observation{Of: CallSet}, now)
	if done.State != Done || reason != Promoted || len(effects) == 0 || effects[0].Kind != MovePromote || effects[0].Version != "two" {
		t.Errorf("an acknowledged value leads to %s (%s) with %+v", done.State, reason, effects)
	}
	for name, o := range map[string]Observation{
		"a lost reply": {Of: CallSet, Err: &Trouble{Class: "doubt"}, Class: rotator.Doubt},
		"a crash":      {},
	} {
		stuck, _, reason := Next(setting, o, now)
		if stuck.State != Stuck || reason != CannotLook {
			t.Errorf("%s leads to %s (%s)", name, stuck.State, reason)
		}
	}
}
