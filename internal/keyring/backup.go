package keyring

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// A backup is "KWB1" | id of the backup key, 16 bytes | sealed content; its additional data names the tenant and the key. What was kept in a vault with
// a customer's key is sealed twice, and the content is
//
//	"KWC1" | length of head, 4 bytes big-endian | head, JSON | sealed content; its additional data is the head
//
// Content that is not sealed twice is JSON, which begins otherwise.
const (
	backupMagic   = "KWB1"
	customerMagic = "KWC1"
)

// customerHead says how to open what a customer's key protects.
type customerHead struct {
	// By is the vault from which the backup was made.
	By      vault.ID           `json:"by"`
	With    store.CustomerWrap `json:"with"`
	Wrapped []byte             `json:"wrapped"`
}

var errBackup error = fault.New(fault.Invalid, "the backup cannot be restored here: it is damaged, or another tenant or installation made it").Because("BackupNotValid")

// SealBackup encrypts a backup, of what the vault keeps, that leaves the product. It opens only for the same tenant, and only while the tenant's
// backup keys exist. The vault's customer's key, if it has one, protects the backup too, and is needed from then on until the backup's end. Of the objects whose
// values are in it is noted until when.
func (k *Keyring) SealBackup(ctx context.Context, tenant vault.TenantID, by vault.ID, plaintext []byte, of ...vault.ObjectID) ([]byte, error) {
	n, err := k.newest(ctx, store.BackupKey, string(tenant))
	if err != nil {
		return nil, err
	}
	if err := k.noteBackup(ctx, n, tenant, by, of); err != nil {
		return nil, err
	}
	v, err := k.encryption(ctx, by)
	if err != nil {
		return nil, err
	}
	if v != nil {
		if plaintext, err = k.sealForCustomer(ctx, tenant, v, plaintext); err != nil {
			return nil, err
		}
	}
	blob := append(make([]byte, 0, len(backupMagic)+idBytes+1+len(plaintext)+overhead), backupMagic...)
	if blob, err = appendID(blob, n.row.ID); err != nil {
		return nil, err
	}
	return sealWith(n.aead, blob, plaintext, binding(bindBackup, string(tenant), n.row.ID)), nil
}

// OpenBackup decrypts a backup of the tenant. Anything else, and a backup whose key was destroyed, is a fault.Invalid. A customer's key that cannot be
// used now is the error of Customers, which names it.
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
	if bytes.HasPrefix(plain, []byte(customerMagic)) {
		return k.openForCustomer(ctx, tenant, plain)
	}
	return plain, nil
}

// noteBackup records, before there is a backup, until when the backup key and the objects are needed for it.
func (k *Keyring) noteBackup(ctx context.Context, n *key, tenant vault.TenantID, by vault.ID, of []vault.ObjectID) error {
	var until time.Time
	if k.backupsKept > 0 {
		// Whole days, so that the many backups of one day write once.
		until = k.clock.Now().UTC().Add(k.backupsKept).Truncate(24 * time.Hour).Add(24 * time.Hour)
	}
	needs := []*store.KeyNeed{{Key: vault.ObjectID(n.row.ID), In: vault.ID(tenant), By: by, Use: store.NeededByBackups, Until: until}}
	for _, o := range of {
		needs = append(needs, &store.KeyNeed{Key: o, In: store.BackupsOf(by), By: by, Use: store.NeededByBackups, Until: until})
	}
	missing := needs[:0:0]
	if err := k.store.View(ctx, func(tx store.Tx) error {
		missing = missing[:0]
		for _, need := range needs {
			there, err := tx.KeyNeeds(ctx, need.In, need.Key)
			if err != nil {
				return err
			}
			if !slices.ContainsFunc(there, func(t *store.KeyNeed) bool { return covers(t, need) }) {
				missing = append(missing, need)
			}
		}
		return nil
	}); err != nil || len(missing) == 0 {
		return err
	}
	_, err := k.update(ctx, func(tx store.Tx, _ store.Op) error {
		for _, need := range missing {
			if err := tx.PutKeyNeed(ctx, need); err != nil {
				return err
			}
		}
		// A key that was destroyed since must not seal a backup: nothing would open it.
		_, err := tx.WrappedKey(ctx, n.row.ID)
		if fault.Is(err, fault.NotFound) {
			k.Forget(n.row.ID)
			return fault.New(fault.Unavailable, "the key of the tenant's backups was replaced meanwhile, so the backup was not made: try again").Because(KeyRetired)
		}
		return err
	})
	return err
}

// covers reports whether a need that is there makes another one needless.
func covers(there, need *store.KeyNeed) bool {
	return there.By == need.By && there.Use == need.Use && (there.Until.IsZero() || !need.Until.IsZero() && !there.Until.Before(need.Until))
}

