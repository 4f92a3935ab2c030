package archive

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/sqlite"
)

// TestMain makes a handful of histories the default, because each has a store on disk; -rapid.checks asks for more.
func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "rapid.checks" })
	if !asked {
		flag.Set("rapid.checks", "15")
	}
	os.Exit(m.Run())
}

// tb is what tests and properties share.
type tb interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Logf(format string, args ...any)
}

// gcm seals under one key, as far as the archive can tell.
type gcm struct{ cipher.AEAD }

func newGCM(t tb) gcm {
	block, err := aes.NewCipher(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	return gcm{aead}
}

func (g gcm) SealAudit(dst []byte, _ string, plaintext, additional []byte) ([]byte, error) {
	return g.Seal(dst, nil, plaintext, additional), nil
}

func (g gcm) OpenAudit(dst []byte, _ string, sealed, additional []byte) ([]byte, error) {
	return g.Open(dst, nil, sealed, additional)
}

// world is a store and the nodes that work on it, in one process.
type world struct {
	tb
	ctx    context.Context
	clock  *clock.Manual
	store  store.Store
	sealer gcm
	nodes  map[string]*node
	// lost makes commits fail without a trace, unanswered ones are stored and reported lost.
	lost, unanswered bool
	dir              func() string
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

var errFault = errors.New("the commit was made to fail")

// newWorld opens a store in a directory of its own. cleanup is the test's.
func newWorld(t tb, dir func() string, cleanup func(func())) *world {
	t.Helper()
	w := &world{tb: t, ctx: context.Background(), clock: clock.NewManual(noon), sealer: newGCM(t), nodes: make(map[string]*node), dir: dir}
	s, err := sqlite.Open(sqlite.Config{Dir: dir(), Faults: sqlite.Faults{
		BeforeCommit: func() error { return w.failing(w.lost) }, AfterCommit: func() error { return w.failing(w.unanswered) }}})
	w.must(err)
	w.store = s
	cleanup(func() {
		for _, n := range w.nodes {
			n.log.Stop()
		}
		w.lost, w.unanswered = false, false
		s.Close()
	})
	return w
}

func testWorld(t *testing.T) *world { return newWorld(t, t.TempDir, t.Cleanup) }

func (w *world) failing(now bool) error {
	if now {
		return errFault
	}
	return nil
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// node is one of the world's.
type node struct {
	*world
	id, dir string
	live    bool
	log     *audit.Log
	entry   *store.AuditLog
	rows    *ownRows
	own     *audit.Sequencer
	adopter *Adopter
	shipper *Shipper
	reader  *Reader
}

// ownRows are a live node's own.
type ownRows struct {
	ward
	// crash makes the process end between the append and the cursor.
	crash bool
}

// Sequenced implements audit.Rows.
func (o *ownRows) Sequenced(ctx context.Context, position int64) error {
	if o.crash {
		return errFault
	}
	return o.Store.Update(ctx, store.NewOp(o.Clock.Now()), func(tx store.Tx) error { return tx.SetCursor(ctx, Cursor(o.node), store.Position(position)) })
}

func (w *world) peers(context.Context, store.Tx) (list []Peer, err error) {
	for _, n := range w.nodes {
		list = append(list, Peer{ID: n.id, Live: n.live, Quiet: time.Minute})
	}
	return list, nil
}

// key makes the keys of a log.
func key(t tb, origin string) (note.Signer, string) {
	private, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, public
}

// join starts a node with an empty directory.
func (w *world) join(id string) *node {
	w.Helper()
	n := &node{world: w, id: id, dir: w.dir(), live: true}
	w.nodes[id] = n
	n.begin(nil, "")
	return n
}

// begin begins a log in the node's directory.
func (n *node) begin(before *store.AuditLog, why string) {
	n.Helper()
	logs := Logs{n.store, n.clock}
	_, origin, err := logs.Current(n.ctx, n.id)
	n.must(err)
	signer, public := key(n.tb, origin)
	n.entry, err = logs.Begin(n.ctx, origin, n.id, public, before, why)
	n.must(err)
	n.open(signer)
}

func (n *node) open(signer note.Signer) {
	n.Helper()
	v, err := verifier(n.entry)
	n.must(err)
	n.log, err = audit.Open(audit.Config{Dir: n.dir, Node: n.id, Origin: n.entry.Origin, Signer: signer, Verifier: v, Sealer: n.sealer, Durability: audit.OS,
		SegmentBytes: 64 << 10, ReserveBytes: 64 << 10, SyncInterval: time.Hour, Clock: n.clock, OnError: func(err error) { n.Errorf("behind the log: %v", err) }})
	n.must(err)
	n.rows = &ownRows{ward: ward{Adopter: &Adopter{AdopterConfig{Store: n.store, Log: n.log, Clock: n.clock}}, node: n.id}}
	n.own, err = audit.NewSequencer(audit.SequencerConfig{Log: n.log, Rows: n.rows})
	n.must(err)
	n.adopter, err = NewAdopter(AdopterConfig{Store: n.store, Log: n.log, Process: n.id, Peers: n.peers, Clock: n.clock})
	n.must(err)
	n.shipper, err = NewShipper(ShipperConfig{Store: n.store, Log: n.log, Clock: n.clock})
	n.must(err)
	n.reader, err = NewReader(Config{Store: n.store, Own: n.log, Dir: n.dir, Sealer: n.sealer, Peers: n.peers, Clock: n.clock})
	n.must(err)
}

// record tells of the i-th decision.
func (n *node) record(i int) *audit.Record {
	var id audit.ID
	hex.Decode(id[:], []byte(store.NewOp(n.clock.Now()).ID))
	return &audit.Record{ID: id, Time: clock.Micro(n.clock.Now()), Node: n.id, Tenant: "tenant", Action: "act", Outcome: audit.Allowed, ObjectName: fmt.Sprint("object-", i)}
}

// read is a decision without a change.
func (n *node) read(i int) {
	n.Helper()
	n.must(n.log.Append(n.ctx, n.record(i)))
}

// change is a decision with one: its row waits in the journal.
func (n *node) change(i int) {
	n.Helper()
	rec := n.record(i)
	frame, err := audit.Seal(nil, n.sealer, rec)
	n.must(err)
	row, err := audit.AppendRow(nil, n.id, frame)
	n.must(err)
	n.must(n.store.Update(n.ctx, store.Op{ID: store.OpID(rec.ID.String()), At: rec.Time}, func(tx store.Tx) error { tx.Audit(row); return nil }))
}

func (n *node) sequence() {
	n.Helper()
	_, err := n.own.Round(n.ctx)
	n.must(err)
}

func (n *node) adopt() int {
	n.Helper()
	rows, err := n.adopter.Adopt(n.ctx)
	n.must(err)
	return rows
}

func (n *node) ship() {
	n.Helper()
	_, err := n.shipper.Ship(n.ctx)
	n.must(err)
}

// sign makes a checkpoint of everything and keeps it in the store.
func (n *node) sign() []byte {
	n.Helper()
	n.must(n.log.Checkpoint(n.ctx))
	signed := n.log.LatestCheckpoint()
	if signed != nil {
		n.must(n.shipper.Checkpoint(n.ctx, signed))
	}
	return signed
}

// names lists what the query answers, as object names.
func (n *node) names(f audit.Filter) (list []string) {
	n.Helper()
	a, err := n.reader.Query(n.ctx, f)
	n.must(err)
	for _, rec := range a.Records {
		list = append(list, rec.ObjectName)
	}
	return list
}

func (n *node) verify(kept ...[]byte) []LogReport {
	n.Helper()
	reports, err := n.reader.Verify(n.ctx, kept)
	n.must(err)
	return reports
}

// fresh reads the log's row again.
func (n *node) fresh() (log *store.AuditLog) {
	n.Helper()
	n.must(n.store.View(n.ctx, func(tx store.Tx) (err error) {
		log, err = tx.AuditLog(n.ctx, n.entry.Origin)
		return err
	}))
	return log
}

// holdLease takes the lease on a ward's rows.
func (n *node) holdLease(of *ward) error {
	return n.store.Update(n.ctx, store.NewOp(n.clock.Now()), func(tx store.Tx) (err error) {
		of.lease, err = tx.AcquireLease(n.ctx, "audit-rows/"+of.node, n.id, adoptLease, adoptSlack)
		return err
	})
}

// known is the one key.
func known(t tb, key string) note.Verifiers {
	v, err := note.NewVerifier(key)
	if err != nil {
		t.Fatal(err)
	}
	return note.VerifierList(v)
}

func must(signer note.Signer, _ string) note.Signer { return signer }
