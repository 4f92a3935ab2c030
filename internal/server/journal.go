package server

import (
	"context"
	"sync"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/store"
)

// journalRows gives the sequencer the audit records of changes. The journal holds them all; those of the latest commits
// are also kept in memory as the store's watcher hears of them, so that a busy journal is not read back from the database.
type journalRows struct {
	store store.Store
	clock clock.Clock
	// node is whose changes are sequenced; "" is everybody's, where nobody else has the store.
	node string

	mu sync.Mutex
	// recent are consecutive journal entries, the newest last. An entry without an audit record of the node has an empty frame.
	recent []audit.Row
	// audited is the position of the newest change with a record, sequenced how far the sequencer has come.
	audited, sequenced int64
}

// lag is by how many entries of the journal the log is behind the newest change.
func (j *journalRows) lag() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return max(0, j.audited-j.sequenced)
}

// maxRecent bounds the entries in memory. When the sequencer falls behind it they are read from the journal.
const maxRecent = 8192

// row is what an entry of the journal has for the sequencer.
func (j *journalRows) row(c *store.Commit) (audit.Row, error) {
	row, node, err := archive.RowOf(c)
	if err == nil && j.node != "" && node != j.node {
		row.Frame = nil // its own node takes it, or whoever adopts that one's
	}
	return row, err
}

// changed hears of a commit. It belongs to the store's watchers.
func (j *journalRows) changed(c *store.Commit) {
	row, err := j.row(c)
	j.mu.Lock()
	defer j.mu.Unlock()
	if err != nil {
		j.recent = nil // the sequencer meets the entry in the journal, and says what is wrong with it
		return
	}
	if n := len(j.recent); n >= maxRecent || n > 0 && j.recent[n-1].Position+1 != row.Position {
		j.recent = nil
	}
	j.recent = append(j.recent, row)
	if len(row.Frame) > 0 {
		j.audited = row.Position
	}
}

// LastSequenced implements audit.Rows.
func (j *journalRows) LastSequenced(ctx context.Context) (last int64, err error) {
	err = j.store.View(ctx, func(tx store.Tx) error {
		p, err := tx.Cursor(ctx, archive.Cursor(j.node))
		last = int64(p)
		return err
	})
	return last, err
}

// Rows implements audit.Rows. It passes over entries without an audit record; where a whole page has none, it moves the
// cursor behind them, so that they are not read again for ever.
func (j *journalRows) Rows(ctx context.Context, after int64, limit int) ([]audit.Row, error) {
	for {
		page, ok := j.fromMemory(after, limit)
		if !ok {
			var err error
			if page, err = j.fromJournal(ctx, after, limit); err != nil {
				return nil, err
			}
		}
		rows := make([]audit.Row, 0, len(page))
		for _, row := range page {
			if len(row.Frame) > 0 {
				rows = append(rows, row)
			}
		}
		if len(rows) > 0 || len(page) < limit {
			return rows, nil
		}
		after = page[len(page)-1].Position
		if err := j.Sequenced(ctx, after); err != nil {
			return nil, err
		}
	}
}

// fromMemory returns the entries behind a position when memory holds the very next one, or knows that there is none.
func (j *journalRows) fromMemory(after int64, limit int) (page []audit.Row, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.recent) == 0 || j.recent[0].Position > after+1 {
		return nil, false
	}
	start := int(after + 1 - j.recent[0].Position)
	if start >= len(j.recent) {
		return nil, true
	}
	return append(page, j.recent[start:min(len(j.recent), start+limit)]...), true
}

func (j *journalRows) fromJournal(ctx context.Context, after int64, limit int) (page []audit.Row, err error) {
	err = j.store.View(ctx, func(tx store.Tx) error {
		page = nil
		commits, err := tx.Audits(ctx, store.Position(after), limit)
		for _, c := range commits {
			row, err := j.row(c)
			if err != nil {
				return err
			}
			page = append(page, row)
		}
		return err
	})
	return page, err
}

// Sequenced implements audit.Rows.
func (j *journalRows) Sequenced(ctx context.Context, position int64) error {
	err := j.store.Update(ctx, store.NewOp(j.clock.Now()), func(tx store.Tx) error {
		return tx.SetCursor(ctx, archive.Cursor(j.node), store.Position(position))
	})
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.sequenced = position
	if n := int(position + 1); len(j.recent) > 0 {
		if drop := n - int(j.recent[0].Position); drop >= len(j.recent) {
			// The newest entry stays: it says where memory goes on.
			j.recent = j.recent[len(j.recent)-1:]
		} else if drop > 0 {
			j.recent = append([]audit.Row(nil), j.recent[drop:]...)
		}
	}
	return nil
}
