package keyring

import (
	"bytes"
	"context"
	"crypto/subtle"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/store"
)

// Migrate wraps the root keys with another seal, or again with the same one after its key changed, and uses that seal from
// then on. It is one transaction: after a crash either seal is the right one, and Open says which. Nothing else changes.
func (k *Keyring) Migrate(ctx context.Context, to seal.Seal, with With) error {
	if k.locked.Load() {
		return errLocked
	}
	from := k.sealer()
	rows, err := k.rootRows(ctx)
	if err != nil {
		return err
	}
	next := make([]*store.WrappedKey, len(rows))
	for i, row := range rows {
		if next[i], err = rewrapRoot(ctx, from, to, row); err != nil {
			return err
		}
	}
	_, err = k.update(ctx, func(tx store.Tx, _ store.Op) error {
		there, err := tx.WrappedKeys(ctx, store.RootKey, installation)
		if err != nil {
			return err
		}
		if !sameWraps(there, rows) {
			return fault.New(fault.Conflict, "the root keys changed while they were moved to the seal %q: try again", to.Name())
		}
		for i := range next {
			row := *there[i]
			row.Parent, row.Wrapped = next[i].Parent, next[i].Wrapped
			if err := tx.PutWrappedKey(ctx, &row); err != nil {
				return err
			}
		}
		if with == nil {
			return nil
		}
		return with(tx)
	})
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.seal = to
	return nil
}

func rewrapRoot(ctx context.Context, from, to seal.Seal, row *store.WrappedKey) (*store.WrappedKey, error) {
	raw, err := from.Unwrap(ctx, row.Wrapped, bindKeyRow(row))
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	next := *row
	next.Parent = to.Name()
	if next.Wrapped, err = to.Wrap(ctx, raw, bindKeyRow(&next)); err != nil {
		return nil, err
	}
	// A seal that cannot open what it wrapped would lose everything; this is the last moment to notice.
	check, err := to.Unwrap(ctx, next.Wrapped, bindKeyRow(&next))
	if err != nil {
		return nil, err
	}
	defer clear(check)
	if subtle.ConstantTimeCompare(raw, check) != 1 {
		return nil, fault.New(fault.Internal, "the seal %q gave back another key than it was given: nothing was changed; check it", to.Name())
	}
	return &next, nil
}

func sameWraps(a, b []*store.WrappedKey) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].ID != b[i].ID || !bytes.Equal(a[i].Wrapped, b[i].Wrapped) {
			return false
		}
	}
	return true
}
