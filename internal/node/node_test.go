package node

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
)

func TestIdentify(t *testing.T) {
	const known = "0123456789abcdef"
	fresh, adopting := t.TempDir(), t.TempDir()
	first := must(Identify(fresh, ""))(t)
	if again := must(Identify(fresh, known))(t); again != first || len(first) != 16 {
		t.Errorf("the id was %q, and %q at the next start", first, again)
	}
	if other := must(Identify(t.TempDir(), ""))(t); other == first {
		t.Error("two directories have one id")
	}
	if id := must(Identify(adopting, known))(t); id != known {
		t.Errorf("a node that was known as %s is %s", known, id)
	}
	if _, err := Identify(t.TempDir(), "../../etc"); err == nil {
		t.Error("what is no id was taken for one")
	}
	if left := must(os.ReadDir(fresh))(t); len(left) != 1 {
		t.Errorf("the directory has %d files", len(left))
	}
}

// An id that was damaged must not become another node's.
func TestIdentifyDamaged(t *testing.T) {
	for _, text := range []string{"", "0123", "0123456789abcdeg\n", "0123456789ABCDEF", "0123456789abcdef00"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, IDFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if id, err := Identify(dir, ""); err == nil {
			t.Errorf("%q was read as the id %q", text, id)
		}
	}
}

type world struct {
	*testing.T
	store store.Store
	clock *clock.Manual
}

func newWorld(t *testing.T) *world {
	t.Helper()
	s := must(sqlite.Open(sqlite.Config{Dir: t.TempDir()}))(t)
	t.Cleanup(func() { s.Close() })
	return &world{T: t, store: s, clock: clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))}
}

func (w *world) node(id string) *Registry {
	w.Helper()
	r := must(New(Config{Store: w.store, Clock: w.clock, Logger: slog.New(slog.DiscardHandler), ID: id, Host: "rack-7", Version: "v1"}))(w.T)
	w.Cleanup(w.store.Watch(r.Changed))
	if err := r.Join(w.Context()); err != nil {
		w.Fatal(err)
	}
	return r
}

func must[V any](v V, err error) func(*testing.T) V {
	return func(t *testing.T) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) write() {
	w.Helper()
	if err := w.store.Update(w.Context(), store.NewOp(w.clock.Now()), func(tx store.Tx) error { return tx.PutSetting(w.Context(), "a", []byte("b")) }); err != nil {
		w.Fatal(err)
	}
}

func TestMembers(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("000000000000000a"), w.node("000000000000000b")
	w.write()
	list := must(a.Members(t.Context()))(t)
	if len(list) != 2 || list[0].ID != a.ID || list[0].State != Live || list[1].State != Live || list[1].Host != "rack-7" || list[1].Version != "v1" {
		t.Fatalf("the members are %+v", list)
	}
	if list[0].Behind != 0 || list[1].Behind != 1 {
		t.Errorf("a is %d entries behind, want none; b %d, want 1: it has not told of it yet", list[0].Behind, list[1].Behind)
	}
	if err := b.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.leave()
	if list = must(a.Members(t.Context()))(t); list[1].State != Stopped || list[1].Behind != 0 {
		t.Errorf("b is %+v after it has left", list[1])
	}
}

func TestStateOfMember(t *testing.T) {
	seen := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		after time.Duration
		left  time.Time
		want  State
	}{{0, time.Time{}, Live}, {Silent, time.Time{}, Live}, {Silent + 1, time.Time{}, Unheard}, {-time.Hour, time.Time{}, Live}, {time.Hour, seen, Stopped}} {
		m := member(&store.Node{Seen: seen, Left: c.left, Position: 5}, seen.Add(c.after), 3)
		if m.State != c.want || m.Quiet != max(0, c.after) || m.Behind != 0 {
			t.Errorf("after %s it is %s, quiet for %s and %d behind; want %s", c.after, m.State, m.Quiet, m.Behind, c.want)
		}
	}
	if Lapse >= Silent {
		t.Error("others count a node as dead before it counts itself as cut off")
	}
}

