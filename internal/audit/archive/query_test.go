package archive

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/fault"
)

// TestQueryMergesByTime pages through the logs of three nodes in both orders, with pages of every size, and expects what one page of everything shows: each
// record once, in the order of time, with its node.
func TestQueryMergesByTime(t *testing.T) {
	w := testWorld(t)
	nodes := []*node{w.join("a"), w.join("b"), w.join("c")}
	random := rand.New(rand.NewPCG(1, 2))
	var want []string
	for i := range 60 {
		w.clock.Advance(time.Second)
		n := nodes[random.IntN(3)]
		if random.IntN(3) == 0 {
			n.change(i)
			n.sequence()
		} else {
			n.read(i)
		}
		want = append(want, fmt.Sprint("object-", i))
		if random.IntN(8) == 0 {
			n.ship()
		}
	}
	for _, n := range nodes {
		n.ship()
	}
	for _, reader := range nodes {
		for _, newest := range []bool{false, true} {
			want := slices.Clone(want)
			if newest {
				slices.Reverse(want)
			}
			for _, limit := range []int{0, 1, 7, 59, 60, 61} {
				f := audit.Filter{Limit: limit, NewestFirst: newest}
				var got []string
				for {
					a, err := reader.reader.Query(w.ctx, f)
					w.must(err)
					for _, r := range a.Records {
						got = append(got, r.ObjectName)
						if r.Node == "" || r.Log != OriginPrefix+r.Node {
							t.Fatalf("record %s is of node %q in log %q", r.ObjectName, r.Node, r.Log)
						}
					}
					if limit == 0 || len(a.Records) < limit {
						break
					}
					f.Cursor = a.Next
				}
				if !slices.Equal(got, want) {
					t.Fatalf("%s, newest first %v, pages of %d: %q", reader.id, newest, limit, got)
				}
			}
		}
	}
	narrow := audit.Filter{From: noon.Add(20 * time.Second), To: noon.Add(30 * time.Second)}
	if got := nodes[0].names(narrow); !slices.Equal(got, want[19:29]) {
		t.Errorf("between two instants there are %q", got)
	}
	if got := nodes[1].names(audit.Filter{ObjectName: "object-33"}); len(got) != 1 {
		t.Errorf("one object has %q", got)
	}
}

// TestNewRecordsStayOutOfLaterPages: what comes while somebody pages from the newest back is not mixed in.
func TestNewRecordsStayOutOfLaterPages(t *testing.T) {
	w := testWorld(t)
	a, b := w.join("a"), w.join("b")
	for i := range 4 {
		w.clock.Advance(time.Second)
		b.read(i)
	}
	b.ship()
	first, err := a.reader.Query(w.ctx, audit.Filter{Limit: 2, NewestFirst: true})
	w.must(err)
	w.clock.Advance(time.Second)
	a.read(4)
	w.join("c").read(5)
	b.read(6)
	b.ship()
	second, err := a.reader.Query(w.ctx, audit.Filter{Limit: 9, NewestFirst: true, Cursor: first.Next})
	w.must(err)
	if len(second.Records) != 2 || second.Records[0].ObjectName != "object-1" || second.Records[1].ObjectName != "object-0" {
		t.Errorf("the second page has %+v", second.Records)
	}
}

func TestCursorsAreChecked(t *testing.T) {
	w := testWorld(t)
	a := w.join("a")
	a.read(1)
	alone, err := a.reader.Query(w.ctx, audit.Filter{Limit: 1})
	w.must(err)
	if alone.Next != "0" || alone.Records[0].Log != "" {
		t.Errorf("with one log the cursor is %q and the record's log %q", alone.Next, alone.Records[0].Log)
	}
	b := w.join("b")
	b.read(2)
	b.ship()
	for _, cursor := range []string{"0", "x!", "bm9uZQ", strings.Repeat("A", maxCursor+1), "eyJrZXl3cmlnaHQvYiI6IngifQ"} {
		if _, err := a.reader.Query(w.ctx, audit.Filter{Cursor: cursor}); !fault.Is(err, fault.Invalid) {
			t.Errorf("the cursor %.20q gives %v", cursor, err)
		}
	}
}

// TestQuerySaysWhatIsMissing: an answer that lacks records of another node says whose, since when and why, unless it asks for a time before.
func TestQuerySaysWhatIsMissing(t *testing.T) {
	w := testWorld(t)
	a, b := w.join("a"), w.join("b")
	b.read(1)
	w.clock.Advance(time.Minute)
	b.ship()
	level := w.clock.Now().Add(-slack)
	w.clock.Advance(time.Minute)
	b.read(2)
	ask := func(f audit.Filter) []Missing {
		t.Helper()
		answer, err := a.reader.Query(w.ctx, f)
		w.must(err)
		return answer.Missing
	}
	if got := ask(audit.Filter{}); len(got) != 1 || got[0].Node != "b" || !got[0].Since.Equal(level) || got[0].Lost || !strings.Contains(got[0].Why, "has not shipped yet") {
		t.Errorf("missing of a node that lives: %+v", got)
	}
	if got := ask(audit.Filter{To: level}); len(got) != 0 {
		t.Errorf("before the tail %+v is missing", got)
	}
	b.live = false
	if got := ask(audit.Filter{}); len(got) != 1 || !strings.Contains(got[0].Why, "has not been heard of") {
		t.Errorf("missing of a node that is silent: %+v", got)
	}
	delete(w.nodes, "b")
	w.must(Logs{w.store, w.clock}.CloseRemoved(w.ctx, w.peers))
	if got := ask(audit.Filter{}); len(got) != 1 || !got[0].Lost || got[0].Until.IsZero() {
		t.Errorf("missing of a node that was removed: %+v", got)
	}
	if got := ask(audit.Filter{From: b.fresh().Closed.Add(time.Second)}); len(got) != 0 {
		t.Errorf("after its end %+v is missing", got)
	}
	w.nodes["b"] = b
	b.live = true
	w.must(b.shipper.Finish(w.ctx))
	if got := ask(audit.Filter{}); len(got) != 0 {
		t.Errorf("missing of a node that shipped everything: %+v", got)
	}
	_, missing, err := a.reader.Records(w.ctx, audit.Filter{})
	if err != nil || len(missing) != 0 || len(a.names(audit.Filter{})) != 2 {
		t.Errorf("in the end: %+v, %v", missing, err)
	}
}
