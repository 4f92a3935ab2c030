package archive

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// Cursor names, among the readers of the journal, the sequencing of a node's rows. That of rows which name no node is the one of a store that a single node
// has for itself.
func Cursor(node string) string {
	if node == "" {
		return "audit"
	}
	return "audit/" + node
}

// ShippedCursor names, among the readers of the journal, up to where a node's rows are shipped with its log, or adopted: what stands behind it is, at best, in the node's
// directory alone, and would be lost with that. It is behind the node's Cursor by the tail of its log.
func ShippedCursor(node string) string { return "audit-shipped/" + node }

// Cursors lists the readers for which the journal is kept: those of each node that ever had a log, and the one of rows that name no node.
func Cursors(ctx context.Context, tx store.Tx) ([]string, error) {
	logs, err := tx.AuditLogs(ctx)
	names, seen := []string{Cursor("")}, map[string]bool{}
	for _, l := range logs {
		if !seen[l.Node] {
			seen[l.Node] = true
			names = append(names, Cursor(l.Node), ShippedCursor(l.Node))
		}
	}
	return names, err
}

// How rows of nodes that are gone are adopted.
const (
	// AdoptEvery is the time between two looks for nodes that are gone.
	AdoptEvery = 5 * time.Second
	// adoptLease is how long an adopter may work without renewing its lease, adoptSlack how long the next one waits after its end.
	adoptLease, adoptSlack = 30 * time.Second, 5 * time.Second
)

// AdopterConfig makes an Adopter. Everything is required.
type AdopterConfig struct {
	Store store.Store
	// Log takes the rows in. Process owns the leases.
	Log     *audit.Log
	Process string
	Peers   Peers
	Clock   clock.Clock
}

// Adopter brings the rows of nodes that are gone into this node's log.
type Adopter struct{ AdopterConfig }

// NewAdopter checks the configuration.
func NewAdopter(c AdopterConfig) (*Adopter, error) {
	if c.Store == nil || c.Log == nil || c.Process == "" || c.Peers == nil || c.Clock == nil {
		return nil, errors.New("an adopter needs a store, the node's audit log, the process's id, the list of nodes and a clock")
	}
	return &Adopter{c}, nil
}

// Adopt takes in what nodes that are gone left behind, and returns how many rows that was. What another node adopts just now is left to it.
func (a *Adopter) Adopt(ctx context.Context) (rows int, err error) {
	gone, err := a.gone(ctx)
	if err != nil {
		return 0, err
	}
	for _, node := range gone {
		n, err := a.adopt(ctx, node)
		rows += n
		if err != nil {
			return rows, fmt.Errorf("adopting the audit rows of node %q: %w", node, err)
		}
	}
	return rows, nil
}

// gone lists the nodes that have rows which nobody sequences, or which nobody will ever ship: those that are not heard of, those that stopped, those that were
// removed, and nobody at all.
func (a *Adopter) gone(ctx context.Context) (list []string, err error) {
	err = a.Store.View(ctx, func(tx store.Tx) error {
		list = nil
		peers, err := a.Peers(ctx, tx)
		if err != nil {
			return err
		}
		logs, err := tx.AuditLogs(ctx)
		if err != nil {
			return err
		}
		head, err := tx.Head(ctx)
		if err != nil {
			return err
		}
		there := map[string]bool{a.Log.Node(): true}
		for _, p := range peers {
			there[p.ID] = there[p.ID] || p.Live
		}
		for _, node := range append([]string{""}, nodesOf(logs)...) {
			if there[node] {
				continue
			}
			there[node] = true
			at, err := tx.Cursor(ctx, leftAt(node))
			if err != nil {
				return err
			}
			if at < head {
				list = append(list, node)
			}
		}
		return nil
	})
	return list, err
}

// leftAt is the cursor behind which the rows of a node that is gone are nobody's. Rows that name no node were never shipped.
func leftAt(node string) string {
	if node == "" {
		return Cursor("")
	}
	return ShippedCursor(node)
}

func nodesOf(logs []*store.AuditLog) []string {
	list := make([]string, len(logs))
	for i, l := range logs {
		list[i] = l.Node
	}
	return list
}

