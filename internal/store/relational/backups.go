package relational

import (
	"context"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// backupSchema is the step of the schema that makes room for what is known of backups.
const backupSchema = `
CREATE TABLE backups (id TEXT PRIMARY KEY, kind TEXT NOT NULL, tenant TEXT NOT NULL, vault TEXT NOT NULL, open INTEGER NOT NULL, made INTEGER,
  expires INTEGER, revision INTEGER NOT NULL, doc BLOB);
CREATE INDEX backups_kind ON backups (kind, id);
CREATE INDEX backups_vault ON backups (vault, id);
CREATE INDEX backups_expires ON backups (expires) WHERE expires IS NOT NULL;
`

const backupColumns = "SELECT id, kind, tenant, vault, open, made, expires, revision, doc FROM backups"

func readBackup(r Row) *store.Backup {
	return &store.Backup{ID: r.Text(0), Kind: store.BackupKind(r.Text(1)), Tenant: vault.TenantID(r.Text(2)), Vault: vault.ID(r.Text(3)), Open: r.Bool(4),
		Made: r.Instant(5), Expires: r.Instant(6), Revision: r.Integer(7), Doc: r.Blob(8)}
}

// Backup implements store.Backups.
func (t *Tx) Backup(ctx context.Context, id string) (b *store.Backup, err error) {
	found, err := t.one(ctx, backupColumns+" WHERE id = ?", []any{id}, func(r Row) { b = readBackup(r) })
	if err == nil && !found {
		err = notFound("backup", id)
	}
	return b, err
}

// Backups implements store.Backups.
func (t *Tx) Backups(ctx context.Context, q store.BackupQuery) (list []*store.Backup, err error) {
	var w where
	w.equal("kind", string(q.Kind))
	w.equal("vault", string(q.Vault))
	if q.Open {
		w.and("open = 1")
	}
	if !q.ExpiredAt.IsZero() {
		w.and("expires <= ?", q.ExpiredAt.UnixMicro())
	}
	if q.After != "" {
		w.and("id < ?", q.After)
	}
	err = t.query(ctx, backupColumns+w.String()+" ORDER BY id DESC LIMIT ?", append(w.args, limit(q.Limit)), func(r Row) error {
		list = append(list, readBackup(r))
		return nil
	})
	return list, err
}

// PutBackup implements store.Backups.
func (t *Tx) PutBackup(ctx context.Context, b *store.Backup) error {
	args := []any{string(b.Kind), string(b.Tenant), string(b.Vault), b.Open, micros(b.Made), micros(b.Expires), b.Revision + 1, b.Doc, b.ID}
	if b.Revision == 0 {
		return t.swap(ctx, unseen, "backup", b.ID, `INSERT INTO backups (kind, tenant, vault, open, made, expires, revision, doc, id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`, args...)
	}
	return t.swap(ctx, unseen, "backup", b.ID, `UPDATE backups SET kind = ?, tenant = ?, vault = ?, open = ?, made = ?, expires = ?, revision = ?, doc = ?
		WHERE id = ? AND revision = ?`, append(args, b.Revision)...)
}

// DeleteBackup implements store.Backups.
func (t *Tx) DeleteBackup(ctx context.Context, id string) error {
	return t.mustChange(ctx, unseen, "backup", id, "DELETE FROM backups WHERE id = ?", id)
}
