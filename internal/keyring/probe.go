package keyring

import (
	"context"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/store"
)

// Probe reports whether a seal opens every root key of a store, without keeping any. A store without a root key is a fault.NotFound.
func Probe(ctx context.Context, tx store.Tx, s seal.Seal) error {
	rows, err := tx.WrappedKeys(ctx, store.RootKey, installation)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return fault.New(fault.NotFound, "the store has no root key: initialise it first")
	}
	for _, row := range rows {
		raw, err := unwrapRoot(ctx, s, row)
		clear(raw)
		if err != nil {
			return err
		}
	}
	return nil
}
