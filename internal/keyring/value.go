package keyring

import (
	"context"
	"crypto/cipher"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// ErrStale is what an Opener answers when its key has left the keyring's memory: the key was rewrapped, deleted or
// displaced, or the keyring was locked. A new Opener finds out which.
var ErrStale error = fault.New(fault.Unavailable, "the key of this value is no longer in memory: ask the keyring for it again").Because("StaleOpener")

var errDamagedValue error = fault.Wrap(ErrDamaged, fault.Internal, "a stored value does not open in its place: the store was changed from outside; restore it")

// Seal encrypts a value for its place under a data key of its own. A vault without a key is a fault.Gone.
func (k *Keyring) Seal(ctx context.Context, p Place, plaintext []byte) (vault.Envelope, error) {
	n, err := k.vaultKey(ctx, p)
	if err != nil {
		return vault.Envelope{}, err
	}
	return envelop(n, plaintext, p.bindDataKey(n.row.ID), p.bindValue())
}

// envelop encrypts plaintext under a fresh data key and wraps that under n.
func envelop(n *key, plaintext, keyAAD, valueAAD []byte) (vault.Envelope, error) {
	raw := newRawKey()
	defer clear(raw[:])
	a, err := raw.aead()
	if err != nil {
		return vault.Envelope{}, err
	}
	return vault.Envelope{
		Key:        n.row.ID,
		WrappedKey: sealWith(n.aead, nil, raw[:], keyAAD),
		Ciphertext: sealWith(a, nil, plaintext, valueAAD),
	}, nil
}

// Open decrypts a value in its place. The caller zeroes what it gets.
func (k *Keyring) Open(ctx context.Context, p Place, env vault.Envelope) ([]byte, error) {
	n, err := k.keyOf(ctx, env.Key, store.VaultKey, p.Tenant, string(p.Vault))
	if err != nil {
		return nil, err
	}
	a, err := dataKey(n, env, p.bindDataKey(n.row.ID))
	if err != nil {
		return nil, err
	}
	plain, err := openWith(a, nil, env.Ciphertext, p.bindValue())
	if err != nil {
		return nil, errDamagedValue
	}
	return plain, nil
}

func dataKey(n *key, env vault.Envelope, aad []byte) (cipher.AEAD, error) {
	raw, err := openKey(n.aead, env.WrappedKey, aad)
	if err != nil {
		return nil, errDamagedValue
	}
	defer clear(raw[:])
	return raw.aead()
}

// Opener opens one value again and again. It is kept beside the encrypted record, costs about 1 KiB, and is safe for
// concurrent use.
type Opener struct {
	key  *key
	aead cipher.AEAD
	aad  []byte
}

// Opener prepares to open the value of an envelope.
func (k *Keyring) Opener(ctx context.Context, p Place, env vault.Envelope) (*Opener, error) {
	n, err := k.keyOf(ctx, env.Key, store.VaultKey, p.Tenant, string(p.Vault))
	if err != nil {
		return nil, err
	}
	a, err := dataKey(n, env, p.bindDataKey(n.row.ID))
	if err != nil {
		return nil, err
	}
	return &Opener{key: n, aead: a, aad: p.bindValue()}, nil
}

// Open appends the plaintext of the envelope's ciphertext to dst and does not allocate when dst has room. It answers
// ErrStale when the caller has to ask for a new Opener. dst must not overlap ciphertext.
func (o *Opener) Open(dst, ciphertext []byte) ([]byte, error) {
	if !o.key.live() {
		return nil, ErrStale
	}
	out, err := openWith(o.aead, dst, ciphertext, o.aad)
	if err != nil {
		return nil, errDamagedValue
	}
	return out, nil
}

// Stale reports whether Open would answer ErrStale.
func (o *Opener) Stale() bool { return !o.key.live() }

// PlaintextSize returns how long the plaintext of a ciphertext is, so that the caller can make room.
func PlaintextSize(ciphertext []byte) int { return max(0, len(ciphertext)-1-overhead) }

// Reseal wraps the data key under the vault's newest key and leaves the ciphertext as it is, unless data keys are to be renewed: then the value is encrypted
// anew. An envelope that is there already is returned unchanged.
func (k *Keyring) Reseal(ctx context.Context, p Place, env vault.Envelope) (vault.Envelope, error) {
	newest, err := k.vaultKey(ctx, p)
	if err != nil || newest.row.ID == env.Key {
		return env, err
	}
	old, err := k.keyOf(ctx, env.Key, store.VaultKey, p.Tenant, string(p.Vault))
	if err != nil {
		return env, err
	}
	if old.row.Renew {
		return k.renew(ctx, p, newest, env)
	}
	return rewrap(old, newest, env, p.bindDataKey)
}

// renew encrypts a value under a fresh data key.
func (k *Keyring) renew(ctx context.Context, p Place, newest *key, env vault.Envelope) (vault.Envelope, error) {
	plain, err := k.Open(ctx, p, env)
	if err != nil {
		return env, err
	}
	defer clear(plain)
	return envelop(newest, plain, p.bindDataKey(newest.row.ID), p.bindValue())
}

// rewrap moves a data key from one key to another.
func rewrap(old, newest *key, env vault.Envelope, aad func(key string) []byte) (vault.Envelope, error) {
	raw, err := openKey(old.aead, env.WrappedKey, aad(old.row.ID))
	if err != nil {
		return env, errDamagedValue
	}
	defer clear(raw[:])
	env.Key = newest.row.ID
	env.WrappedKey = sealWith(newest.aead, nil, raw[:], aad(newest.row.ID))
	return env, nil
}
