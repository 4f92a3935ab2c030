package sqlite

import (
	"context"
	"database/sql"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

const (
	versionColumns = "v.object, v.id, v.enabled, v.not_before, v.expires, v.created, v.updated, v.content_type, v.tags, v.state, " +
		"v.previous, v.key, v.wrapped_key, v.ciphertext"
	selectVersion = "SELECT " + versionColumns + " FROM versions v "
)

// versionRow is where the columns of a version are scanned to. All are NULL when a join found none.
type versionRow struct {
	object, id, contentType, state, previous, key sql.NullString
	enabled                                       sql.NullBool
	notBefore, expires, created, updated          sql.NullInt64
	tags                                          sql.RawBytes
	wrappedKey, ciphertext                        []byte
}

func (r *versionRow) columns() []any {
	return []any{&r.object, &r.id, &r.enabled, &r.notBefore, &r.expires, &r.created, &r.updated, &r.contentType, &r.tags, &r.state,
		&r.previous, &r.key, &r.wrappedKey, &r.ciphertext}
}

// version returns the scanned version, or nil when there was none.
func (r *versionRow) version() (*vault.Version, error) {
	if !r.id.Valid {
		return nil, nil
	}
	tags, err := parseMap[string, string](r.tags)
	return &vault.Version{
		ID: vault.VersionID(r.id.String), Object: vault.ObjectID(r.object.String),
		Attributes: vault.Attributes{
			Enabled: r.enabled.Bool, NotBefore: instant(r.notBefore), Expires: instant(r.expires),
			Created: instant(r.created), Updated: instant(r.updated),
		},
		ContentType: r.contentType.String, Tags: tags, State: vault.VersionState(r.state.String),
		Previous: vault.VersionID(r.previous.String),
		Value:    vault.Envelope{Key: r.key.String, WrappedKey: r.wrappedKey, Ciphertext: r.ciphertext},
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
	err := t.query(ctx, query, args, func(scan scanner) error {
		var r versionRow
		if err := scan(r.columns()...); err != nil {
			return err
		}
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
		content_type, tags, state, previous, key, wrapped_key, ciphertext) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		string(v.Object), string(v.ID), v.Attributes.Enabled, micros(v.Attributes.NotBefore), micros(v.Attributes.Expires),
		micros(v.Attributes.Created), micros(v.Attributes.Updated), v.ContentType, tags, string(v.State), string(v.Previous),
		v.Value.Key, v.Value.WrappedKey, v.Value.Ciphertext)
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
		updated = ?, content_type = ?, tags = ?, state = ?, key = ?, wrapped_key = ?, ciphertext = ? WHERE object = ? AND id = ?`,
		v.Attributes.Enabled, micros(v.Attributes.NotBefore), micros(v.Attributes.Expires), micros(v.Attributes.Created),
		micros(v.Attributes.Updated), v.ContentType, tags, string(v.State), v.Value.Key, v.Value.WrappedKey, v.Value.Ciphertext,
		string(v.Object), string(v.ID))
}

// CountVersions implements store.Objects.
func (t *tx) CountVersions(ctx context.Context, o vault.ObjectID, n int) (int, error) {
	var count int
	_, err := t.one(ctx, "SELECT count(*) FROM (SELECT 1 FROM versions WHERE object = ? LIMIT ?)", []any{string(o), limit(n)}, &count)
	return count, err
}
