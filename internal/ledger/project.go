package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// errFull ends a look at the log when enough rows are queued.
var errFull = errors.New("enough rows are queued")

// read takes in the durable records that were not read yet, until enough rows are queued.
func (l *Ledger) read(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.tail.Read(ctx, recordsAtOnce, func(r *audit.Record) error {
		if len(l.pending) >= rowsQueued {
			return errFull
		}
		return l.take(ctx, r)
	})
	if errors.Is(err, errFull) {
		return nil
	}
	return err
}

// take takes in one record. The caller holds mu.
func (l *Ledger) take(ctx context.Context, r *audit.Record) error {
	if r.VaultID == "" || r.Shredded || r.Caller.PrincipalID == "" {
		return nil
	}
	if r.Action != getSecret && r.Action != backupSecret && r.Operation != ClearOperation {
		return nil
	}
	instance, weak, err := l.identify(ctx, r)
	if err != nil {
		return err
	}
	key := groupKey{vault.ID(r.VaultID), vault.Kind(r.ObjectKind), vault.NameKey(r.ObjectName), principal.ID(r.Caller.PrincipalID), instance}
	if r.Action == getSecret && r.Outcome == audit.Allowed && r.Operation != AckOperation && r.Operation != DeliverOperation {
		if l.memory.again(&key, vault.VersionID(r.Version), r.Time) {
			return nil
		}
	}
	s, ok := read(r, instance, weak)
	if !ok {
		return nil
	}
	key.principal, key.instance = s.facts.Principal, s.facts.Instance // those of a clearance are not the caller's
	l.queue(key, &s)
	return nil
}

// commit stores what is queued, and the position, when it is due or when somebody waits for it. The position moves with the last of the rows.
func (l *Ledger) commit(ctx context.Context, now bool) error {
	l.mu.Lock()
	next := l.tail.Next()
	due := now || len(l.pending) >= rowsQueued || l.wanted > l.committed || len(l.pending) > 0 && l.Clock.Now().Sub(l.since) >= l.Linger ||
		next-l.committed >= recordsUnstored || l.Clock.Now().Sub(l.storedAt) >= storedEvery
	due = due && (len(l.pending) > 0 || next > l.committed)
	if due {
		slices.SortFunc(l.pending, byKey)
	}
	l.mu.Unlock()
	for due {
		// Nobody else changes the queue: there is one projection, and queries only look.
		rows := l.pending[:min(len(l.pending), rowsAtOnce)]
		last := len(rows) == len(l.pending)
		op := store.NewOp(l.Clock.Now())
		err := l.Store.Update(ctx, op, func(tx store.Tx) error {
			b := batch{ctx: ctx, tx: tx, at: op.At}
			if err := b.look(rows); err != nil {
				return err
			}
			for _, c := range rows {
				if err := b.put(c); err != nil {
					return err
				}
			}
			if !last {
				return nil
			}
			return tx.SetProjected(ctx, l.reader, next)
		})
		if err != nil && !errors.Is(err, store.ErrCommitted) {
			return fmt.Errorf("storing %d rows of the ledger: %w", len(rows), err)
		}
		l.mu.Lock()
		l.stored(rows)
		if last {
			l.reached(next)
		}
		due = len(l.pending) > 0 && !last
		l.mu.Unlock()
	}
	return nil
}

// byKey orders rows as the store's index has them: neighbours share pages, and pages are what a transaction costs.
func byKey(a, b *change) int {
	x, y := &a.facts, &b.facts
	return cmp.Or(cmp.Compare(x.Vault, y.Vault), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.NameKey, y.NameKey), cmp.Compare(x.Version, y.Version),
		cmp.Compare(x.Principal, y.Principal), cmp.Compare(x.Instance, y.Instance))
}

// stored notes that the rows are committed. The caller holds mu.
func (l *Ledger) stored(rows []*change) {
	for _, c := range rows {
		delete(l.queued, c.facts.HoldingKey)
		if c.of == nil {
			continue
		}
		for i := range c.of.held {
			if h := &c.of.held[i]; h.queued == c {
				h.queued, h.stored = nil, later(h.stored, c.facts.Last)
			}
		}
		k := keyOf(&c.facts.HoldingKey)
		l.memory.settle(&k, c.of)
	}
	l.pending = l.pending[len(rows):]
}

// reached notes that the store has taken in the log up to next. The caller holds mu.
func (l *Ledger) reached(next int64) {
	l.pending, l.storedAt = nil, l.Clock.Now()
	if next > l.committed {
		l.committed = next
		close(l.moved)
		l.moved = make(chan struct{})
	}
	if l.memory.pairs() > l.MaxConsumers {
		l.shrink()
	}
}

// flush stores every last delivery exactly.
func (l *Ledger) flush(ctx context.Context) error {
	return l.storeRough(ctx, nil)
}

// storeRough stores the last deliveries of objects exactly, and what is queued; nil stands for all objects.
func (l *Ledger) storeRough(ctx context.Context, of []objectKey) error {
	for all := false; !all; {
		l.mu.Lock()
		all = l.queueRough(of)
		l.mu.Unlock()
		if err := l.commit(ctx, true); err != nil {
			return err
		}
	}
	return nil
}