func TestCutOff(t *testing.T) {
	w := newWorld(t)
	r := w.node("000000000000000a")
	w.clock.Advance(Lapse)
	if r.CutOff() != 0 {
		t.Errorf("the node is cut off %s after its last beat", Lapse)
	}
	w.clock.Advance(1)
	if r.CutOff() <= Lapse {
		t.Errorf("the node is not cut off more than %s after its last beat", Lapse)
	}
	if err := r.Beat(t.Context()); err != nil || r.CutOff() != 0 {
		t.Errorf("Beat = %v; cut off: %v", err, r.CutOff())
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	w.clock.Advance(Lapse + 1)
	if err := r.Beat(cancelled); err == nil || r.CutOff() == 0 {
		t.Errorf("a beat that failed = %v; cut off: %v", err, r.CutOff())
	}
}

// The last process that joined is the node: after a directory was copied, one of the two must not go on.
func TestReplaced(t *testing.T) {
	w := newWorld(t)
	first := w.node("000000000000000a")
	second := w.node("000000000000000a")
	err := first.Beat(t.Context())
	if e := fault.As(err); e == nil || e.Reason != store.NodeReplaced || first.CutOff() == 0 {
		t.Errorf("the beat of the process before = %v; cut off: %v", err, first.CutOff())
	}
	if err := second.Beat(t.Context()); err != nil || second.CutOff() != 0 {
		t.Errorf("Beat = %v; cut off: %v", err, second.CutOff())
	}
	first.leave()
	if list := must(second.Members(t.Context()))(t); len(list) != 1 || list[0].State != Live || first.Process() == second.Process() {
		t.Errorf("the members are %+v after the process before ended", list)
	}
}

func TestRunBeatsAndLeaves(t *testing.T) {
	w := newWorld(t)
	r := must(New(Config{Store: w.store, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), ID: "000000000000000a", Every: time.Millisecond}))(t)
	if err := r.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	joined := must(r.Members(t.Context()))(t)[0]
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	for deadline := time.Now().Add(time.Minute); !must(r.Members(t.Context()))(t)[0].Seen.After(joined.Seen); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the node does not beat")
		}
	}
	// Whoever was removed while it was away is there again with its next beat.
	w.remove(r.ID)
	for deadline := time.Now().Add(time.Minute); len(must(r.Members(t.Context()))(t)) == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a node that was removed does not join again")
		}
	}
	cancel()
	<-done
	var left []*store.Node
	w.view(func(tx store.Tx) (err error) { left, err = tx.Nodes(t.Context()); return err })
	if len(left) != 1 || left[0].Left.IsZero() {
		t.Errorf("the nodes are %+v after the end", left)
	}
}

func (w *world) view(fn func(store.Tx) error) {
	w.Helper()
	if err := w.store.View(w.Context(), fn); err != nil {
		w.Fatal(err)
	}
}

func (w *world) remove(id string) {
	w.Helper()
	if err := w.store.Update(w.Context(), store.NewOp(w.clock.Now()), func(tx store.Tx) error { return tx.RemoveNode(w.Context(), id) }); err != nil {
		w.Fatal(err)
	}
}

// olderStore shows every instant of a node as long past, so that a test need not wait a week.
type olderStore struct{ store.Store }

type olderTx struct{ store.Tx }

func (s olderStore) View(ctx context.Context, fn func(store.Tx) error) error {
	return s.Store.View(ctx, func(tx store.Tx) error { return fn(olderTx{tx}) })
}

func (t olderTx) Clock(ctx context.Context) (time.Time, error) {
	now, err := t.Tx.Clock(ctx)
	return now.Add(Kept + time.Minute), err
}

func TestSweep(t *testing.T) {
	w := newWorld(t)
	r, dead, needed := w.node("000000000000000a"), w.node("000000000000000b"), w.node("000000000000000c")
	if removed := must(r.Sweep(t.Context()))(t); len(removed) != 0 {
		t.Fatalf("%s were removed while they live", removed)
	}
	r.Store = olderStore{w.store}
	r.Keep = func(_ context.Context, _ store.Tx, n *store.Node) (bool, error) { return n.ID == needed.ID, nil }
	if removed := must(r.Sweep(t.Context()))(t); !slices.Equal(removed, []string{dead.ID}) {
		t.Errorf("%s were removed, want only what is neither this process nor needed", strings.Join(removed, ", "))
	}
	if list := must(r.Members(t.Context()))(t); len(list) != 2 || list[1].State != Unheard {
		t.Errorf("the members are %+v", list)
	}
}
