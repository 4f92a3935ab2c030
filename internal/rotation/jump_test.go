package rotation

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock/clocktest"
	"github.com/keywright/keywright/internal/vault"
)

// Each tenant counts by the clock that it trusts, also after a restart.
func TestEachTenantHasItsTime(t *testing.T) {
	const resumes, doubts vault.TenantID = "resumes", "doubts"
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			var machine clocktest.Stepped
			var j jumps
			j.see(machine.Now())
			machine.Step(by)
			near := func(what string, got time.Time, off time.Duration) {
				t.Helper()
				if d := got.Sub(machine.Now().Round(0).Add(off)); d.Abs() > time.Minute {
					t.Errorf("%s is %s away from what it should be", what, d)
				}
			}
			near("the time before anybody resumed", j.by(resumes, machine.Now()), -by)
			if at := j.resumed(resumes, machine.Now()); !at.IsZero() {
				t.Errorf("somebody resumed at %s", at)
			}
			j.trust(resumes, machine.Now())
			doc, err := json.Marshal(j.state())
			if err != nil {
				t.Fatal(err)
			}
			var kept clockState
			if err := json.Unmarshal(doc, &kept); err != nil {
				t.Fatal(err)
			}
			var next jumps
			next.restore(kept)
			for name, j := range map[string]*jumps{"this process": &j, "the next one": &next} {
				near(name+": the time of who resumed", j.by(resumes, machine.Now()), 0)
				near(name+": the time of who did not", j.by(doubts, machine.Now()), -by)
				near(name+": the latest time", j.latest(machine.Now()), max(0, -by))
				near(name+": when somebody resumed", j.resumed(resumes, machine.Now()), 0)
				if at := j.resumed(doubts, machine.Now()); !at.IsZero() {
					t.Errorf("%s: somebody of the other tenant resumed at %s", name, at)
				}
			}
		})
	}
}

// A clock that was set back while nobody looked keeps nobody waiting until it comes by once more.
func TestResumedInTheFuture(t *testing.T) {
	now := time.Now()
	var j jumps
	j.trust("t", now.Add(24*time.Hour))
	first := j.resumed("t", now)
	if again := j.resumed("t", now.Add(time.Hour)); first.After(now) || !again.Equal(first) {
		t.Errorf("somebody resumed %s ahead, then %s", first.Sub(now), again.Sub(now))
	}
}
