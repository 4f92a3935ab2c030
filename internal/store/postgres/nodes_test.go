package postgres_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/postgres"
	"github.com/keywright/keywright/internal/vault"
)

// node opens a store that is closed with the test, and gathers what its watchers are shown.
func node(t *testing.T, cfg postgres.Config) (*postgres.Store, *record) {
	t.Helper()
	s := open(t, cfg)
	r := &record{changed: make(chan struct{}, 1)}
	stop := s.Watch(r.add)
	t.Cleanup(func() {
		stop()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, r
}

// record is what watchers were shown.
type record struct {
	mu      sync.Mutex
	commits []*store.Commit
	changed chan struct{}
}

func (r *record) add(c *store.Commit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commits = append(r.commits, c)
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *record) list() []*store.Commit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.commits)
}

// await waits until a commit at the position was shown.
func (r *record) await(t *testing.T, p store.Position) {
	t.Helper()
	over := time.After(time.Minute)
	for {
		if l := r.list(); len(l) > 0 && l[len(l)-1].Position >= p {
			return
		}
		select {
		case <-r.changed:
		case <-over:
			t.Fatalf("the watcher has not seen position %d", p)
		}
	}
}

func put(t *testing.T, s *postgres.Store, name string) store.Op {
	t.Helper()
	op := store.NewOp(time.Now())
	if err := s.Update(t.Context(), op, func(tx store.Tx) error { return tx.PutSetting(t.Context(), name, nil) }); err != nil {
		t.Fatal(err)
	}
	return op
}

