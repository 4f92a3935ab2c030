package relational

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// keyNeedSchema is what hangs on keys beyond their vaults.
const keyNeedSchema = `
CREATE TABLE key_needs (vault TEXT NOT NULL, key TEXT NOT NULL, by_vault TEXT NOT NULL, use TEXT NOT NULL, by_name TEXT NOT NULL, until INTEGER);
CREATE UNIQUE INDEX key_needs_key ON key_needs (vault, key, by_vault, use);
CREATE INDEX key_needs_by ON key_needs (by_vault, use);
CREATE TABLE token_keys (id TEXT PRIMARY KEY, token TEXT NOT NULL, object TEXT NOT NULL, made INTEGER NOT NULL);
`

// keyNeedNoteSchema makes room for what a need says of itself.
const keyNeedNoteSchema = `
ALTER TABLE key_needs ADD COLUMN note TEXT NOT NULL DEFAULT '';
`

// KeyNeeds implements store.KeyNeeds.
func (t *Tx) KeyNeeds(ctx context.Context, in vault.ID, key vault.ObjectID) (list []*store.KeyNeed, err error) {
	condition, args := "vault = ?", []any{string(in)}
	if key != "" {
		condition, args = condition+" AND key = ?", append(args, string(key))
	}
	return t.keyNeeds(ctx, condition, 0, args...)
}

// EndedKeyNeeds implements store.KeyNeeds. It looks at all of them: what keeps house does, once in a while, and in no writer's way.
func (t *Tx) EndedKeyNeeds(ctx context.Context, before time.Time, most int) ([]*store.KeyNeed, error) {
	return t.keyNeeds(ctx, "until < ?", most, before.UnixMicro())
}

func (t *Tx) keyNeeds(ctx context.Context, condition string, most int, args ...any) (list []*store.KeyNeed, err error) {
	err = t.query(ctx, "SELECT key, vault, by_vault, by_name, use, until, note FROM key_needs WHERE "+condition+" ORDER BY vault, key, by_vault, use LIMIT ?", append(args, limit(most)), func(r Row) error {
		list = append(list, &store.KeyNeed{Key: vault.ObjectID(r.Text(0)), In: vault.ID(r.Text(1)), By: vault.ID(r.Text(2)), ByName: r.Text(3),
			Use: store.KeyUse(r.Text(4)), Until: r.Instant(5), Note: r.Text(6)})
		return nil
	})
	return list, err
}

// DropEndedKeyNeed implements store.KeyNeeds.
func (t *Tx) DropEndedKeyNeed(ctx context.Context, n *store.KeyNeed, before time.Time) error {
	_, err := t.write(ctx, unseen, "DELETE FROM key_needs WHERE vault = ? AND key = ? AND by_vault = ? AND use = ? AND until < ?",
		string(n.In), string(n.Key), string(n.By), string(n.Use), before.UnixMicro())
	return err
}

// PutKeyNeed implements store.KeyNeeds.
func (t *Tx) PutKeyNeed(ctx context.Context, n *store.KeyNeed) error {
	_, err := t.put(ctx, unseen, `INSERT INTO key_needs (vault, key, by_vault, use, by_name, until, note) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (vault, key, by_vault, use) DO UPDATE SET by_name = excluded.by_name, note = excluded.note,
		until = CASE WHEN key_needs.until IS NULL OR excluded.until IS NULL THEN NULL WHEN key_needs.until > excluded.until THEN key_needs.until
		ELSE excluded.until END`,
		string(n.In), string(n.Key), string(n.By), string(n.Use), n.ByName, micros(n.Until), n.Note)
	return err
}

// DropKeyNeeds implements store.KeyNeeds.
func (t *Tx) DropKeyNeeds(ctx context.Context, by vault.ID, use store.KeyUse) error {
	_, err := t.write(ctx, unseen, "DELETE FROM key_needs WHERE by_vault = ? AND use = ?", string(by), string(use))
	return err
}

// AddTokenKey implements store.KeyNeeds.
func (t *Tx) AddTokenKey(ctx context.Context, k *store.TokenKey) error {
	_, err := t.put(ctx, unseen, "INSERT INTO token_keys (id, token, object, made) VALUES (?, ?, ?, ?)", k.ID, k.Token, string(k.Object), k.Made.UnixMicro())
	if taken(err) {
		return fault.Wrap(err, fault.Conflict, "a key with the id %s is known already in a token: use another id", k.ID)
	}
	return err
}

// KeepTokenKey implements store.KeyNeeds.
func (t *Tx) KeepTokenKey(ctx context.Context, id string, o vault.ObjectID) error {
	return t.mustChange(ctx, unseen, "key in a token", id, "UPDATE token_keys SET object = ? WHERE id = ?", string(o), id)
}

// StrayTokenKeys implements store.KeyNeeds.
func (t *Tx) StrayTokenKeys(ctx context.Context, madeBefore time.Time, most int) (list []*store.TokenKey, err error) {
	err = t.query(ctx, `SELECT id, token, object, made FROM token_keys WHERE object = '' AND made < ?
		OR object <> '' AND NOT EXISTS (SELECT 1 FROM objects WHERE objects.id = token_keys.object) ORDER BY id LIMIT ?`,
		[]any{madeBefore.UnixMicro(), limit(most)}, func(r Row) error {
			list = append(list, &store.TokenKey{ID: r.Text(0), Token: r.Text(1), Object: vault.ObjectID(r.Text(2)), Made: r.Instant(3)})
			return nil
		})
	return list, err
}

// DropTokenKey implements store.KeyNeeds.
func (t *Tx) DropTokenKey(ctx context.Context, id string) error {
	return t.mustChange(ctx, unseen, "key in a token", id, "DELETE FROM token_keys WHERE id = ?", id)
}
