package archive

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/store"
)

// TestCrashBetweenAppendAndCursor is the story for which adoptions are kept: a node dies with a row in its log and the cursor before it, another node takes
// the row over, and the first comes back.
func TestCrashBetweenAppendAndCursor(t *testing.T) {
	w := testWorld(t)
	a, b := w.join("a"), w.join("b")
	a.change(1)
	b.change(2)
	a.rows.crash = true
	if _, err := a.own.Round(w.ctx); err == nil {
		t.Fatal("the crash did not happen")
	}
	if rows := b.adopt(); rows != 0 {
		t.Fatalf("%d rows of a node that lives were adopted", rows)
	}
	a.live = false
	b.sequence()
	if rows := b.adopt(); rows != 1 {
		t.Fatalf("%d rows were adopted, want one", rows)
	}
	a.live, a.rows.crash = true, false
	a.sequence()
	a.change(3)
	a.sequence()
	a.ship()
	b.ship()
	want := []string{"object-1", "object-2", "object-3"}
	for _, n := range []*node{a, b} {
		if got := n.names(audit.Filter{}); len(got) != 3 || !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("%s answers %q, want each change once", n.id, got)
		}
		total, copies := int64(0), int64(0)
		for _, r := range n.verify() {
			total, copies = total+r.Records, copies+r.Copies
			if !r.OK() {
				t.Errorf("%s: %v", r.Origin, r.Problems)
			}
		}
		if total != 4 || copies != 1 {
			t.Errorf("%s counts %d records and %d copies, want 4 and 1", n.id, total, copies)
		}
	}
}

// TestCrashOfAnAdopter: a row that was taken over and not noted counts where it belongs.
func TestCrashOfAnAdopter(t *testing.T) {
	w := testWorld(t)
	a, b := w.join("a"), w.join("b")
	a.change(1)
	b.adoptAndCrash(a)
	a.sequence()
	a.ship()
	b.ship()
	for _, n := range []*node{a, b} {
		if got := n.names(audit.Filter{}); len(got) != 1 {
			t.Errorf("%s answers %q, want the change once", n.id, got)
		}
	}
}

// TestAdoptionIsOnesAtATime: while one node adopts, another leaves the rows to it.
func TestAdoptionIsOnesAtATime(t *testing.T) {
	w := testWorld(t)
	a, b, c := w.join("a"), w.join("b"), w.join("c")
	a.change(1)
	a.live = false
	held := &ward{Adopter: b.adopter, node: "a"}
	if rows, err := held.Rows(w.ctx, 0, 10); err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	w.must(b.holdLease(held))
	if rows := c.adopt(); rows != 0 {
		t.Fatalf("%d rows were adopted under another's lease", rows)
	}
	if rows := b.adopt(); rows != 1 {
		t.Fatalf("the owner of the lease adopted %d rows", rows)
	}
	// A lease that was lost in the middle of a round moves nothing.
	a.change(2)
	lost := &ward{Adopter: c.adopter, node: "a", lease: held.lease}
	if rows, err := lost.Rows(w.ctx, 0, 10); err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	} else if err := lost.Sequenced(w.ctx, rows[0].Position); err == nil {
		t.Error("a cursor was moved under a lease that was lost")
	}
	if rows := c.adopt(); rows != 1 {
		t.Errorf("the row that was left was not adopted: %d", rows)
	}
}

// adoptAndCrash takes rows over and ends before that is noted.
func (n *node) adoptAndCrash(from *node) {
	n.Helper()
	if n == from {
		return
	}
	rows, err := (&ward{Adopter: n.adopter, node: from.id}).Rows(n.ctx, 0, 10)
	n.must(err)
	for _, row := range rows {
		n.must(n.log.AppendSealed(n.ctx, row.ID, row.Frame))
	}
	n.must(n.log.Sync(n.ctx))
}

