package ledger

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Kept is how long the ledger remembers who held what is no more: the last sign of it is that old, and the version is retired or purged. Whoever asks what a
// person had read learns that much; the audit log knows the rest.
const Kept = 400 * 24 * time.Hour

// Forget removes what is older than Kept. What is neither retired nor purged is never forgotten: an old version that nobody has read for years may
// still be somebody's. It is for a job that runs once a day; it looks at each version once and keeps writers waiting for milliseconds only.
func (l *Ledger) Forget(ctx context.Context) (removed int, err error) {
	before := l.Clock.Now().Add(-Kept)
	var after *store.HoldingKey
	for {
		next, over, err := l.nextVersion(ctx, after, before)
		if err != nil || next == nil {
			return removed, err
		}
		for n := rowsAtOnce; over && n == rowsAtOnce; removed += n {
			err := l.Store.Update(ctx, store.NewOp(l.Clock.Now()), func(tx store.Tx) (err error) {
				n, err = tx.DeleteHoldings(ctx, next.Vault, next.Kind, next.NameKey, next.Version, rowsAtOnce)
				return err
			})
			if err != nil {
				return removed, err
			}
		}
		after = next
		after.Principal, after.Instance = behindAll, ""
	}
}

// behindAll stands behind every principal in the order of keys: ids are GUIDs.
const behindAll = "~"

// nextVersion finds the version whose rows stand behind a key, and whether it is over with it. Rows of no version are of an object's sealed backups; they
// are left, since removing them would take all of the object's with them.
func (l *Ledger) nextVersion(ctx context.Context, after *store.HoldingKey, before time.Time) (next *store.HoldingKey, over bool, err error) {
	err = l.Store.View(ctx, func(tx store.Tx) error {
		next, over = nil, false
		rows, err := tx.Holdings(ctx, store.HoldingQuery{After: after, Limit: 1})
		if err != nil || len(rows) == 0 {
			return err
		}
		k := rows[0].HoldingKey
		next = &k
		if k.Version == "" {
			return nil
		}
		if over, err = ended(ctx, tx, k); err != nil || !over {
			return err
		}
		q := store.HoldingQuery{Vault: k.Vault, Kind: k.Kind, NameKey: k.NameKey, Version: k.Version, Limit: rowsPerPage}
		for over {
			page, err := tx.Holdings(ctx, q)
			if err != nil {
				return err
			}
			for _, r := range page {
				h, err := open(r)
				if err != nil {
					return err
				}
				over = over && h.lastSign().Before(before)
			}
			if len(page) < q.Limit {
				return nil
			}
			q.After = &page[len(page)-1].HoldingKey
		}
		return nil
	})
	return next, over, err
}

// ended reports whether a version is retired, or purged with its object.
func ended(ctx context.Context, tx store.Tx, k store.HoldingKey) (bool, error) {
	o, err := tx.Object(ctx, k.Vault, k.Kind, k.NameKey)
	if err == nil {
		var v *vault.Version
		if v, err = tx.Version(ctx, o.ID, k.Version); err == nil {
			return v.State == vault.Retired, nil
		}
	}
	if fault.Is(err, fault.NotFound) {
		return true, nil
	}
	return false, err
}

// lastSign is the last instant that the row tells of.
func (h *Holding) lastSign() time.Time {
	last := later(later(h.Last, h.Loaded), later(h.Used, h.Seen))
	last = later(last, later(later(h.Cleared, h.Refused), h.Alarmed))
	if h.Target != nil {
		last = later(last, h.Target.Sampled)
	}
	return last
}
