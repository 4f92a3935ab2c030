package keyring

import (
	"bytes"
	"context"
	"fmt"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// resealed is a version whose data key is to be wrapped anew.
type resealed struct {
	object   vault.ObjectID
	version  vault.VersionID
	from, to vault.Envelope
}

// ResealVault wraps the data keys of all versions in the vault under its newest key, in small transactions, and returns how
// many it moved. No value is decrypted. After an error it can be called again.
func (k *Keyring) ResealVault(ctx context.Context, tenant vault.TenantID, id vault.ID) (int, error) {
	newest, err := k.vaultKey(ctx, Place{Tenant: tenant, Vault: id})
	if err != nil {
		return 0, err
	}
	total := 0
	for {
		part, err := k.underOlder(ctx, id, newest.row.ID)
		if err != nil || len(part) == 0 {
			return total, err
		}
		for i := range part {
			p := Place{Tenant: tenant, Vault: id, Object: part[i].object, Version: part[i].version}
			if part[i].to, err = k.Reseal(ctx, p, part[i].from); err != nil {
				return total, fmt.Errorf("resealing version %s of object %s: %w", p.Version, p.Object, err)
			}
		}
		n, err := k.putResealed(ctx, part)
		total += n
		// Whatever was changed by others meanwhile is under the newest key, or the next look finds it. A look that moved
		// nothing ends the work, so that it cannot go on for ever.
		if err != nil || n == 0 {
			return total, err
		}
	}
}

// underOlder finds some versions whose data key another key than the newest wraps.
func (k *Keyring) underOlder(ctx context.Context, id vault.ID, newest string) (part []resealed, err error) {
	err = k.store.View(ctx, func(tx store.Tx) error {
		part = part[:0]
		return eachVersion(ctx, tx, id, func(o *vault.Object, v *vault.Version) bool {
			if v.Value.Key != "" && v.Value.Key != newest {
				part = append(part, resealed{object: o.ID, version: v.ID, from: v.Value})
			}
			return len(part) < pageSize
		})
	})
	return part, err
}

func (k *Keyring) putResealed(ctx context.Context, part []resealed) (n int, err error) {
	_, err = k.update(ctx, func(tx store.Tx, _ store.Op) error {
		n = 0
		for _, r := range part {
			v, err := tx.Version(ctx, r.object, r.version)
			if fault.Is(err, fault.NotFound) || err == nil && !bytes.Equal(v.Value.WrappedKey, r.from.WrappedKey) {
				continue
			}
			if err != nil {
				return err
			}
			next := *v
			next.Value = r.to
			if err := tx.PutVersion(ctx, &next); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}