func head(t *testing.T, s *postgres.Store) (p store.Position) {
	t.Helper()
	if err := s.View(t.Context(), func(tx store.Tx) (err error) {
		p, err = tx.Head(t.Context())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

// Nodes that write at once lose no update, and each shows its watchers the same commits, in the order of the journal.
func TestNodesSeeTheSame(t *testing.T) {
	cfg := place(t)
	const nodes, workers, rounds = 3, 4, 12
	var stores []*postgres.Store
	var records []*record
	for range nodes {
		s, r := node(t, cfg)
		stores, records = append(stores, s), append(records, r)
	}
	first := &vault.Object{ID: vault.NewObjectID(time.Now()), Vault: vault.NewID(time.Now()), Kind: vault.Secret, Name: "counter", Created: time.Now()}
	if err := stores[0].Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error { return tx.PutObject(t.Context(), first) }); err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	for _, s := range stores {
		for range workers {
			group.Go(func() error {
				for range rounds {
					if err := s.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error {
						o, err := tx.Object(t.Context(), first.Vault, first.Kind, first.Name)
						if err != nil {
							return err
						}
						return tx.PutObject(t.Context(), o)
					}); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	const want = 1 + nodes*workers*rounds
	for i, s := range stores {
		records[i].await(t, want)
		if err := s.View(t.Context(), func(tx store.Tx) error {
			o, err := tx.Object(t.Context(), first.Vault, first.Kind, first.Name)
			if err == nil && o.Revision != want {
				t.Errorf("node %d reads the revision %d, want %d: an update was lost", i, o.Revision, want)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
		list := records[i].list()
		if len(list) != want {
			t.Errorf("node %d showed %d commits, want %d", i, len(list), want)
		}
		for j, c := range list {
			if c.Position != store.Position(j+1) || c.Flush || c.Op != records[0].list()[j].Op {
				t.Fatalf("the commit %d of node %d is %v at %d", j, i, c.Op, c.Position)
			}
		}
	}
}

// A commit that a node acknowledged before an instant was shown by every node whose Fresh is not earlier.
func TestFreshness(t *testing.T) {
	cfg := place(t)
	a, _ := node(t, cfg)
	b, seen := node(t, cfg)
	for i := range 10 {
		op := put(t, a, "a")
		acknowledged := time.Now()
		for b.Fresh().Before(acknowledged) {
			if time.Since(acknowledged) > 20*time.Second {
				t.Fatal("the other node does not become fresh")
			}
			time.Sleep(time.Millisecond)
		}
		if !slices.ContainsFunc(seen.list(), func(c *store.Commit) bool { return c.Op == op }) {
			t.Fatalf("round %d: the other node is fresh and has not shown the commit", i)
		}
	}
}

// A node that was away while the journal was pruned shows a Flush in the place of what it missed, and then goes on.
func TestPrunedFeed(t *testing.T) {
	cfg := place(t)
	proxy := newProxy(t, cfg)
	a, _ := node(t, cfg)
	b, seen := node(t, proxy.config(cfg))
	put(t, a, "a")
	seen.await(t, 1)
	proxy.cut()
	for range 3 {
		put(t, a, "a")
	}
	fresh := b.Fresh()
	if err := a.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error {
		_, err := tx.PruneJournal(t.Context(), 3, time.Now().Add(time.Hour), 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if later := b.Fresh(); later.After(fresh) {
		t.Errorf("a node that is cut off became fresher by %s", later.Sub(fresh))
	}
	proxy.mend()
	seen.await(t, 4)
	list := seen.list()
	if len(list) != 3 || !list[1].Flush || list[1].Position != 3 || list[2].Flush || list[2].Position != 4 {
		t.Fatalf("the node showed %d commits, the second %+v; want a Flush at 3 between 1 and 4", len(list), list[1])
	}
	for over := time.Now().Add(time.Minute); b.Alarm() != nil; time.Sleep(time.Millisecond) { // which ends when the look does, and that shows commits first
		if time.Now().After(over) {
			t.Fatalf("Alarm = %v after the node hears of others again", b.Alarm())
		}
	}
	// Pruned to the end, there is nothing to go on with.
	proxy.cut()
	put(t, a, "a")
	if err := a.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error {
		_, err := tx.PruneJournal(t.Context(), 5, time.Now().Add(time.Hour), 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	proxy.mend()
	seen.await(t, 5)
	if last := seen.list()[3]; !last.Flush || last.Position != 5 {
		t.Errorf("the node showed %+v, want a Flush at 5", last)
	}
}

// A lease is one for all nodes.
func TestLeasesOfNodes(t *testing.T) {
	cfg := place(t)
	a, _ := node(t, cfg)
	b, _ := node(t, cfg)
	acquire := func(s *postgres.Store, owner string) (l *store.Lease, err error) {
		err = s.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error {
			l, err = tx.AcquireLease(t.Context(), "work", owner, 300*time.Millisecond, 0)
			return err
		})
		return l, err
	}
	first, err := acquire(a, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := acquire(b, "b"); fault.As(err) == nil || fault.As(err).Reason != store.LeaseHeld {
		t.Errorf("the other node acquires what is held: %v", err)
	}
	var second *store.Lease
	for second == nil {
		second, err = acquire(b, "b")
		if err != nil && fault.As(err).Reason != store.LeaseHeld {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if second.Fence <= first.Fence {
		t.Errorf("the second holder has the fence %d after %d", second.Fence, first.Fence)
	}
	err = a.Update(t.Context(), store.NewOp(time.Now()), func(tx store.Tx) error { return tx.CheckLease(t.Context(), first) })
	if fault.As(err) == nil || fault.As(err).Reason != store.LeaseLost {
		t.Errorf("the first holder's lease: %v", err)
	}
}

// A node that stops in the middle of a group does not keep the others from writing for ever: the database ends its transaction.
func TestAStoppedNodeLetsGo(t *testing.T) {
	t.Parallel()
	cfg := place(t)
	a, _ := node(t, cfg)
	b, _ := node(t, cfg)
	holds, release := make(chan struct{}), make(chan struct{})
	var group errgroup.Group
	group.Go(func() error {
		return a.Update(context.Background(), store.NewOp(time.Now()), func(tx store.Tx) error {
			if _, err := tx.Head(t.Context()); err != nil {
				return err
			}
			close(holds)
			<-release
			return tx.PutSetting(t.Context(), "stopped", nil)
		})
	})
	<-holds
	put(t, b, "b")
	close(release)
	if err := group.Wait(); !fault.Is(err, fault.Unavailable) {
		t.Errorf("the stopped node's Update = %v, want Unavailable", err)
	}
	put(t, a, "a")
	if p := head(t, a); p != 2 {
		t.Errorf("the journal ends at %d, want 2", p)
	}
}

// Processes that open a new store at once make one schema.
func TestOpenedAtOnce(t *testing.T) {
	cfg := place(t)
	cfg.Schema = newSchema()
	var group errgroup.Group
	for range 6 {
		group.Go(func() error {
			s, err := postgres.Open(t.Context(), cfg)
			if err != nil {
				return err
			}
			return errors.Join(s.Health(t.Context()), s.Close())
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}
