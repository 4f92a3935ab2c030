package relational

import (
	"context"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Vault implements store.Vaults.
func (t *Tx) Vault(ctx context.Context, id vault.ID) (*vault.Vault, error) {
	return getDoc[vault.Vault](ctx, t, "vault", id, "SELECT doc FROM vaults WHERE id = ?", string(id))
}

// VaultByName implements store.Vaults.
func (t *Tx) VaultByName(ctx context.Context, name string) (*vault.Vault, error) {
	return getDoc[vault.Vault](ctx, t, "vault", name, "SELECT doc FROM vaults WHERE name_key = ?", vault.NameKey(name))
}

// Vaults implements store.Vaults.
func (t *Tx) Vaults(ctx context.Context, q store.VaultQuery) ([]*vault.Vault, error) {
	where, args := []string{"name_key > ?"}, []any{vault.NameKey(q.After)}
	match := func(condition string, arg any) {
		where, args = append(where, condition), append(args, arg)
	}
	if q.Tenant != "" {
		match("tenant = ?", string(q.Tenant))
	}
	if q.Subscription != "" {
		match("subscription = ?", string(q.Subscription))
	}
	if q.ResourceGroup != "" {
		match("group_key = ?", vault.NameKey(q.ResourceGroup))
	}
	switch {
	case !q.PurgeBefore.IsZero():
		match("purge_at <= ?", q.PurgeBefore.UnixMicro())
	case q.Deleted:
		where = append(where, "purge_at IS NOT NULL")
	default:
		where = append(where, "purge_at IS NULL")
	}
	return listDocs[vault.Vault](ctx, t, "SELECT doc FROM vaults WHERE "+strings.Join(where, " AND ")+" ORDER BY name_key LIMIT ?",
		append(args, limit(q.Limit))...)
}

// PutVault implements store.Vaults.
func (t *Tx) PutVault(ctx context.Context, v *vault.Vault) error {
	next := *v
	next.Revision++
	doc, err := encode(&next)
	if err != nil {
		return err
	}
	var purgeAt any
	if v.Deleted != nil {
		purgeAt = v.Deleted.PurgeAt.UnixMicro()
	}
	args := []any{vault.NameKey(v.Name), string(v.Tenant), string(v.Subscription), vault.NameKey(v.ResourceGroup), purgeAt,
		next.Revision, doc, string(v.ID)}
	ch := noting(vaultChange(v.Tenant, v.ID, v.Name))
	if v.Revision == 0 {
		err = t.swap(ctx, ch, "vault", v.Name, `INSERT INTO vaults (name_key, tenant, subscription, group_key, purge_at, revision, doc, id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`, args...)
	} else {
		err = t.swap(ctx, ch, "vault", v.Name, `UPDATE vaults SET name_key = ?, tenant = ?, subscription = ?, group_key = ?, purge_at = ?,
			revision = ?, doc = ? WHERE id = ? AND revision = ?`, append(args, v.Revision)...)
	}
	if taken(err) {
		return fault.Wrap(err, fault.Conflict, "the vault name %q is taken: choose another name", v.Name)
	}
	return err
}

// DeleteVault implements store.Vaults.
func (t *Tx) DeleteVault(ctx context.Context, id vault.ID) error {
	v, err := t.Vault(ctx, id)
	if err != nil {
		return err
	}
	if _, err := t.write(ctx, unseen, "DELETE FROM enrolments WHERE vault = ?", string(id)); err != nil {
		return err
	}
	if err := t.mustChange(ctx, noting(vaultChange(v.Tenant, id, v.Name)), "vault", id, "DELETE FROM vaults WHERE id = ?", string(id)); err != nil {
		return err
	}
	_, err = t.write(ctx, unseen, "INSERT INTO tombstones (object, vault, at) VALUES (?, ?, ?) ON CONFLICT (object) DO NOTHING", string(id), string(id), micros(t.op.At))
	return err
}

func vaultChange(t vault.TenantID, id vault.ID, name string) store.Change {
	return store.Change{Kind: store.VaultChanged, Tenant: t, Vault: id, NameKey: vault.NameKey(name)}
}
