package ledger

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// rowsPerPage is how many rows are read from the store at a time.
const rowsPerPage = 1000

// rows lists everything that a query selects, as it is at this instant.
func (l *Ledger) rows(ctx context.Context, q store.HoldingQuery) (list []*Holding, err error) {
	q.Limit = rowsPerPage
	for {
		page, err := l.page(ctx, q)
		if err != nil {
			return nil, err
		}
		list = append(list, page...)
		if len(page) < q.Limit {
			return list, nil
		}
		q.After = page[len(page)-1].Place()
	}
}

// page lists a page, its last deliveries exact as far as this node knows.
func (l *Ledger) page(ctx context.Context, q store.HoldingQuery) (list []*Holding, err error) {
	err = l.Store.View(ctx, func(tx store.Tx) error {
		rows, err := tx.Holdings(ctx, q)
		list = make([]*Holding, len(rows))
		for i := 0; i < len(rows) && err == nil; i++ {
			list[i], err = open(rows[i])
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range list {
		if h.Last.IsZero() {
			continue
		}
		k := keyOf(&h.HoldingKey)
		last, heard := l.memory.last(&k, h.Version)
		h.Last, h.heard = later(h.Last, last), heard
	}
	return list, nil
}

// Holding returns a consumer's row of a version. It is a fault.NotFound when there is none.
func (l *Ledger) Holding(ctx context.Context, o Object, v vault.VersionID, c Consumer) (h *Holding, err error) {
	err = l.Store.View(ctx, func(tx store.Tx) error {
		row, err := tx.Holding(ctx, o.key(v, c))
		if err == nil {
			h, err = open(row)
		}
		return err
	})
	return h, err
}

// Ask says whether an old version may go, who holds it, and who is waited for. It catches up first, so that nobody who was given the version before the
// call is missed; a ledger that cannot is a fault.Unavailable, which is no yes.
func (l *Ledger) Ask(ctx context.Context, o Object, q Question) (Verdict, error) {
	whole, err := l.settle(ctx, &o)
	if err != nil {
		return Verdict{}, err
	}
	if q.Holdings, err = l.around(ctx, o, q.Old, q.New); err != nil {
		return Verdict{}, err
	}
	// Who polled a node that is gone polled in vain since.
	q.Whole, q.Up, q.Now = whole, later(l.up, whole), l.Clock.Now()
	return Judge(&q), nil
}

// around reads the rows that a judgement needs: ids of versions follow the time, so what was made after the old version stands behind it.
func (l *Ledger) around(ctx context.Context, o Object, old, replacing vault.VersionID) ([]*Holding, error) {
	if o.Vault == "" || o.Kind == "" || o.Name == "" || old == "" {
		return nil, fault.New(fault.Internal, "a question names its object and the old version")
	}
	q := store.HoldingQuery{Vault: o.Vault, Kind: o.Kind, NameKey: vault.NameKey(o.Name)}
	first := q
	first.Version, first.Limit = old, 1 // the target's row is the first of a version
	list, err := l.page(ctx, first)
	if err != nil || len(list) > 0 && (list[0].Principal != "" || list[0].Instance != "") {
		list = nil
	}
	if err != nil {
		return nil, err
	}
	q.After = &store.HoldingPlace{HoldingKey: store.HoldingKey{Vault: o.Vault, Kind: o.Kind, NameKey: q.NameKey, Version: old}}
	behind, err := l.rows(ctx, q)
	if err != nil {
		return nil, err
	}
	list = append(list, behind...)
	if replacing == "" || replacing > old {
		return list, nil
	}
	q.After, q.Version = nil, replacing
	returned, err := l.rows(ctx, q)
	return append(list, returned...), err
}

// Delivered reports whether any version of an object was ever given to anybody. It catches up first.
func (l *Ledger) Delivered(ctx context.Context, o Object) (bool, error) {
	if err := l.CatchUp(ctx); err != nil {
		return false, err
	}
	q := store.HoldingQuery{Vault: o.Vault, Kind: o.Kind, NameKey: vault.NameKey(o.Name), Limit: rowsPerPage}
	for {
		page, err := l.page(ctx, q)
		if err != nil {
			return false, err
		}
		for _, h := range page {
			if h.Delivered() && (h.Principal != "" || h.Instance != "") {
				return true, nil
			}
		}
		if len(page) < q.Limit {
			return false, nil
		}
		q.After = page[len(page)-1].Place()
	}
}

// Verdict is Ask for who needs no more than the answer: whether the old version may go since the new one was promoted, who is waited for, since when the
// ledger is whole, and why.
func (l *Ledger) Verdict(ctx context.Context, o Object, old, replacing vault.VersionID, since time.Time, p Policy) (safe bool, waitingFor []Holder, whole time.Time, reason string, err error) {
	v, err := l.Ask(ctx, o, Question{Policy: p, Old: old, New: replacing, Since: since})
	if err != nil {
		return false, nil, l.whole, "", err
	}
	return v.Safe, v.WaitingFor, v.Whole, v.Reason, nil
}

// Copies lists every place where a copy of an object is or was: the rows of all versions, sealed backups and pushed files included. With a version it lists
// those of that one alone. It catches up first.
func (l *Ledger) Copies(ctx context.Context, o Object, v vault.VersionID) ([]*Holding, error) {
	if err := l.CatchUp(ctx); err != nil {
		return nil, err
	}
	list, err := l.rows(ctx, store.HoldingQuery{Vault: o.Vault, Kind: o.Kind, NameKey: vault.NameKey(o.Name), Version: v})
	return delivered(list), err
}

// CopiesPage is Copies of all versions, a page at a time, in the order of versions and principals. It catches up first, but not for a later page.
func (l *Ledger) CopiesPage(ctx context.Context, o Object, after *store.HoldingPlace, limit int) (list []*Holding, next *store.HoldingPlace, err error) {
	return l.heldPage(ctx, store.HoldingQuery{Vault: o.Vault, Kind: o.Kind, NameKey: vault.NameKey(o.Name), After: after, Limit: limit})
}

// HeldBy returns a page of everything that was ever delivered to a principal, in the order of its first delivery. It catches up first, but
// not for a later page.
func (l *Ledger) HeldBy(ctx context.Context, t vault.TenantID, p principal.ID, after *store.HoldingPlace, limit int) (list []*Holding, next *store.HoldingPlace, err error) {
	return l.heldPage(ctx, store.HoldingQuery{Tenant: t, Principal: p, After: after, Limit: limit})
}

func (l *Ledger) heldPage(ctx context.Context, q store.HoldingQuery) (list []*Holding, next *store.HoldingPlace, err error) {
	if q.After == nil {
		if err := l.CatchUp(ctx); err != nil {
			return nil, nil, err
		}
	}
	if list, err = l.page(ctx, q); err != nil {
		return nil, nil, err
	}
	if q.Limit > 0 && len(list) == q.Limit {
		next = list[len(list)-1].Place()
	}
	return delivered(list), next, nil
}

// delivered leaves out the rows that hold claims alone, and those of targets.
func delivered(list []*Holding) []*Holding {
	kept := list[:0]
	for _, h := range list {
		if h.Delivered() && (h.Principal != "" || h.Instance != "") {
			kept = append(kept, h)
		}
	}
	return kept
}
