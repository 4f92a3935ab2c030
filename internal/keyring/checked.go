package keyring

import (
	"context"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// KeyRetired is the reason of the fault.Unavailable of a write that was sealed with a key which is gone.
const KeyRetired fault.Reason = "KeyRetired"

// Checked returns the store with one check more: a version or a signing key that is sealed with a key which the store does not hold any more is not
// stored. A process that was stopped for longer than the grace, or was cut off from the news of a rotation, may have sealed it with the key that it
// remembered, and nothing would ever open it again. The check is in the transaction of the write, so that no retirement slips in between.
func (k *Keyring) Checked(s store.Store) store.Store { return &checkedStore{s, k} }

type checkedStore struct {
	store.Store
	ring *Keyring
}

// Update implements store.Store.
func (s *checkedStore) Update(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	return s.Store.Update(ctx, op, func(tx store.Tx) error { return fn(&checkedTx{tx, s.ring}) })
}

type checkedTx struct {
	store.Tx
	ring *Keyring
}

// AddVersion implements store.Objects.
func (t *checkedTx) AddVersion(ctx context.Context, v *vault.Version) error {
	if err := t.check(ctx, v.Value.Key); err != nil {
		return err
	}
	return t.Tx.AddVersion(ctx, v)
}

// PutVersion implements store.Objects.
func (t *checkedTx) PutVersion(ctx context.Context, v *vault.Version) error {
	if err := t.check(ctx, v.Value.Key); err != nil {
		return err
	}
	return t.Tx.PutVersion(ctx, v)
}

// PutSigningKey implements store.Keys.
func (t *checkedTx) PutSigningKey(ctx context.Context, s *store.SigningKey) error {
	if err := t.check(ctx, s.Private.Key); err != nil {
		return err
	}
	return t.Tx.PutSigningKey(ctx, s)
}

func (t *checkedTx) check(ctx context.Context, id string) error {
	if id == "" {
		return nil // it has no value
	}
	there, err := t.Tx.HasWrappedKey(ctx, id)
	if err != nil || there {
		return err
	}
	t.ring.Forget(id)
	return fault.New(fault.Unavailable, "the key that protects this value was replaced meanwhile, so nothing was stored: try again").Because(KeyRetired)
}
