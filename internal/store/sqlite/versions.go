package sqlite

import (
	"context"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// keySchema is the step of the schema that lets a version have a document.
const keySchema = `ALTER TABLE versions ADD COLUMN doc BLOB;`

const (
	versionColumns = "v.object, v.id, v.enabled, v.not_before, v.expires, v.created, v.updated, v.content_type, v.tags, v.state, " +
		"v.previous, v.key, v.wrapped_key, v.ciphertext, v.doc"
	selectVersion = "SELECT " + versionColumns + " FROM versions v "
)

// version returns the version in columns of a row, or nil when all are NULL because a join found none.
func (r row) version() (*vault.Version, error) {
	if r.isNull(0) {
		return nil, nil
	}
	tags, err := parseMap[string, string](r.text(8))
	return &vault.Version{
		Object: vault.ObjectID(r.text(0)), ID: vault.VersionID(r.text(1)),
		Attributes: vault.Attributes{
			Enabled: r.bool(2), NotBefore: r.instant(3), Expires: r.instant(4), Created: r.instant(5), Updated: r.instant(6),
		},
		ContentType: r.text(7), Tags: tags, State: vault.VersionState(r.text(9)), Previous: vault.VersionID(r.text(10)), Doc: r.blob(14),
		Value: vault.Envelope{Key: r.text(11), WrappedKey: r.blob(12), Ciphertext: r.blob(13)},
	}, err
}

// Version implements store.Objects.
func (t *tx) Version(ctx context.Context, o vault.ObjectID, id vault.VersionID) (*vault.Version, error) {
	list, err := t.versions(ctx, selectVersion+"WHERE v.object = ? AND v.id = ?", string(o), string(id))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, notFound("version", id)
	}
	return list[0], nil
}

// Versions implements store.Objects.
func (t *tx) Versions(ctx context.Context, o vault.ObjectID, after vault.VersionID, n int) ([]*vault.Version, error) {
	return t.versions(ctx, selectVersion+"WHERE v.object = ? AND v.id > ? ORDER BY v.id LIMIT ?", string(o), string(after), limit(n))
}

func (t *tx) versions(ctx context.Context, query string, args ...any) ([]*vault.Version, error) {
	var list []*vault.Version
	err := t.query(ctx, query, args, func(r row) error {
		v, err := r.version()
		list = append(list, v)
		return err
	})
	return list, err
}

// AddVersion implements store.Objects.
func (t *tx) AddVersion(ctx context.Context, v *vault.Version) error {
	tags, err := mapColumn(v.Tags)
	if err != nil {
		return err
	}
	_, err = t.write(ctx, notingVersion(v.Object), `INSERT INTO versions (object, id, enabled, not_before, expires, created, updated,
		content_type, tags, state, previous, key, wrapped_key, ciphertext, doc) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		string(v.Object), string(v.ID), v.Attributes.Enabled, micros(v.Attributes.NotBefore), micros(v.Attributes.Expires),
		micros(v.Attributes.Created), micros(v.Attributes.Updated), v.ContentType, tags, string(v.State), string(v.Previous),
		v.Value.Key, v.Value.WrappedKey, v.Value.Ciphertext, bytesColumn(v.Doc))
	if isConstraint(err) {
		return fault.Wrap(err, fault.Conflict, "the version %s exists already: choose another id", v.ID)
	}
	return err
}

// PutVersion implements store.Objects.
func (t *tx) PutVersion(ctx context.Context, v *vault.Version) error {
	tags, err := mapColumn(v.Tags)
	if err != nil {
		return err
	}
	return t.mustChange(ctx, notingVersion(v.Object), "version", v.ID, `UPDATE versions SET enabled = ?, not_before = ?, expires = ?, created = ?,
		updated = ?, content_type = ?, tags = ?, state = ?, key = ?, wrapped_key = ?, ciphertext = ?, doc = ? WHERE object = ? AND id = ?`,
		v.Attributes.Enabled, micros(v.Attributes.NotBefore), micros(v.Attributes.Expires), micros(v.Attributes.Created),
		micros(v.Attributes.Updated), v.ContentType, tags, string(v.State), v.Value.Key, v.Value.WrappedKey, v.Value.Ciphertext,
		bytesColumn(v.Doc), string(v.Object), string(v.ID))
}

// CountVersions implements store.Objects.
func (t *tx) CountVersions(ctx context.Context, o vault.ObjectID, n int) (int, error) {
	var count int
	_, err := t.one(ctx, "SELECT count(*) FROM (SELECT 1 FROM versions WHERE object = ? LIMIT ?)", []any{string(o), limit(n)},
		func(r row) { count = int(r.integer(0)) })
	return count, err
}
