package ledger

import (
	"fmt"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// TestWhoComesAgainIsRemembered fills the memory with consumers of which some read again, and makes room.
func TestWhoComesAgainIsRemembered(t *testing.T) {
	const all = 40
	for _, c := range []struct{ again, stay int }{{0, 0}, {10, 10}, {all, 0}} {
		l := &Ledger{Config: Config{MaxConsumers: 2 * all, Clock: clock.NewManual(t0)}, queued: make(map[store.HoldingKey]*change)}
		l.forget()
		keys := make([]groupKey, all)
		for i := range keys {
			keys[i] = groupKey{vault: "v", kind: vault.Secret, name: fmt.Sprint("n", i), principal: "p"}
			var s said
			s.facts.HoldingKey = store.HoldingKey{Vault: "v", Kind: vault.Secret, NameKey: keys[i].name, Version: v1, Principal: "p"}
			s.facts.First, s.facts.Last = t0, t0
			l.queue(keys[i], &s)
		}
		l.stored(l.pending)
		for _, k := range keys[:c.again] {
			if !l.groups[k].again(v1, t0.Add(time.Second)) {
				t.Fatal("a version that is read again is told to the store")
			}
		}
		l.shrink()
		if len(l.groups) != c.stay || l.known != 2*c.stay {
			t.Errorf("of %d consumers, of which %d came again, %d are remembered as %d: want %d", all, c.again, len(l.groups), l.known, c.stay)
		}
		// What the store has only roughly of those that go is written, and nothing else.
		if want := c.again - c.stay; len(l.pending) != want {
			t.Errorf("with %d that came again, %d rows are queued: want %d", c.again, len(l.pending), want)
		}
		for i, k := range keys[:c.stay] {
			if l.groups[k] == nil {
				t.Errorf("consumer %d came again and is forgotten", i)
			}
		}
		if c.stay > 0 {
			if l.shrink(); len(l.groups) != 0 {
				t.Error("who did not come again since is still remembered")
			}
		}
	}
}