// TestRowsCountOnce lets three nodes commit, sequence, die at any moment, be taken over, come back and ship, and expects each change exactly once in the end.
func TestRowsCountOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dirs := []string{}
		defer func() {
			for _, d := range dirs {
				os.RemoveAll(d)
			}
		}()
		var cleanups []func()
		w := newWorld(t, func() string {
			d, err := os.MkdirTemp("", "archive")
			if err != nil {
				t.Fatal(err)
			}
			dirs = append(dirs, d)
			return d
		}, func(f func()) { cleanups = append(cleanups, f) })
		defer func() {
			for _, f := range cleanups {
				f()
			}
		}()
		nodes := []*node{w.join("a"), w.join("b"), w.join("c")}
		pick := rapid.SampledFrom(nodes)
		var want []string
		for i := range rapid.IntRange(5, 25).Draw(t, "steps") {
			n := pick.Draw(t, "node")
			w.clock.Advance(time.Second)
			switch rapid.IntRange(0, 8).Draw(t, "step") {
			case 0, 1, 2:
				if n.live {
					n.change(i)
					want = append(want, fmt.Sprint("object-", i))
				}
			case 3:
				if n.live {
					n.read(i)
					want = append(want, fmt.Sprint("object-", i))
				}
			case 4:
				n.sequence() // a node that others count as dead may still be at it
			case 5:
				n.rows.crash = rapid.Bool().Draw(t, "crash")
				_, _ = n.own.Round(w.ctx)
				n.rows.crash = false
			case 6:
				n.live = !n.live
			case 7:
				if n.live {
					n.adopt()
					n.ship()
				}
			case 8:
				n.adoptAndCrash(pick.Draw(t, "from"))
			}
		}
		for _, n := range nodes {
			n.live = true
			n.sequence()
			n.ship()
		}
		slices.Sort(want)
		for _, n := range nodes {
			if got := slices.Sorted(slices.Values(n.names(audit.Filter{}))); !slices.Equal(got, want) {
				t.Fatalf("%s answers %q, want %q", n.id, got, want)
			}
			counted := 0
			for _, r := range n.verify() {
				counted += int(r.Records - r.Copies)
			}
			if counted != len(want) {
				t.Fatalf("%s counts %d records, want %d", n.id, counted, len(want))
			}
		}
	})
}

// A node whose disk is lost takes what it had not shipped along. The rows of changes among that are still in the journal, and are taken over.
func TestLostDisk(t *testing.T) {
	w := testWorld(t)
	a, b := w.join("a"), w.join("b")
	a.change(1)
	a.sequence()
	a.ship()
	a.change(2)
	a.read(3)
	a.sequence() // the row is durable in a directory that nobody will see again
	a.live = false
	if rows := b.adopt(); rows != 1 {
		t.Errorf("%d rows were adopted, want the one that was not shipped", rows)
	}
	if got := b.names(audit.Filter{}); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"object-1", "object-2"}) {
		t.Errorf("b answers %q, want both changes", got)
	}
	if rows := b.adopt(); rows != 0 {
		t.Errorf("%d rows were adopted again", rows)
	}
	// Should the disk be found, each change still counts once.
	a.live = true
	a.sequence()
	a.ship()
	b.ship()
	for _, n := range []*node{a, b} {
		if got := slices.Sorted(slices.Values(n.names(audit.Filter{}))); !slices.Equal(got, []string{"object-1", "object-2", "object-3"}) {
			t.Errorf("%s answers %q, want each record once", n.id, got)
		}
	}
}

// The journal is kept for rows that are in one directory alone.
func TestJournalIsKeptForWhatIsNotShipped(t *testing.T) {
	w := testWorld(t)
	a := w.join("a")
	least := func() (least store.Position) {
		w.must(w.store.View(w.ctx, func(tx store.Tx) error {
			names, err := Cursors(w.ctx, tx)
			least = -1
			for _, name := range names {
				if name == Cursor("") {
					continue // of rows that name no node
				}
				at, err := tx.Cursor(w.ctx, name)
				w.must(err)
				if least < 0 || at < least {
					least = at
				}
			}
			return err
		}))
		return least
	}
	a.change(1)
	a.sequence()
	if at := least(); at != 0 {
		t.Errorf("the journal is kept from %d on while its row is in one directory alone", at)
	}
	a.ship()
	if at := least(); at != 1 {
		t.Errorf("the journal is kept from %d on behind the shipping, want 1", at)
	}
}
