package keyring

import (
	"context"

	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/store"
)

// Sealer returns the seal that protects the root key now.
func (k *Keyring) Sealer() seal.Seal { return k.sealer() }

// OpenAll opens every key in the store, and returns how many opened. It tells of each that does not, and goes on.
func (k *Keyring) OpenAll(ctx context.Context, bad func(row *store.WrappedKey, err error)) (opened int64, err error) {
	lists := []lister{func(ctx context.Context, tx store.Tx) ([]*store.WrappedKey, error) {
		return tx.WrappedKeys(ctx, store.RootKey, installation)
	}, keysOfRoot}
	err = k.store.View(ctx, func(tx store.Tx) error {
		tenants, err := tx.Tenants(ctx)
		for _, t := range tenants {
			lists = append(lists, keysOfTenant(t.ID))
		}
		return err
	})
	for _, list := range lists {
		if err != nil {
			return opened, err
		}
		var rows []*store.WrappedKey
		if rows, err = k.snapshot(ctx, list); err != nil {
			return opened, err
		}
		for _, row := range rows {
			if _, err := k.key(ctx, row.ID, row.Purpose); err != nil {
				if ctx.Err() != nil {
					return opened, ctx.Err()
				}
				bad(row, err)
				continue
			}
			opened++
		}
	}
	return opened, err
}
