package keyring

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// A digest is 1, the version | id of the digest key, 16 bytes | HMAC-SHA256, 32 bytes.
const (
	digestVersion = 1
	digestSize    = 1 + idBytes + sha256.Size
)

// Digest returns a keyed digest of a credential that is only ever compared, under the tenant's newest digest key. The same
// input gives the same digest until the key is rotated; Matches compares with a digest of any age. A thief of the store
// cannot test guesses without the key.
func (k *Keyring) Digest(ctx context.Context, tenant vault.TenantID, purpose string, secret []byte) ([]byte, error) {
	n, err := k.newest(ctx, store.DigestKey, string(tenant))
	if err != nil {
		return nil, err
	}
	return digest(n, tenant, purpose, secret)
}

// Matches reports, in constant time, whether a digest is that of the credential for this tenant and purpose. A digest that
// is none, or whose key is gone, matches nothing.
func (k *Keyring) Matches(ctx context.Context, tenant vault.TenantID, purpose string, secret, want []byte) (bool, error) {
	if len(want) != digestSize || want[0] != digestVersion {
		return false, nil
	}
	n, err := k.key(ctx, idFromBytes(want[1:1+idBytes]), store.DigestKey)
	if fault.Is(err, fault.Gone) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if n.tenant() != tenant {
		return false, nil
	}
	got, err := digest(n, tenant, purpose, secret)
	return err == nil && hmac.Equal(got, want), err
}

func digest(n *key, tenant vault.TenantID, purpose string, secret []byte) ([]byte, error) {
	out, err := appendID(append(make([]byte, 0, digestSize), digestVersion), n.row.ID)
	if err != nil {
		return nil, err
	}
	raw, err := n.reveal()
	if err != nil {
		return nil, err
	}
	defer clear(raw[:])
	mac := hmac.New(sha256.New, raw[:])
	mac.Write(binding(bindDigest, string(tenant), purpose, n.row.ID))
	mac.Write(secret)
	return mac.Sum(out), nil
}
