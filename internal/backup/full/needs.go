package full

import (
	"context"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// needsOf finds every customer's key with which something in the store opens: what vaults name, and what their keys are wrapped with still.
func needsOf(ctx context.Context, tx store.Tx) (needs []need, err error) {
	add := func(v *vault.Vault, key vault.CustomerKey) {
		n := need{Key: key.Key, In: key.Vault, By: v.ID, ByName: v.Name}
		if !slices.Contains(needs, n) {
			needs = append(needs, n)
		}
	}
	tenants, err := tx.Tenants(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range tenants {
		for _, deleted := range []bool{false, true} {
			vaults, err := tx.Vaults(ctx, store.VaultQuery{Tenant: t.ID, Deleted: deleted})
			if err != nil {
				return nil, err
			}
			for _, v := range vaults {
				if v.Encryption != nil {
					add(v, v.Encryption.CustomerKey)
				}
				keys, err := tx.WrappedKeys(ctx, store.VaultKey, string(v.ID))
				if err != nil {
					return nil, err
				}
				for _, k := range keys {
					if k.Customer != nil {
						add(v, k.Customer.Key)
					}
				}
			}
		}
	}
	return needs, nil
}

// hold writes the needs of a backup, or takes them back when it failed.
func (s *Service) hold(ctx context.Context, tx store.Tx, b *Backup) error {
	if b.State == Failed {
		return s.release(ctx, tx, b)
	}
	for _, n := range b.Needs {
		if err := tx.PutKeyNeed(ctx, n.until(b.Expires)); err != nil {
			return err
		}
	}
	return nil
}

func (n need) until(t time.Time) *store.KeyNeed {
	return &store.KeyNeed{Key: n.Key, In: n.In, By: n.By, ByName: n.ByName, Use: store.NeededByFullBackups, Until: t}
}

// release takes back what a backup that is no more needed. What others of the same vaults need is written anew.
func (s *Service) release(ctx context.Context, tx store.Tx, b *Backup) error {
	if len(b.Needs) == 0 {
		return nil
	}
	for _, n := range b.Needs {
		if err := tx.DropKeyNeeds(ctx, n.By, store.NeededByFullBackups); err != nil {
			return err
		}
	}
	rows, err := tx.Backups(ctx, store.BackupQuery{Kind: store.FullBackup})
	if err != nil {
		return err
	}
	for _, row := range rows {
		other, err := backupOf(row)
		if err != nil {
			return err
		}
		if other.ID == b.ID || other.State == Failed {
			continue
		}
		for _, n := range other.Needs {
			if slices.ContainsFunc(b.Needs, func(own need) bool { return own.By == n.By }) {
				if err := tx.PutKeyNeed(ctx, n.until(other.Expires)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
