package postgres_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/postgres"
)

// rewrite does something to a schema's tables behind everybody's back, in one transaction.
func rewrite(t *testing.T, cfg postgres.Config, statements ...string) {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Exec(t.Context(), slices.Concat([]string{"SET search_path = " + cfg.Schema, "BEGIN"}, statements, []string{"COMMIT"})...); err != nil {
		t.Fatal(err)
	}
}

// lose takes the journal's entries behind a position away, as a fail-over to a standby does that lacks them, or a restore.
func lose(behind store.Position) []string {
	return []string{fmt.Sprintf("DELETE FROM journal WHERE position > %d", behind), fmt.Sprintf("UPDATE meta SET value = %d WHERE name = 'position'", behind)}
}

// again adds as many entries as nobody has seen.
func again(behind store.Position, n int) (list []string) {
	for i := range n {
		op := store.NewOp(time.Now())
		list = append(list, fmt.Sprintf("INSERT INTO journal (position, op, at) VALUES (%d, '%s', %d)", int(behind)+1+i, op.ID, op.At.UnixMicro()),
			fmt.Sprintf("UPDATE meta SET value = %d WHERE name = 'position'", int(behind)+1+i))
	}
	return list
}

// What watchers saw may be gone from a database that failed over to a standby which did not have it. Positions are given anew then: a node that went by
// them alone would pass over as many commits as were lost, and go on serving what they withdrew.
func TestLostHistory(t *testing.T) {
	for name, after := range map[string]int{"Shorter": 0, "AsLong": 3, "Longer": 5} {
		t.Run(name, func(t *testing.T) {
			cfg := place(t)
			a, seen := node(t, cfg)
			for range 5 {
				put(t, a, "a")
			}
			shown := len(seen.list())
			rewrite(t, cfg, slices.Concat(lose(2), again(2, after))...)
			await(t, seen, func(c *store.Commit) bool { return c.Flush && c.Position == store.Position(2+after) })
			op := put(t, a, "b")
			if last := seen.list()[len(seen.list())-1]; last.Op != op || last.Position != store.Position(3+after) {
				t.Errorf("behind the flush the watchers were shown %+v, want the commit at %d", last, 3+after)
			}
			if n := len(seen.list()); n != shown+2 {
				t.Errorf("the watchers were shown %d commits, want one flush and one commit behind the first %d", n, shown)
			}
		})
	}
}

// A writer finds it out before its first closure runs.
func TestLostHistoryIsFoundByWriters(t *testing.T) {
	cfg := place(t)
	proxy := newProxy(t, cfg)
	a, seen := node(t, proxy.config(cfg))
	for range 5 {
		put(t, a, "a")
	}
	rewrite(t, cfg, lose(2)...)
	flushed := false
	if err := a.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error {
		flushed = slices.ContainsFunc(seen.list(), func(c *store.Commit) bool { return c.Flush && c.Position == 2 })
		return tx.PutSetting(t.Context(), "b", nil)
	}); err != nil {
		t.Fatal(err)
	}
	if !flushed {
		t.Error("a closure ran before the watchers were told that what they saw is gone")
	}
	if last := seen.list()[len(seen.list())-1]; last.Position != 3 || last.Flush {
		t.Errorf("the watchers were shown %+v last, want the commit at 3", last)
	}
}

// A node that finds nothing to compare with is not troubled: the journal was pruned up to its end.
func TestPrunedHistoryIsNotLost(t *testing.T) {
	cfg := place(t)
	a, seen := node(t, cfg)
	for range 3 {
		put(t, a, "a")
	}
	if err := a.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error {
		_, err := tx.PruneJournal(t.Context(), 3, time.Now().Add(time.Hour), 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	asked := time.Now()
	over := time.After(20 * time.Second)
	for a.Fresh().Before(asked) {
		select {
		case <-over:
			t.Fatal("the node does not become fresh")
		case <-time.After(time.Millisecond):
		}
	}
	put(t, a, "b")
	if slices.ContainsFunc(seen.list(), func(c *store.Commit) bool { return c.Flush }) {
		t.Error("a node flushed although it had seen everything")
	}
}

// await waits until the watchers were shown such a commit.
func await(t *testing.T, r *record, such func(*store.Commit) bool) {
	t.Helper()
	over := time.After(20 * time.Second)
	for !slices.ContainsFunc(r.list(), such) {
		select {
		case <-r.changed:
		case <-over:
			t.Fatalf("the watchers were shown %d commits and not what was expected", len(r.list()))
		}
	}
}
