package relational

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// rolloutSchema is the step of the schema that lets an object have a rollout.
const rolloutSchema = `ALTER TABLE objects ADD COLUMN rollout BLOB;`

const (
	objectColumns = "o.id, o.vault, o.kind, o.name, o.created, o.current, o.labels, o.managed, o.deleted_at, o.purge_at, o.revision, o.rollout"

	objectsOnly  = "SELECT " + objectColumns + " FROM objects o "
	bothColumns  = "SELECT " + objectColumns + ", " + versionColumns + " FROM objects o LEFT JOIN versions v ON v.object = o.id AND v.id = "
	withVersions = bothColumns + "o.current "
	withOne      = bothColumns + "? "

	whereName    = "WHERE o.vault = ? AND o.kind = ? AND o.name_key = ?"
	whereLive    = "WHERE o.vault = ? AND o.kind = ? AND o.name_key > ? AND o.purge_at IS NULL ORDER BY o.name_key LIMIT ?"
	whereDeleted = "WHERE o.vault = ? AND o.kind = ? AND o.name_key > ? AND o.purge_at IS NOT NULL ORDER BY o.name_key LIMIT ?"
	whereOver    = "WHERE o.purge_at <= ? AND (o.purge_at, o.id) > (?, ?) ORDER BY o.purge_at, o.id LIMIT ?"
	whereOverIn  = "WHERE o.purge_at <= ? AND (o.purge_at, o.id) > (?, ?) AND o.vault = ? ORDER BY o.purge_at, o.id LIMIT ?"
)

// The statements that write an object; the second of each lets it carry its current version. What was purged is not inserted again.
const (
	objectFacts  = "name = ?, created = ?, current = ?, labels = ?, managed = ?, deleted_at = ?, purge_at = ?, rollout = ?"
	nextObject   = ", revision = revision + 1 WHERE id = ? AND revision = ?"
	objectList   = "id, vault, kind, name_key, name, created, current, labels, managed, deleted_at, purge_at, rollout"
	objectMarks  = "?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12"
	carriedMarks = "?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26"
	unlessPurged = " WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE object = ?1) ON CONFLICT DO NOTHING"

	updateObject = "UPDATE objects SET " + objectFacts + nextObject
	updateBoth   = "UPDATE objects SET " + objectFacts + ", (" + carriedList + ") = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)" + nextObject
	insertObject = "INSERT INTO objects (" + objectList + ", revision) SELECT " + objectMarks + ", 1" + unlessPurged
	insertBoth   = "INSERT INTO objects (" + objectList + ", " + carriedList + ", revision) SELECT " + objectMarks + ", " + carriedMarks + ", 1" + unlessPurged
)

// objectWidth is how many columns an object has; those of its version follow.
const objectWidth = 12

// object returns the object in columns of a row.
func (r Row) object() (*vault.Object, error) {
	o := &vault.Object{
		ID: vault.ObjectID(r.Text(0)), Vault: vault.ID(r.Text(1)), Kind: vault.Kind(r.Text(2)), Name: r.Text(3), Created: r.Instant(4),
		Current: vault.VersionID(r.Text(5)), Managed: r.Bool(7), Revision: r.Integer(10), Rollout: r.Blob(11),
	}
	if !r.IsNull(9) {
		o.Deleted = &vault.Deletion{At: r.Instant(8), PurgeAt: r.Instant(9)}
	}
	var err error
	o.Labels, err = parseMap[vault.Label, vault.VersionID](r.Text(6))
	return o, err
}

// Object implements store.Objects.
func (t *Tx) Object(ctx context.Context, v vault.ID, k vault.Kind, name string) (*vault.Object, error) {
	list, err := t.objects(ctx, objectsOnly+whereName, string(v), string(k), vault.NameKey(name))
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, notFound(string(k), name)
	}
	return list[0], nil
}