func (a *Adopter) adopt(ctx context.Context, node string) (rows int, err error) {
	w := &ward{Adopter: a, node: node}
	if found, err := w.Rows(ctx, 0, 1); err != nil || len(found) == 0 {
		return 0, err
	}
	err = a.Store.Update(ctx, store.NewOp(a.Clock.Now()), func(tx store.Tx) (err error) {
		w.lease, err = tx.AcquireLease(ctx, "audit-rows/"+node, a.Process, adoptLease, adoptSlack)
		return err
	})
	if fault.As(err) != nil && fault.As(err).Reason == store.LeaseHeld {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	s, err := audit.NewSequencer(audit.SequencerConfig{Log: a.Log, Rows: w})
	for err == nil {
		var n int
		n, err = s.Round(ctx)
		rows += n
		if n == 0 {
			break
		}
	}
	release := a.Store.Update(ctx, store.NewOp(a.Clock.Now()), func(tx store.Tx) error { return tx.ReleaseLease(ctx, w.lease) })
	return rows, errors.Join(err, release)
}

// ward is a node that is gone: its side of a sequencer.
type ward struct {
	*Adopter
	node  string
	lease *store.Lease
	// round are the rows that were given out last.
	round []store.Adoption
}

// LastSequenced implements audit.Rows.
func (w *ward) LastSequenced(ctx context.Context) (last int64, err error) {
	err = w.Store.View(ctx, func(tx store.Tx) error {
		p, err := tx.Cursor(ctx, leftAt(w.node))
		last = int64(p)
		return err
	})
	return last, err
}

// Rows implements audit.Rows. Where a whole page of the journal has no row of the node, it moves the cursor behind it.
func (w *ward) Rows(ctx context.Context, after int64, most int) (rows []audit.Row, err error) {
	if after == 0 {
		if after, err = w.LastSequenced(ctx); err != nil {
			return nil, err
		}
	}
	const page = 256
	for {
		var commits []*store.Commit
		err := w.Store.View(ctx, func(tx store.Tx) (err error) {
			commits, err = tx.Audits(ctx, store.Position(after), page)
			return err
		})
		if err != nil {
			return nil, err
		}
		w.round = w.round[:0]
		for _, c := range commits {
			row, node, err := RowOf(c)
			if err != nil {
				return nil, err
			}
			if len(row.Frame) == 0 || node != w.node || len(rows) == most {
				continue
			}
			rows = append(rows, row)
			w.round = append(w.round, store.Adoption{Op: c.Op.ID, At: c.Op.At, Node: node, Origin: w.Log.Origin()})
		}
		if len(rows) > 0 || len(commits) < page {
			return rows, nil
		}
		after = int64(commits[len(commits)-1].Position)
		if err := w.Sequenced(ctx, after); err != nil {
			return nil, err
		}
	}
}

// Sequenced implements audit.Rows: it moves the node's cursors, and says where its rows count, as long as the lease holds.
func (w *ward) Sequenced(ctx context.Context, position int64) error {
	return w.Store.Update(ctx, store.NewOp(w.Clock.Now()), func(tx store.Tx) error {
		if w.lease != nil {
			lease, err := tx.RenewLease(ctx, w.lease, adoptLease)
			if err != nil {
				return err
			}
			w.lease = lease
		}
		at, err := tx.Cursor(ctx, leftAt(w.node))
		if err != nil {
			return err
		}
		if int64(at) >= position {
			return nil // the node came back and shipped them itself
		}
		for i := range w.round {
			if err := tx.PutAdoption(ctx, &w.round[i]); err != nil {
				return err
			}
		}
		if err := tx.SetCursor(ctx, leftAt(w.node), store.Position(position)); err != nil {
			return err
		}
		return tx.SetCursor(ctx, Cursor(w.node), store.Position(position))
	})
}

// RowOf returns the audit row of a journal entry, and who committed it. The frame is empty when the entry has none.
func RowOf(c *store.Commit) (row audit.Row, node string, err error) {
	row.Position = int64(c.Position)
	if _, err := hex.Decode(row.ID[:], []byte(c.Op.ID)); err != nil {
		return row, "", fmt.Errorf("journal entry %d has the operation id %q: %w", c.Position, c.Op.ID, err)
	}
	if node, row.Frame, err = audit.ParseRow(c.Audit); err != nil {
		return row, "", fmt.Errorf("journal entry %d: %w", c.Position, err)
	}
	return row, node, nil
}
