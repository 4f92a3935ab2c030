package relational

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// enrolmentSchema is what clients have at issuers.
const enrolmentSchema = `
CREATE TABLE enrolments (vault TEXT NOT NULL, issuer TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, alias TEXT, expires INTEGER,
  revision INTEGER NOT NULL, doc BLOB);
CREATE UNIQUE INDEX enrolments_id ON enrolments (issuer, kind, id);
CREATE UNIQUE INDEX enrolments_alias ON enrolments (issuer, kind, alias) WHERE alias IS NOT NULL;
CREATE INDEX enrolments_expires ON enrolments (expires) WHERE expires IS NOT NULL;
CREATE INDEX enrolments_vault ON enrolments (vault);
`

const enrolmentColumns = "SELECT vault, issuer, kind, id, alias, expires, revision, doc FROM enrolments"

func readEnrolment(r Row) *store.Enrolment {
	return &store.Enrolment{Vault: vault.ID(r.Text(0)), Issuer: vault.ObjectID(r.Text(1)), Kind: r.Text(2), ID: r.Text(3), Alias: r.Text(4), Expires: r.Instant(5),
		Revision: r.Integer(6), Doc: r.Blob(7)}
}

func (t *Tx) enrolment(ctx context.Context, key, condition string, args ...any) (e *store.Enrolment, err error) {
	found, err := t.one(ctx, enrolmentColumns+condition, args, func(r Row) { e = readEnrolment(r) })
	if err == nil && !found {
		err = notFound("enrolment", key)
	}
	return e, err
}

// Enrolment implements store.Enrolments.
func (t *Tx) Enrolment(ctx context.Context, issuer vault.ObjectID, kind, id string) (*store.Enrolment, error) {
	return t.enrolment(ctx, id, " WHERE issuer = ? AND kind = ? AND id = ?", string(issuer), kind, id)
}

// EnrolmentByAlias implements store.Enrolments.
func (t *Tx) EnrolmentByAlias(ctx context.Context, issuer vault.ObjectID, kind, alias string) (*store.Enrolment, error) {
	return t.enrolment(ctx, alias, " WHERE issuer = ? AND kind = ? AND alias = ?", string(issuer), kind, alias)
}

// Enrolments implements store.Enrolments.
func (t *Tx) Enrolments(ctx context.Context, q store.EnrolmentQuery) (list []*store.Enrolment, err error) {
	err = t.query(ctx, enrolmentColumns+" WHERE issuer = ? AND kind = ? AND id > ? ORDER BY id LIMIT ?", []any{string(q.Issuer), q.Kind, q.After, limit(q.Limit)}, func(r Row) error {
		list = append(list, readEnrolment(r))
		return nil
	})
	return list, err
}

// PutEnrolment implements store.Enrolments.
func (t *Tx) PutEnrolment(ctx context.Context, e *store.Enrolment) error {
	args := []any{string(e.Vault), nullable(e.Alias), micros(e.Expires), e.Revision + 1, e.Doc, string(e.Issuer), e.Kind, e.ID}
	var err error
	if e.Revision == 0 {
		err = t.swap(ctx, unseen, "enrolment", e.ID, `INSERT INTO enrolments (vault, alias, expires, revision, doc, issuer, kind, id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (issuer, kind, id) DO NOTHING`, args...)
	} else {
		err = t.swap(ctx, unseen, "enrolment", e.ID, `UPDATE enrolments SET vault = ?, alias = ?, expires = ?, revision = ?, doc = ?
			WHERE issuer = ? AND kind = ? AND id = ? AND revision = ?`, append(args, e.Revision)...)
	}
	if taken(err) {
		return fault.Wrap(err, fault.Conflict, "another %s of this issuer has the alias %s", e.Kind, e.Alias)
	}
	return err
}

// ExpireEnrolments implements store.Enrolments.
func (t *Tx) ExpireEnrolments(ctx context.Context, now time.Time, n int) (int, error) {
	removed, err := t.write(ctx, unseen, `DELETE FROM enrolments WHERE (issuer, kind, id) IN
		(SELECT issuer, kind, id FROM enrolments WHERE expires <= ? ORDER BY expires LIMIT ?)`, now.UnixMicro(), limit(n))
	return int(removed), err
}