// ObjectVersion implements store.Objects.
func (t *Tx) ObjectVersion(ctx context.Context, v vault.ID, k vault.Kind, name string, id vault.VersionID) (*store.ObjectVersion, error) {
	args := []any{string(v), string(k), vault.NameKey(name)}
	var list []store.ObjectVersion
	var err error
	if id == "" {
		list, err = t.currentVersions(ctx, whereName, args)
	} else {
		list, err = t.objectVersions(ctx, withOne+whereName, append([]any{string(id)}, args...))
	}
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, notFound(string(k), name)
	}
	return &list[0], nil
}

// Objects implements store.Objects.
func (t *Tx) Objects(ctx context.Context, q store.ObjectQuery) ([]*vault.Object, error) {
	where, args := selection(q)
	return t.objects(ctx, objectsOnly+where, args...)
}

func (t *Tx) objects(ctx context.Context, query string, args ...any) ([]*vault.Object, error) {
	var list []*vault.Object
	err := t.query(ctx, query, args, func(r Row) error {
		o, err := r.object()
		list = append(list, o)
		return err
	})
	return list, err
}

// selection returns the condition and the order of a query.
func selection(q store.ObjectQuery) (where string, args []any) {
	if !q.PurgeBefore.IsZero() {
		at, id := int64(math.MinInt64), ""
		if b := q.Behind; b != nil && b.Deleted != nil {
			at, id = b.Deleted.PurgeAt.UnixMicro(), string(b.ID)
		}
		if q.Vault == "" {
			return whereOver, []any{q.PurgeBefore.UnixMicro(), at, id, limit(q.Limit)}
		}
		return whereOverIn, []any{q.PurgeBefore.UnixMicro(), at, id, string(q.Vault), limit(q.Limit)}
	}
	where = whereLive
	if q.Deleted {
		where = whereDeleted
	}
	return where, []any{string(q.Vault), string(q.Kind), vault.NameKey(q.After), limit(q.Limit)}
}

// CurrentVersions implements store.Objects.
func (t *Tx) CurrentVersions(ctx context.Context, q store.ObjectQuery) ([]store.ObjectVersion, error) {
	where, args := selection(q)
	return t.currentVersions(ctx, where, args)
}

// currentVersions lists objects with their current versions. Within an update an object may still carry what was before.
func (t *Tx) currentVersions(ctx context.Context, where string, args []any) ([]store.ObjectVersion, error) {
	if t.carried.on && !t.writable {
		return t.objectsCarrying(ctx, where, args)
	}
	return t.objectVersions(ctx, withVersions+where, args)
}

func (t *Tx) objectVersions(ctx context.Context, query string, args []any) ([]store.ObjectVersion, error) {
	var list []store.ObjectVersion
	err := t.query(ctx, query, args, func(r Row) error {
		object, err := r.object()
		if err != nil {
			return err
		}
		version, err := r[objectWidth:].version()
		list = append(list, store.ObjectVersion{Object: object, Version: version})
		return err
	})
	return list, err
}

// PutObject implements store.Objects.
func (t *Tx) PutObject(ctx context.Context, o *vault.Object) error {
	labels, err := mapColumn(o.Labels)
	if err != nil {
		return err
	}
	var deletedAt, purgeAt any
	if o.Deleted != nil {
		deletedAt, purgeAt = o.Deleted.At.UnixMicro(), o.Deleted.PurgeAt.UnixMicro()
	}
	current := t.carried.current(o)
	if o.Revision > 0 {
		update, args := updateObject, []any{o.Name, micros(o.Created), string(o.Current), labels, o.Managed, deletedAt, purgeAt, bytesColumn(o.Rollout)}
		if current != nil {
			update, args = updateBoth, append(args, current...)
		} else {
			t.carried.changed(o.ID)
		}
		return t.swap(ctx, notingObject(o), string(o.Kind), o.Name, update, append(args, string(o.ID), o.Revision)...)
	}
	insert, args := insertObject, []any{string(o.ID), string(o.Vault), string(o.Kind), vault.NameKey(o.Name), o.Name, micros(o.Created), string(o.Current),
		labels, o.Managed, deletedAt, purgeAt, bytesColumn(o.Rollout)}
	if current != nil {
		insert, args = insertBoth, append(args, current...)
	} else {
		t.carried.changed(o.ID)
	}
	n, err := t.put(ctx, notingObject(o), insert, args...)
	if err != nil || n == 1 {
		return err
	}
	return t.refusedObject(ctx, o)
}

