package relational

import (
	"context"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// WrappedKey implements store.Keys.
func (t *Tx) WrappedKey(ctx context.Context, id string) (*store.WrappedKey, error) {
	return getDoc[store.WrappedKey](ctx, t, "key", id, "SELECT doc FROM wrapped_keys WHERE id = ?", id)
}

// HasWrappedKey implements store.Keys.
func (t *Tx) HasWrappedKey(ctx context.Context, id string) (bool, error) {
	return t.one(ctx, "SELECT 1 FROM wrapped_keys WHERE id = ?", []any{id}, func(Row) {})
}

// WrappedKeys implements store.Keys.
func (t *Tx) WrappedKeys(ctx context.Context, purpose store.KeyPurpose, owner string) ([]*store.WrappedKey, error) {
	return listDocs[store.WrappedKey](ctx, t,
		"SELECT doc FROM wrapped_keys WHERE purpose = ? AND owner = ? ORDER BY created NULLS FIRST, id", string(purpose), owner)
}

// PutWrappedKey implements store.Keys.
func (t *Tx) PutWrappedKey(ctx context.Context, k *store.WrappedKey) error {
	doc, err := encode(k)
	if err != nil {
		return err
	}
	_, err = t.put(ctx, notingKey(k.ID), `INSERT INTO wrapped_keys (id, purpose, owner, created, doc) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (id) DO UPDATE SET purpose = excluded.purpose, owner = excluded.owner, created = excluded.created, doc = excluded.doc`,
		k.ID, string(k.Purpose), k.Owner, micros(k.Created), doc)
	return err
}

// DeleteWrappedKey implements store.Keys.
func (t *Tx) DeleteWrappedKey(ctx context.Context, id string) error {
	return t.mustChange(ctx, notingKey(id), "key", id, "DELETE FROM wrapped_keys WHERE id = ?", id)
}

func notingKey(id string) change { return noting(store.Change{Kind: store.KeyChanged, Key: id}) }

// SigningKeys implements store.Keys. The oldest comes first.
func (t *Tx) SigningKeys(ctx context.Context, tenant vault.TenantID) ([]*store.SigningKey, error) {
	return listDocs[store.SigningKey](ctx, t, "SELECT doc FROM signing_keys WHERE tenant = ? ORDER BY created NULLS FIRST, id", string(tenant))
}

// PutSigningKey implements store.Keys.
func (t *Tx) PutSigningKey(ctx context.Context, k *store.SigningKey) error {
	doc, err := encode(k)
	if err != nil {
		return err
	}
	_, err = t.put(ctx, notingSigningKey(k.Tenant, k.ID), `INSERT INTO signing_keys (tenant, id, created, doc) VALUES (?, ?, ?, ?)
		ON CONFLICT (tenant, id) DO UPDATE SET created = excluded.created, doc = excluded.doc`,
		string(k.Tenant), k.ID, micros(k.Created), doc)
	return err
}

// DeleteSigningKey implements store.Keys.
func (t *Tx) DeleteSigningKey(ctx context.Context, tenant vault.TenantID, id string) error {
	return t.mustChange(ctx, notingSigningKey(tenant, id), "signing key", id,
		"DELETE FROM signing_keys WHERE tenant = ? AND id = ?", string(tenant), id)
}

func notingSigningKey(tenant vault.TenantID, id string) change {
	return noting(store.Change{Kind: store.SigningChanged, Tenant: tenant, Key: id})
}

// Setting implements store.Keys.
func (t *Tx) Setting(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	found, err := t.one(ctx, "SELECT value FROM settings WHERE name = ?", []any{name}, func(r Row) { value = r.Blob(0) })
	if err == nil && !found {
		return nil, notFound("setting", name)
	}
	return value, err
}

// PutSetting implements store.Keys.
func (t *Tx) PutSetting(ctx context.Context, name string, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	_, err := t.put(ctx, noting(store.Change{Kind: store.SettingChanged, Key: name}),
		"INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", name, value)
	return err
}
