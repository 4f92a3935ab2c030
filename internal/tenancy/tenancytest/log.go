package tenancytest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"log/slog"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
)

// Log is a real audit log, with a guard that writes to it. Nothing happens in it by the passing of time: records of changes come
// into it when somebody waits for them, and records of reads are durable when somebody syncs.
type Log struct {
	*audit.Log
	world     *World
	sequencer *audit.Sequencer
	Guard     *guard.Guard
	// Dir and Key are the log's directory and its public key.
	Dir, Key string
	// Reader reads the log as that of the only node.
	Reader *archive.Reader
}

// node is the log's node.
const node = "node"

// OpenLog opens a log that ends with the test. It does not hold what the world's own guard did.
func (w *World) OpenLog() *Log {
	w.TB.Helper()
	l := &Log{world: w, Dir: w.TB.TempDir()}
	private, public, err := note.GenerateKey(rand.Reader, "keywright/"+node)
	w.Must(err)
	signer, err := note.NewSigner(private)
	w.Must(err)
	verifier, err := note.NewVerifier(public)
	w.Must(err)
	l.Key = public
	_, err = archive.Logs{Store: w.Store, Clock: w.Clock}.Begin(w.Ctx, "keywright/"+node, node, public, nil, "")
	w.Must(err)
	l.Log, err = audit.Open(audit.Config{Dir: l.Dir, Node: node, Origin: "keywright/" + node, Signer: signer, Verifier: verifier, Sealer: w.Keys,
		Durability: audit.OS, SegmentBytes: 1 << 20, ReserveBytes: 1 << 20, SyncInterval: time.Hour, Clock: w.Clock, OnError: func(err error) { w.TB.Error(err) }})
	w.Must(err)
	w.TB.Cleanup(l.Log.Stop)
	w.Must(l.Log.Start(w.Ctx))
	l.sequencer, err = audit.NewSequencer(audit.SequencerConfig{Log: l.Log, Rows: &journal{w: w}, Interval: time.Hour, Linger: time.Hour,
		OnError: func(err error) { w.TB.Error(err) }})
	w.Must(err)
	w.TB.Cleanup(l.sequencer.Stop)
	w.Must(l.sequencer.Start(w.Ctx))
	l.Reader, err = archive.NewReader(archive.Config{Store: w.Store, Own: l.Log, Dir: l.Dir, Sealer: w.Keys, Clock: w.Clock,
		Peers: func(context.Context, store.Tx) ([]archive.Peer, error) {
			return []archive.Peer{{ID: node, Live: true}}, nil
		}})
	w.Must(err)
	l.Guard, err = guard.New(guard.Config{Store: w.Store, Audit: l, Clock: w.Clock, Logger: slog.New(slog.DiscardHandler)})
	w.Must(err)
	w.TB.Cleanup(w.Store.Watch(l.Guard.Changed))
	return l
}

// CatchUp waits until the records of all committed changes are in the log.
func (l *Log) CatchUp(ctx context.Context) error { return l.sequencer.CatchUp(ctx) }

// All returns every record.
func (l *Log) All() (all []*audit.Record) {
	l.world.TB.Helper()
	l.world.Must(l.CatchUp(l.world.Ctx))
	l.world.Must(l.Sync(l.world.Ctx))
	for r, err := range l.Query(l.world.Ctx, audit.Filter{}) {
		l.world.Must(err)
		all = append(all, r)
	}
	return all
}

// Seal implements guard.Auditor.
func (l *Log) Seal(r *audit.Record) ([]byte, error) {
	r.Node = node
	return audit.Seal(nil, l.world.Keys, r)
}

// Unauthenticated implements guard.Auditor.
func (l *Log) Unauthenticated(audit.Refusal) {}

// journal gives the sequencer the records of changes.
type journal struct{ w *World }

const cursor = "audit"

// LastSequenced implements audit.Rows.
func (j *journal) LastSequenced(ctx context.Context) (last int64, err error) {
	err = j.w.Store.View(ctx, func(tx store.Tx) error {
		p, err := tx.Cursor(ctx, cursor)
		last = int64(p)
		return err
	})
	return last, err
}

// Rows implements audit.Rows. It passes over what the world's own guard wrote, which is JSON.
func (j *journal) Rows(ctx context.Context, after int64, limit int) (rows []audit.Row, err error) {
	err = j.w.Store.View(ctx, func(tx store.Tx) error {
		rows = nil
		commits, err := tx.Audits(ctx, store.Position(after), 0)
		for _, c := range commits {
			if len(c.Audit) == 0 || json.Valid(c.Audit) || len(rows) == limit {
				continue
			}
			row := audit.Row{Position: int64(c.Position), Frame: c.Audit}
			if _, err := hex.Decode(row.ID[:], []byte(c.Op.ID)); err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return err
	})
	return rows, err
}

// Sequenced implements audit.Rows.
func (j *journal) Sequenced(ctx context.Context, position int64) error {
	return j.w.Store.Update(ctx, store.NewOp(j.w.Clock.Now()), func(tx store.Tx) error { return tx.SetCursor(ctx, cursor, store.Position(position)) })
}