// refusedObject says why an object could not be inserted.
func (t *Tx) refusedObject(ctx context.Context, o *vault.Object) error {
	purged, err := t.one(ctx, "SELECT 1 FROM tombstones WHERE object = ?", []any{string(o.ID)}, func(Row) {})
	if err != nil {
		return err
	}
	if purged {
		return fault.New(fault.Gone, "the %s %q was purged and cannot be brought back: make a new one", o.Kind, o.Name)
	}
	return stale(string(o.Kind), o.Name)
}

// DeleteObject implements store.Objects.
func (t *Tx) DeleteObject(ctx context.Context, o *vault.Object, at time.Time) error {
	err := t.mustChange(ctx, notingObject(o), string(o.Kind), o.Name, "DELETE FROM objects WHERE id = ?", string(o.ID))
	if err != nil {
		return err
	}
	if _, err := t.write(ctx, unseen, "DELETE FROM versions WHERE object = ?", string(o.ID)); err != nil {
		return err
	}
	if err := t.DeletePolicy(ctx, o.ID); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	_, err = t.put(ctx, unseen, "INSERT INTO tombstones (object, vault, at) VALUES (?, ?, ?)", string(o.ID), string(o.Vault), micros(at))
	return err
}

// Tombstones implements store.Objects.
func (t *Tx) Tombstones(ctx context.Context, after vault.ObjectID, n int) ([]store.Tombstone, error) {
	var list []store.Tombstone
	err := t.query(ctx, "SELECT object, vault, at FROM tombstones WHERE object > ? ORDER BY object LIMIT ?",
		[]any{string(after), limit(n)}, func(r Row) error {
			list = append(list, store.Tombstone{Object: vault.ObjectID(r.Text(0)), Vault: vault.ID(r.Text(1)), At: r.Instant(2)})
			return nil
		})
	return list, err
}

// notingObject notes a change of an object, by its name.
func notingObject(o *vault.Object) change {
	return func(t *Tx) {
		t.noted = append(t.noted, o.ID)
		t.note(store.Change{Kind: store.ObjectChanged, Vault: o.Vault, Object: o.Kind, NameKey: vault.NameKey(o.Name)})
	}
}

// notingVersion notes a change of an object of which only the id is known yet.
func notingVersion(o vault.ObjectID) change {
	return func(t *Tx) {
		t.journaled = true
		if !slices.Contains(t.touched[max(0, len(t.touched)-nearby):], o) {
			t.touched = append(t.touched, o)
		}
	}
}

// noteTouched looks up the names of the objects that are known by their ids only. One that does not exist makes the update fail:
// its versions could never be found.
func (t *Tx) noteTouched(ctx context.Context) error {
	for _, id := range t.touched {
		if slices.Contains(t.noted, id) {
			continue
		}
		c := store.Change{Kind: store.ObjectChanged}
		found, err := t.one(ctx, "SELECT vault, kind, name_key FROM objects WHERE id = ?", []any{string(id)},
			func(r Row) { c.Vault, c.Object, c.NameKey = vault.ID(r.Text(0)), vault.Kind(r.Text(1)), r.Text(2) })
		if err != nil {
			return err
		}
		if !found {
			return fault.New(fault.NotFound, "a version was written to the object %q, which does not exist", id)
		}
		t.note(c)
	}
	return nil
}
