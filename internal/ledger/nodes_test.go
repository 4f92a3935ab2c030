package ledger

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
	"github.com/keywright/keywright/internal/vault"
)

// cluster is nodes that share a store, in one process.
type cluster struct {
	*testing.T
	ctx   context.Context
	clock *clock.Manual
	store *sqlite.Store
	peers []archive.Peer
}

// member is a node of a cluster.
type member struct {
	*Ledger
	t       *testing.T
	log     *audit.Log
	entry   *store.AuditLog
	shipper *archive.Shipper
	unhook  func()
}

func newCluster(t *testing.T) *cluster {
	s, err := sqlite.Open(sqlite.Config{Dir: filepath.Join(t.TempDir(), "store")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return &cluster{T: t, ctx: t.Context(), clock: clock.NewManual(t0), store: s}
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// join starts a node.
func (c *cluster) join(id string) *member {
	c.Helper()
	c.peers = append(c.peers, archive.Peer{ID: id, Live: true})
	private, public, err := note.GenerateKey(nil, archive.OriginPrefix+id)
	c.must(err)
	signer, err := note.NewSigner(private)
	c.must(err)
	verifier, err := note.NewVerifier(public)
	c.must(err)
	m := &member{t: c.T}
	m.entry, err = archive.Logs{Store: c.store, Clock: c.clock}.Begin(c.ctx, archive.OriginPrefix+id, id, public, nil, "")
	c.must(err)
	dir := c.TempDir()
	m.log, err = audit.Open(audit.Config{Dir: dir, Node: id, Origin: m.entry.Origin, Signer: signer, Verifier: verifier, Sealer: newSealer(), Durability: audit.OS,
		SegmentBytes: 1 << 20, ReserveBytes: -1, SyncInterval: 5 * time.Millisecond, Clock: c.clock})
	c.must(err)
	c.Cleanup(m.log.Stop)
	reader, err := archive.NewReader(archive.Config{Store: c.store, Own: m.log, Dir: dir, Sealer: newSealer(), Clock: c.clock,
		Peers: func(context.Context, store.Tx) ([]archive.Peer, error) { return c.peers, nil }})
	c.must(err)
	m.shipper, err = archive.NewShipper(archive.ShipperConfig{Store: c.store, Log: m.log, Clock: c.clock})
	c.must(err)
	m.Ledger, err = New(c.ctx, Config{Store: c.store, Log: m.log, Node: id, Durability: audit.OS, Boot: "boot", Clock: c.clock, Logger: slog.New(slog.DiscardHandler),
		Reader: reader, Process: id + "/1", Pace: time.Millisecond, Takeover: time.Hour})
	c.must(err)
	m.unhook = c.store.Watch(m.Ledger.Changed)
	c.must(m.Start(c.ctx))
	c.Cleanup(m.kill)
	return m
}

// kill ends the node's projection as a crash does: nothing is flushed.
func (m *member) kill() {
	m.lifecycle.Lock()
	defer m.lifecycle.Unlock()
	if !m.stopped {
		m.stopped = true
		m.cancel()
		m.running.Wait()
		m.unhook()
	}
}

func (m *member) add(list ...*audit.Record) {
	m.t.Helper()
	for _, r := range list {
		if err := m.log.Append(m.t.Context(), r); err != nil {
			m.t.Fatal(err)
		}
	}
}

// silent makes the others count a node as gone since an instant of the store.
func (c *cluster) silent(id string, seen time.Time) {
	for i := range c.peers {
		if c.peers[i].ID == id {
			c.peers[i] = archive.Peer{ID: id, Seen: seen, Fenced: seen.Add(10 * time.Second), Quiet: time.Minute}
		}
	}
}

// storeNow is the present by the store's clock.
func (c *cluster) storeNow() (now time.Time) {
	c.Helper()
	c.must(c.store.View(c.ctx, func(tx store.Tx) (err error) {
		now, err = tx.Clock(c.ctx)
		return err
	}))
	return now
}

func (m *member) verdict(since int) (Verdict, error) {
	return m.Ask(m.t.Context(), thing, Question{Old: v1, New: v2, Since: at(since)})
}

func (m *member) safe(since int) Verdict {
	m.t.Helper()
	v, err := m.verdict(since)
	if err != nil {
		m.t.Fatal(err)
	}
	return v
}

// TestDeliveriesOfEveryNodeAreWaitedFor: what another node delivered the moment before the question holds the old version.
func TestDeliveriesOfEveryNodeAreWaitedFor(t *testing.T) {
	c := newCluster(t)
	a, b := c.join("a"), c.join("b")
	for i := range 5 {
		b.add(get(v1, "pod-"+string(rune('0'+i)), i+1))
		if v := a.safe(10); len(v.WaitingFor) != i+1 {
			t.Fatalf("after %d deliveries of another node %d consumers are waited for", i+1, len(v.WaitingFor))
		}
	}
	if copies, err := a.Copies(c.ctx, thing, ""); err != nil || len(copies) != 5 {
		t.Errorf("%d copies are known: %v", len(copies), err)
	}
}

// TestHear: who acknowledges on one node what another delivered is found at once.
func TestHear(t *testing.T) {
	c := newCluster(t)
	a, b := c.join("a"), c.join("b")
	b.add(get(v1, "pod", 1))
	c.must(a.Hear(c.ctx, thing))
	if h, err := a.Holding(c.ctx, thing, v1, Consumer{Principal: "p", Instance: "pod"}); err != nil || !h.Delivered() {
		t.Errorf("%+v, %v", h, err)
	}
	b.kill()
	c.silent("b", c.storeNow())
	c.must(a.Hear(c.ctx, thing)) // nobody can wait for a node that is gone
}

// TestRepeatedReadsOfAnotherNodeAreExact: a consumer says on one node that it has moved, and reads the old version again on another, where that costs no
// transaction by itself. The order of the two decides.
func TestRepeatedReadsOfAnotherNodeAreExact(t *testing.T) {
	c := newCluster(t)
	a, b := c.join("a"), c.join("b")
	c.clock.Advance(time.Minute)
	b.add(get(v1, "pod", 1))
	a.safe(1)
	b.add(get(v1, "pod", 5))
	a.add(get(v2, "pod", 10), ack(v2, "pod", 11, Ack{Level: Used}))
	if v := a.safe(9); !v.Safe {
		t.Fatalf("a consumer that moved is waited for: %s", v.Reason)
	}
	b.add(get(v1, "pod", 20))
	if v := a.safe(9); v.Safe {
		t.Error("a consumer that read the old version again on another node is not waited for")
	}
}

// TestNodeThatDoesNotAnswer: a node that lives and has not said what it delivered holds everything back, and is named.
func TestNodeThatDoesNotAnswer(t *testing.T) {
	c := newCluster(t)
	a, b := c.join("a"), c.join("b")
	b.kill()
	ctx, cancel := context.WithTimeout(c.ctx, 200*time.Millisecond)
	defer cancel()
	_, err := a.Ask(ctx, thing, Question{Old: v1, New: v2, Since: at(1)})
	if e := fault.As(err); e == nil || e.Kind != fault.Unavailable || e.Reason != NodeUnknown || !strings.Contains(e.Message, "node b") {
		t.Errorf("the question was answered with %v", err)
	}
}

// TestNodeThatIsGone: until a node has been fenced for as long as it may have served from memory nothing goes; then the grace begins again, and what it had
// shipped is known. When it comes back, so is the rest.
func TestNodeThatIsGone(t *testing.T) {
	c := newCluster(t)
	a, b := c.join("a"), c.join("b")
	c.must(c.store.Update(c.ctx, store.NewOp(t0), func(tx store.Tx) error {
		return tx.PutVault(c.ctx, &vault.Vault{ID: thing.Vault, Tenant: tenant, Name: "shop", StaleFor: time.Minute, Updated: t0})
	}))
	b.kill()
	b.add(get(v1, "shipped", 1))
	if _, err := b.shipper.Ship(c.ctx); err != nil {
		t.Fatal(err)
	}
	b.add(get(v1, "tail", 2))

	now := c.storeNow()
	c.silent("b", now.Add(-30*time.Second))
	c.must(a.Adopt(c.ctx))
	_, err := a.verdict(3)
	if e := fault.As(err); e == nil || e.Reason != NodeUnknown || !strings.Contains(e.Message, "node b") || !strings.Contains(e.Message, "node remove b") {
		t.Fatalf("a node that was fenced for 20 s, with a staleFor of a minute, gives %v", err)
	}
	c.silent("b", now.Add(-71*time.Second))
	v, err := a.verdict(3)
	c.must(err)
	if len(v.WaitingFor) != 1 || v.WaitingFor[0].Instance != "shipped" {
		t.Errorf("waited for are %+v", v.WaitingFor)
	}
	if want := now.Add(-time.Second); !v.Whole.Equal(want) {
		t.Errorf("the ledger is whole since %v, want %v: when the node can have delivered last", v.Whole, want)
	}
	// A vault whose bound was changed since: the node may have gone by the largest one.
	c.must(c.store.Update(c.ctx, store.NewOp(t0), func(tx store.Tx) error {
		return tx.PutVault(c.ctx, &vault.Vault{ID: thing.Vault, Tenant: tenant, Name: "shop", Revision: 1, Updated: now})
	}))
	if _, err := a.verdict(3); err == nil {
		t.Error("a bound that the node did not know was believed")
	}
	// The clock of whoever changes it may be behind the store's.
	c.must(c.store.Update(c.ctx, store.NewOp(t0), func(tx store.Tx) error {
		return tx.PutVault(c.ctx, &vault.Vault{ID: thing.Vault, Tenant: tenant, Name: "shop", Revision: 2, Updated: now.Add(-100 * time.Second)})
	}))
	if _, err := a.verdict(3); err == nil {
		t.Error("a bound was believed that the node may not have known, if the clocks are half a minute apart")
	}

	back := c.join2(b)
	c.peers[1] = archive.Peer{ID: "b", Live: true}
	if v := a.safe(3); len(v.WaitingFor) != 2 || !v.Whole.IsZero() {
		t.Errorf("after the node came back %d are waited for, and the ledger is whole since %v", len(v.WaitingFor), v.Whole)
	}
	_ = back
}

// join2 starts another process of a node that was killed, with its log as it was.
func (c *cluster) join2(m *member) *member {
	c.Helper()
	next := *m
	var err error
	next.Ledger, err = New(c.ctx, m.Config)
	c.must(err)
	next.unhook = c.store.Watch(next.Ledger.Changed)
	c.must(next.Start(c.ctx))
	c.Cleanup(next.kill)
	return &next
}

// TestNodeThatWasRemoved: an operator says that a node answers nobody any more. It holds nothing back then, and the grace begins again from that moment.
func TestNodeThatWasRemoved(t *testing.T) {
	c := newCluster(t)
	a, b := c.join("a"), c.join("b")
	b.kill()
	c.silent("b", c.storeNow().Add(-11*time.Second))
	if _, err := a.verdict(1); err == nil {
		t.Fatal("a node that is gone holds nothing back")
	}
	c.peers = c.peers[:1]
	if _, err := a.verdict(1); err == nil {
		t.Error("a node that is not in the list holds nothing back, and nobody knows since when it is gone")
	}
	c.must(archive.Logs{Store: c.store, Clock: c.clock}.CloseRemoved(c.ctx, func(context.Context, store.Tx) ([]archive.Peer, error) { return c.peers, nil }))
	if v := a.safe(1); v.Whole.IsZero() || c.storeNow().Sub(v.Whole) > time.Minute {
		t.Errorf("behind a node that was removed the ledger is whole since %v", v.Whole)
	}
}

// TestNodeThatStopped: a node that ended in order has shipped everything, and holds nothing back once that is taken in.
func TestNodeThatStopped(t *testing.T) {
	c := newCluster(t)
	a, b := c.join("a"), c.join("b")
	b.kill()
	b.add(get(v1, "last", 1))
	c.must(b.shipper.Finish(c.ctx))
	c.peers[1] = archive.Peer{ID: "b", Stopped: true, Seen: c.storeNow()}
	if _, err := a.verdict(2); err == nil {
		t.Error("what the node shipped at its end was not waited for")
	}
	c.must(a.Adopt(c.ctx))
	if v := a.safe(2); len(v.WaitingFor) != 1 || !v.Whole.IsZero() {
		t.Errorf("%+v", v)
	}
}
