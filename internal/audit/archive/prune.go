package archive

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/merkle"
	"github.com/keywright/keywright/internal/store"
)

// LeastKept is the shortest time for which parts are kept: whoever is behind them has to come to them first.
const LeastKept = 7 * 24 * time.Hour

// pruneAtOnce bounds the adoptions that one transaction removes.
const pruneAtOnce = 1000

// Prune removes the parts of all logs whose records are all older than kept, and returns how many that was. Their leaves stay in the log's frontier, so
// that what follows is still proved from the checkpoints: a part goes only when a checkpoint covers it.
func (r *Reader) Prune(ctx context.Context, kept time.Duration) (removed int, err error) {
	if kept < LeastKept {
		return 0, fmt.Errorf("parts of audit logs are kept for %s at least", LeastKept)
	}
	before := r.Clock.Now().Add(-kept)
	logs, _, err := r.logs(ctx)
	for _, log := range logs {
		for err == nil {
			var gone bool
			if gone, err = r.pruneOne(ctx, log.Origin, before); !gone {
				break
			}
			removed++
		}
	}
	for n := pruneAtOnce; err == nil && n == pruneAtOnce; {
		err = r.Store.Update(ctx, store.NewOp(r.Clock.Now()), func(tx store.Tx) (err error) {
			n, err = tx.DeleteAdoptions(ctx, before, pruneAtOnce)
			return err
		})
	}
	return removed, err
}

// pruneOne removes the oldest part of a log, if it is old enough.
func (r *Reader) pruneOne(ctx context.Context, origin string, before time.Time) (bool, error) {
	var log *store.AuditLog
	var parts []*store.AuditPart
	err := r.Store.View(ctx, func(tx store.Tx) (err error) {
		if log, err = tx.AuditLog(ctx, origin); err == nil {
			parts, err = tx.AuditParts(ctx, store.AuditPartQuery{Origin: origin, Behind: log.Pruned, Limit: 1})
		}
		return err
	})
	if err != nil || len(parts) == 0 || !parts[0].To.Before(before) || parts[0].Next > log.Size || parts[0].Base != log.Pruned {
		return false, err
	}
	tree, err := merkle.ParseFrontier(log.Frontier)
	if err != nil {
		return false, err
	}
	p := parts[0]
	if err := leaves(p, func(leaf audit.Leaf) error { tree.Add(merkle.LeafHash(leaf.Frame)); return nil }); err != nil {
		return false, err
	}
	frontier, gone := tree.AppendBinary(nil), false
	err = r.Store.Update(ctx, store.NewOp(r.Clock.Now()), func(tx store.Tx) error {
		gone = false
		now, err := tx.AuditLog(ctx, origin)
		if err != nil || now.Pruned != log.Pruned {
			return err
		}
		if _, err := tx.DeleteAuditParts(ctx, origin, p.Next, 0); err != nil {
			return err
		}
		now.Pruned, now.Frontier, gone = p.Next, frontier, true
		return tx.PutAuditLog(ctx, now)
	})
	return gone && err == nil, err
}