// retireBackupKeys destroys the tenant's backup keys whose last backup has ended. A key from before that was counted stays.
func (k *Keyring) retireBackupKeys(ctx context.Context, tenant vault.TenantID) (int, error) {
	return k.retire(ctx, store.BackupKey, string(tenant), func(ctx context.Context, tx store.Tx, used map[string]bool) error {
		rows, err := tx.WrappedKeys(ctx, store.BackupKey, string(tenant))
		if err != nil {
			return err
		}
		for _, row := range rows {
			needs, err := tx.KeyNeeds(ctx, vault.ID(tenant), vault.ObjectID(row.ID))
			if err != nil {
				return err
			}
			used[row.ID] = !row.Counted || slices.ContainsFunc(needs, func(n *store.KeyNeed) bool { return !n.Ended(k.clock.Now()) })
		}
		return nil
	})
}

// sealForCustomer seals content under a key of its own, which the customer's key of the vault wraps.
func (k *Keyring) sealForCustomer(ctx context.Context, tenant vault.TenantID, v *vault.Vault, plaintext []byte) ([]byte, error) {
	if err := k.needForBackups(ctx, v); err != nil {
		return nil, err
	}
	c, err := k.customer()
	if err != nil {
		return nil, err
	}
	raw := newRawKey()
	defer clear(raw[:])
	h := customerHead{By: v.ID}
	if h.Wrapped, h.With, err = c.Wrap(ctx, tenant, v.ID, v.Encryption.CustomerKey, raw[:]); err != nil {
		return nil, err
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	a, err := raw.aead()
	if err != nil {
		return nil, err
	}
	content := binary.BigEndian.AppendUint32([]byte(customerMagic), uint32(len(head)))
	return sealWith(a, append(content, head...), plaintext, binding(bindCustomerBackup, string(tenant), string(head))), nil
}

func (k *Keyring) openForCustomer(ctx context.Context, tenant vault.TenantID, content []byte) ([]byte, error) {
	head, sealed, err := cutHead(content)
	if err != nil {
		return nil, err
	}
	var h customerHead
	if json.Unmarshal(head, &h) != nil {
		return nil, errBackup
	}
	c, err := k.customer()
	if err != nil {
		return nil, err
	}
	bytes, err := c.Unwrap(ctx, tenant, h.By, h.With, h.Wrapped)
	defer clear(bytes)
	if err != nil {
		return nil, err
	}
	if len(bytes) != keyBytes {
		return nil, errBackup
	}
	raw := rawKey(bytes)
	defer clear(raw[:])
	a, err := raw.aead()
	if err != nil {
		return nil, err
	}
	plain, err := openWith(a, nil, sealed, binding(bindCustomerBackup, string(tenant), string(head)))
	if err != nil {
		return nil, errBackup
	}
	return plain, nil
}

// cutHead parts content that begins with customerMagic.
func cutHead(content []byte) (head, sealed []byte, err error) {
	rest := content[len(customerMagic):]
	if len(rest) < 4 {
		return nil, nil, errBackup
	}
	n, rest := binary.BigEndian.Uint32(rest), rest[4:]
	if uint64(n) > uint64(len(rest)) {
		return nil, nil, errBackup
	}
	return rest[:n], rest[n:], nil
}

// needForBackups records, before there is a backup, until when the customer's key is needed for it. The many backups of one day write once.
func (k *Keyring) needForBackups(ctx context.Context, v *vault.Vault) error {
	e := v.Encryption
	need := &store.KeyNeed{Key: e.Key, In: e.Vault, By: v.ID, ByName: v.Name, Use: store.NeededByBackups, Until: e.KeptUntil(k.clock.Now())}
	var there []*store.KeyNeed
	if err := k.store.View(ctx, func(tx store.Tx) (err error) {
		there, err = tx.KeyNeeds(ctx, e.Vault, e.Key)
		return err
	}); err != nil {
		return err
	}
	for _, n := range there {
		if n.By == v.ID && n.Use == store.NeededByBackups && (n.Until.IsZero() || !n.Until.Before(need.Until)) {
			return nil
		}
	}
	_, err := k.update(ctx, func(tx store.Tx, _ store.Op) error {
		o, err := tx.Object(ctx, e.Vault, vault.Key, e.Name)
		if fault.Is(err, fault.NotFound) || err == nil && o.ID != e.Key {
			return fault.New(fault.Conflict, "the customer's key %q of the vault %q was purged meanwhile, so the backup was not made", e.Name, v.Name)
		}
		if err != nil {
			return err
		}
		return tx.PutKeyNeed(ctx, need)
	})
	return err
}
