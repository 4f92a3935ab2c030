package keyring

import (
	"context"

	"github.com/keywright/keywright/internal/vault"
)

// SetRecordsPerSalt lets a test reach the end of an audit session.
func (k *Keyring) SetRecordsPerSalt(n uint64) { k.audit.limit = n }

// RetireVault retires without moving anything before.
func (k *Keyring) RetireVault(ctx context.Context, id vault.ID) (int, error) {
	return k.retireVault(ctx, id)
}
