package keyring

import (
	"context"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// SealFor encrypts something else of a tenant: a signing key, a seed, the state of a sign-in. It opens only for the same
// purpose, a word of the caller's, and the same id of what it belongs to.
func (k *Keyring) SealFor(ctx context.Context, tenant vault.TenantID, purpose, id string, plaintext []byte) (vault.Envelope, error) {
	n, err := k.newest(ctx, store.ServiceKey, string(tenant))
	if err != nil {
		return vault.Envelope{}, err
	}
	return envelop(n, plaintext, serviceDataKey(tenant, purpose, id)(n.row.ID), binding(bindService, string(tenant), purpose, id))
}

// OpenFor decrypts what SealFor encrypted for the same tenant, purpose and id. The caller zeroes what it gets.
func (k *Keyring) OpenFor(ctx context.Context, tenant vault.TenantID, purpose, id string, env vault.Envelope) ([]byte, error) {
	n, err := k.keyOf(ctx, env.Key, store.ServiceKey, tenant, string(tenant))
	if err != nil {
		return nil, err
	}
	a, err := dataKey(n, env, serviceDataKey(tenant, purpose, id)(n.row.ID))
	if err != nil {
		return nil, err
	}
	plain, err := openWith(a, nil, env.Ciphertext, binding(bindService, string(tenant), purpose, id))
	if err != nil {
		return nil, errDamagedValue
	}
	return plain, nil
}

func serviceDataKey(tenant vault.TenantID, purpose, id string) func(key string) []byte {
	return func(key string) []byte { return binding(bindServiceDataKey, key, string(tenant), purpose, id) }
}
