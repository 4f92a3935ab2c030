package keyring

import (
	"context"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// A backup is "KWB1" | id of the backup key, 16 bytes | sealed content; its additional data names the tenant and the key.
const backupMagic = "KWB1"

var errBackup error = fault.New(fault.Invalid, "the backup cannot be restored here: it is damaged, or another tenant or installation made it").Because("BackupNotValid")

// SealBackup encrypts a backup that leaves the product. It opens only for the same tenant, and only while the tenant's
// backup keys exist.
func (k *Keyring) SealBackup(ctx context.Context, tenant vault.TenantID, plaintext []byte) ([]byte, error) {
	n, err := k.newest(ctx, store.BackupKey, string(tenant))
	if err != nil {
		return nil, err
	}
	blob := append(make([]byte, 0, len(backupMagic)+idBytes+1+len(plaintext)+overhead), backupMagic...)
	if blob, err = appendID(blob, n.row.ID); err != nil {
		return nil, err
	}
	return sealWith(n.aead, blob, plaintext, binding(bindBackup, string(tenant), n.row.ID)), nil
}

// OpenBackup decrypts a backup of the tenant. Anything else, and a backup whose key was destroyed, is a fault.Invalid.
func (k *Keyring) OpenBackup(ctx context.Context, tenant vault.TenantID, blob []byte) ([]byte, error) {
	const head = len(backupMagic) + idBytes
	if len(blob) < head || string(blob[:len(backupMagic)]) != backupMagic {
		return nil, errBackup
	}
	n, err := k.key(ctx, idFromBytes(blob[len(backupMagic):head]), store.BackupKey)
	if fault.Is(err, fault.Gone) {
		return nil, errBackup
	}
	if err != nil {
		return nil, err
	}
	if n.tenant() != tenant {
		return nil, errBackup
	}
	plain, err := openWith(n.aead, nil, blob[head:], binding(bindBackup, string(tenant), n.row.ID))
	if err != nil {
		return nil, errBackup
	}
	return plain, nil
}
