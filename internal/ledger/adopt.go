package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/audit/archive"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// How logs of nodes that are gone are taken in.
const (
	// adoptLease is how long another node leaves a log to whoever takes it in. Two at once do each other no harm: rows are joins of facts.
	adoptLease, adoptSlack = time.Minute, 5 * time.Second
)

// adoptEach takes in logs of nodes that are gone until ctx ends.
func (l *Ledger) adoptEach(ctx context.Context) {
	for ctx.Err() == nil {
		sleep(ctx, l.Takeover)
		if err := l.Adopt(ctx); err != nil && ctx.Err() == nil {
			l.Logger.ErrorContext(ctx, "the ledger cannot take in the audit log of a node that is gone; it tries again, and nothing is revoked meanwhile", "error", err)
		}
	}
}

// Adopt takes in what nodes that are gone have shipped of their logs and not taken in themselves.
func (l *Ledger) Adopt(ctx context.Context) error {
	logs, peers, err := l.Reader.Logs(ctx)
	if err != nil {
		return err
	}
	for _, log := range logs {
		if log.Origin == l.Log.Origin() || isLive(peers, log.Node) && archive.Successor(log, logs) == nil {
			continue
		}
		if err := l.adopt(ctx, log); err != nil {
			return fmt.Errorf("taking in the audit log %s: %w", log.Origin, err)
		}
	}
	return nil
}

func isLive(peers []archive.Peer, node string) bool {
	for _, p := range peers {
		if p.ID == node {
			return p.Live
		}
	}
	return false
}

func (l *Ledger) adopt(ctx context.Context, log *store.AuditLog) error {
	var from int64
	var reader string
	err := l.Store.View(ctx, func(tx store.Tx) error {
		c, err := l.courseOf(ctx, tx, log.Node)
		if err != nil {
			return err
		}
		reader = readerOf(log, c)
		from, err = tx.Projected(ctx, reader)
		return err
	})
	if err != nil || from >= log.Shipped {
		return err
	}
	var lease *store.Lease
	err = l.Store.Update(ctx, store.NewOp(l.Clock.Now()), func(tx store.Tx) (err error) {
		lease, err = tx.AcquireLease(ctx, "ledger-log/"+log.Origin, l.Process, adoptLease, adoptSlack)
		return err
	})
	if e := fault.As(err); e != nil && e.Reason == store.LeaseHeld {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		_ = l.Store.Update(ctx, store.NewOp(l.Clock.Now()), func(tx store.Tx) error { return tx.ReleaseLease(ctx, lease) }) // else it runs out
	}()
	// A projection of its own: it shares nothing with that of this node's log but the rows in the store.
	f := &Ledger{Config: l.Config, reader: reader, wake: make(chan struct{}, 1), moved: make(chan struct{}), committed: from, storedAt: l.Clock.Now()}
	f.forget()
	f.queued = make(map[store.HoldingKey]*change)
	if f.tail, err = audit.NewTail(l.Reader.Source(log), l.Reader.Sealer, from); err != nil {
		return err
	}
	for f.tail.Next() < log.Shipped {
		if err := f.read(ctx); err != nil {
			return err
		}
		// The last deliveries go with the position: nobody else has them exactly. The queue takes those of one look at the log.
		if err := f.storeRough(ctx, nil); err != nil {
			return err
		}
	}
	return nil
}
