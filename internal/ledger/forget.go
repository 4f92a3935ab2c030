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

// forgetRest is how many times as long as it works Forget rests: it takes a hundredth of a processor, and an hour for a million rows. What it looks for is
// older than a year.
const forgetRest = 99

// Forget removes what is older than Kept. What is neither retired nor purged is never forgotten: an old version that nobody has read for years may
// still be somebody's. It is for a job that runs once a day, beside requests: it looks at each row once, rests most of the time, and keeps
// writers waiting for milliseconds only.
func (l *Ledger) Forget(ctx context.Context) (removed int, err error) {
	before := l.Clock.Now().Add(-Kept)
	q := store.HoldingQuery{Limit: rowsPerPage}
	for {
		began := time.Now()
		var page []*store.Holding
		if err := l.Store.View(ctx, func(tx store.Tx) (err error) {
			page, err = tx.Holdings(ctx, q)
			return err
		}); err != nil {
			return removed, err
		}
		for _, k := range oldVersions(page, before) {
			n, err := l.forgetVersion(ctx, k, before)
			removed += n
			if err != nil {
				return removed, err
			}
		}
		if len(page) < q.Limit {
			return removed, nil
		}
		q.After = page[len(page)-1].Place()
		sleep(ctx, max(l.Pace, forgetRest*time.Since(began)))
	}
}

// oldVersions are the versions on a page of which the first row there may be older than an instant: nearly none, and those alone are looked at closely. Rows
// of no version are of an object's sealed backups; they are left, since removing them would take all of the object's with them.
func oldVersions(page []*store.Holding, before time.Time) (list []store.HoldingKey) {
	var last store.HoldingKey
	for _, r := range page {
		k := versionKey(r.HoldingKey)
		if k == last {
			continue
		}
		last = k
		if k.Version != "" && later(later(r.Last, r.Loaded), later(r.Used, r.Seen)).Before(before) {
			list = append(list, k)
		}
	}
	return list
}

// versionKey names the version of a row.
func versionKey(k store.HoldingKey) store.HoldingKey {
	k.Principal, k.Instance = "", ""
	return k
}

// forgetVersion removes the rows of a version when it is over with it.
func (l *Ledger) forgetVersion(ctx context.Context, k store.HoldingKey, before time.Time) (removed int, err error) {
	over, err := l.over(ctx, k, before)
	if err != nil || !over {
		return 0, err
	}
	for n := rowsAtOnce; n == rowsAtOnce; removed += n {
		if err := l.Store.Update(ctx, store.NewOp(l.Clock.Now()), func(tx store.Tx) (err error) {
			n, err = tx.DeleteHoldings(ctx, k.Vault, k.Kind, k.NameKey, k.Version, rowsAtOnce)
			return err
		}); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

// over reports whether a version is no more, and all of its rows are older than an instant.
func (l *Ledger) over(ctx context.Context, k store.HoldingKey, before time.Time) (over bool, err error) {
	err = l.Store.View(ctx, func(tx store.Tx) error {
		if over, err = ended(ctx, tx, k); err != nil {
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
			q.After = page[len(page)-1].Place()
		}
		return nil
	})
	return over, err
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
