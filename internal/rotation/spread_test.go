package rotation

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/rollout"
)

// quietRings have seen nothing that stands against going on.
type quietRings struct{}

func (quietRings) Observe(_ context.Context, _ Subject, r rollout.Rollout, _ string) (rollout.Observations, error) {
	return rollout.Observations{Ring: r.Opened - 1, Known: true}, nil
}
func (quietRings) CheckProbe(string) error { return nil }

// How long a ring has been open counts anew when people took a clock for right that had been moved: it is neither passed over nor given up because of that.
func TestRingsCountByTheClock(t *testing.T) {
	const least, stuck = time.Hour, 2 * time.Hour
	gate := rollout.Gate{MinTime: least, Approval: true}
	doc, err := json.Marshal(RolloutPolicy{Rings: []rollout.Ring{{Name: "first", Percent: 10, Gate: gate}}, Return: rollout.ReturnRules{Stuck: stuck}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name             string
		changed, trusted time.Time
		approved         time.Time
		done, back       bool
	}{
		{name: "long open", changed: now.Add(-90 * time.Minute), approved: now.Add(-time.Minute), done: true},
		{name: "too long", changed: now.Add(-3 * time.Hour), back: true},
		{name: "opened a day ago by a clock that was set ahead since", changed: now.Add(-24 * time.Hour), trusted: now.Add(-time.Minute), approved: now.Add(-time.Second)},
		{name: "opened tomorrow by a clock that was set back since", changed: now.Add(24 * time.Hour), trusted: now.Add(-90 * time.Minute)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := rollout.New("candidate", "base", []rollout.Ring{{Name: "first", Percent: 10, Gate: gate}}, rollout.ReturnRules{Stuck: stuck})
			if err != nil {
				t.Fatal(err)
			}
			r.State, r.Opened, r.Began, r.Changed = rollout.Open, 1, c.changed, c.changed
			run := Run{Policy: Policy{Rollout: doc}, Spread: &r, Trusted: c.trusted}
			if !c.approved.IsZero() {
				run.Orders = []Order{{Kind: ApproveOrder, At: c.approved}}
			}
			call := &calling{driver: &driver{e: &Engine{Config: Config{Rings: quietRings{}, Clock: clock.NewManual(now)}}, run: run}}
			var o Observation
			if err := call.spread(t.Context(), &o); err != nil {
				t.Fatal(err)
			}
			if o.Rollout.Done != c.done || o.Rollout.Return != c.back || o.Rollout.Rollout.Changed.After(now) {
				t.Errorf("done %v, returned %v, the ring was opened %s ago", o.Rollout.Done, o.Rollout.Return, now.Sub(o.Rollout.Rollout.Changed))
			}
		})
	}
}
