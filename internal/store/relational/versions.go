package relational

import (
	"context"
	"math/bits"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// keySchema is the step of the schema that lets a version have a document.
const keySchema = `ALTER TABLE versions ADD COLUMN doc BLOB;`

// retiredSchema is the step of the schema by which the few versions are found that were revoked at their target: whoever reads a version for the first
// time is asked whether it is one.
const retiredSchema = `CREATE INDEX versions_retired ON versions (id) WHERE state = '` + string(vault.Retired) + `';`

const (
	versionColumns = "v.object, v.id, v.enabled, v.not_before, v.expires, v.created, v.updated, v.content_type, v.tags, v.state, " +
		"v.previous, v.key, v.wrapped_key, v.ciphertext, v.doc"
	insertVersion = "INSERT INTO versions (object, " + versionList + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	selectVersion = "SELECT " + versionColumns + " FROM versions v "
)

// version returns the version in columns of a row, or nil when all are NULL because a join found none.
func (r Row) version() (*vault.Version, error) {
	if r.IsNull(0) {
		return nil, nil
	}
	tags, err := parseMap[string, string](r.Text(8))
	return &vault.Version{
		Object: vault.ObjectID(r.Text(0)), ID: vault.VersionID(r.Text(1)),
		Attributes: vault.Attributes{
			Enabled: r.Bool(2), NotBefore: r.Instant(3), Expires: r.Instant(4), Created: r.Instant(5), Updated: r.Instant(6),
		},
		ContentType: r.Text(7), Tags: tags, State: vault.VersionState(r.Text(9)), Previous: vault.VersionID(r.Text(10)), Doc: r.Blob(14),
		Value: vault.Envelope{Key: r.Text(11), WrappedKey: r.Blob(12), Ciphertext: r.Blob(13)},
	}, err
}

// Version implements store.Objects.
func (t *Tx) Version(ctx context.Context, o vault.ObjectID, id vault.VersionID) (*vault.Version, error) {
	list, err := t.versions(ctx, selectVersion+"WHERE v.object = ? AND v.id = ?", string(o), string(id))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, notFound("version", id)
	}
	return list[0], nil
}

// idsAtOnce bounds the ids that one statement asks for.
const idsAtOnce = 64

// RetiredAmong implements store.Objects.
func (t *Tx) RetiredAmong(ctx context.Context, ids []vault.VersionID) (list []vault.VersionID, err error) {
	ids = slices.Clone(ids)
	slices.Sort(ids)
	for chunk := range slices.Chunk(slices.Compact(ids), idsAtOnce) {
		// The last one is repeated up to a power of two, so that an engine prepares seven statements and no more.
		args := make([]any, 1<<bits.Len(uint(len(chunk)-1)))
		for i := range args {
			args[i] = string(chunk[min(i, len(chunk)-1)])
		}
		marks := strings.Join(slices.Repeat([]string{"?"}, len(args)), ", ")
		err := t.query(ctx, "SELECT id FROM versions WHERE id IN ("+marks+") AND state = '"+string(vault.Retired)+"'", args, func(r Row) error {
			list = append(list, vault.VersionID(r.Text(0)))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// Versions implements store.Objects.
func (t *Tx) Versions(ctx context.Context, o vault.ObjectID, after vault.VersionID, n int) ([]*vault.Version, error) {
	return t.versions(ctx, selectVersion+"WHERE v.object = ? AND v.id > ? ORDER BY v.id LIMIT ?", string(o), string(after), limit(n))
}

func (t *Tx) versions(ctx context.Context, query string, args ...any) ([]*vault.Version, error) {
	var list []*vault.Version
	err := t.query(ctx, query, args, func(r Row) error {
		v, err := r.version()
		list = append(list, v)
		return err
	})
	return list, err
}

// AddVersion implements store.Objects.
func (t *Tx) AddVersion(ctx context.Context, v *vault.Version) error {
	columns, err := versionValues(v)
	if err != nil {
		return err
	}
	_, err = t.put(ctx, notingVersion(v.Object), insertVersion, append([]any{string(v.Object)}, columns...)...)
	if taken(err) {
		return fault.Wrap(err, fault.Conflict, "the version %s exists already: choose another id", v.ID)
	}
	if err == nil {
		t.carried.add(v, columns)
	}
	return err
}

// versionValues are the values of versionList.
func versionValues(v *vault.Version) ([]any, error) {
	tags, err := mapColumn(v.Tags)
	return []any{string(v.ID), v.Attributes.Enabled, micros(v.Attributes.NotBefore), micros(v.Attributes.Expires), micros(v.Attributes.Created),
		micros(v.Attributes.Updated), v.ContentType, tags, string(v.State), string(v.Previous), v.Value.Key, v.Value.WrappedKey, v.Value.Ciphertext,
		bytesColumn(v.Doc)}, err
}

// PutVersion implements store.Objects.
func (t *Tx) PutVersion(ctx context.Context, v *vault.Version) error {
	tags, err := mapColumn(v.Tags)
	if err != nil {
		return err
	}
	t.carried.changed(v.Object)
	return t.mustChange(ctx, notingVersion(v.Object), "version", v.ID, `UPDATE versions SET enabled = ?, not_before = ?, expires = ?, created = ?,
		updated = ?, content_type = ?, tags = ?, state = ?, key = ?, wrapped_key = ?, ciphertext = ?, doc = ? WHERE object = ? AND id = ?`,
		v.Attributes.Enabled, micros(v.Attributes.NotBefore), micros(v.Attributes.Expires), micros(v.Attributes.Created),
		micros(v.Attributes.Updated), v.ContentType, tags, string(v.State), v.Value.Key, v.Value.WrappedKey, v.Value.Ciphertext,
		bytesColumn(v.Doc), string(v.Object), string(v.ID))
}

// CountVersions implements store.Objects.
func (t *Tx) CountVersions(ctx context.Context, o vault.ObjectID, n int) (int, error) {
	var count int
	_, err := t.one(ctx, "SELECT count(*) FROM (SELECT 1 FROM versions WHERE object = ? LIMIT ?) AS counted", []any{string(o), limit(n)},
		func(r Row) { count = int(r.Integer(0)) })
	return count, err
}
