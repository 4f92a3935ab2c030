package relational

import (
	"context"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// An object's row may carry its current version: whoever reads that finds all in one tree instead of four. The table of versions stays the truth. The
// transaction that changes either sees to what is carried, and it counts as long as it is the version that is current.
//
// An engine may do so when no release writes beside it that does not.

// CarrySchema is the step of the schema of an engine whose objects carry their versions. The index has the objects of which that was not seen to: all of them
// after an upgrade or a load, and none once it was.
const CarrySchema = `
ALTER TABLE objects ADD COLUMN current_id TEXT;
ALTER TABLE objects ADD COLUMN current_enabled INTEGER;
ALTER TABLE objects ADD COLUMN current_not_before INTEGER;
ALTER TABLE objects ADD COLUMN current_expires INTEGER;
ALTER TABLE objects ADD COLUMN current_created INTEGER;
ALTER TABLE objects ADD COLUMN current_updated INTEGER;
ALTER TABLE objects ADD COLUMN current_content_type TEXT;
ALTER TABLE objects ADD COLUMN current_tags TEXT;
ALTER TABLE objects ADD COLUMN current_state TEXT;
ALTER TABLE objects ADD COLUMN current_previous TEXT;
ALTER TABLE objects ADD COLUMN current_key TEXT;
ALTER TABLE objects ADD COLUMN current_wrapped_key BLOB;
ALTER TABLE objects ADD COLUMN current_ciphertext BLOB;
ALTER TABLE objects ADD COLUMN current_doc BLOB;
CREATE INDEX objects_bare ON objects (id) WHERE ` + bare + `;
`

// ClusterSchema is the step of the schema of such an engine by which SQLite comes to keep the rows of objects in the tree of their names. Rows have to be short
// for that: of a version that is not small they carry nothing. The rows that there were are moved behind the step, by MoveObjects, from objects_before.
const ClusterSchema = `
DROP INDEX objects_deleted;
DROP INDEX objects_purge;
DROP INDEX objects_bare;
ALTER TABLE objects RENAME TO objects_before;
CREATE TABLE objects (id TEXT NOT NULL UNIQUE, vault TEXT NOT NULL, kind TEXT NOT NULL, name_key TEXT NOT NULL, name TEXT NOT NULL,
  created INTEGER, current TEXT NOT NULL, labels TEXT, managed INTEGER NOT NULL, deleted_at INTEGER, purge_at INTEGER, revision INTEGER NOT NULL, rollout BLOB,
  current_id TEXT, current_enabled INTEGER, current_not_before INTEGER, current_expires INTEGER, current_created INTEGER, current_updated INTEGER,
  current_content_type TEXT, current_tags TEXT, current_state TEXT, current_previous TEXT, current_key TEXT, current_wrapped_key BLOB,
  current_ciphertext BLOB, current_doc BLOB, PRIMARY KEY (vault, kind, name_key)) WITHOUT ROWID;
CREATE INDEX objects_deleted ON objects (vault, kind, name_key) WHERE purge_at IS NOT NULL;
CREATE INDEX objects_purge ON objects (purge_at, id) WHERE purge_at IS NOT NULL;
CREATE INDEX objects_bare ON objects (id) WHERE ` + bare + `;
`

// The statements of MoveObjects. The first copies the next rows in the order of their names, of which the last that was copied is the greatest in the new table.
const (
	lastMoved = "SELECT vault, kind, name_key FROM objects ORDER BY vault DESC, kind DESC, name_key DESC LIMIT 1"
	moveNext  = "INSERT INTO objects (" + objectList + ", revision, " + carriedList + ") SELECT " + objectList + ", revision, " + carriedList +
		" FROM objects_before WHERE (vault, kind, name_key) > (?, ?, ?) ORDER BY vault, kind, name_key LIMIT ?"
	dropLarge = "UPDATE objects SET (" + carriedList + ") = (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)" +
		" WHERE (vault, kind, name_key) > (?, ?, ?) AND current_id IS NOT NULL AND NOT (" + smallCarried + ")"
	dropMoved = "DELETE FROM objects_before WHERE rowid IN (SELECT rowid FROM objects_before ORDER BY rowid LIMIT ?)"
)

// MoveObjects does at most n rows of what is left to do behind ClusterSchema, and returns how many it did; 0 when nothing is left. First all rows are copied, then
// those that were are removed. It may be interrupted between two calls.
func MoveObjects(ctx context.Context, c Conn, n int) (done int64, err error) {
	last := []any{"", "", ""}
	if err := c.Query(ctx, lastMoved, nil, func(r Row) error {
		last = []any{r.Text(0), r.Text(1), r.Text(2)}
		return nil
	}); err != nil {
		return 0, err
	}
	done, err = c.Exec(ctx, moveNext, append(slices.Clone(last), n))
	if err != nil {
		return 0, err
	}
	if done == 0 {
		return c.Exec(ctx, dropMoved, []any{n})
	}
	_, err = c.Exec(ctx, dropLarge, last)
	return done, err
}

const (
	carriedList = "current_id, " + carriedFacts
	// versionList are the columns of a version that these repeat.
	versionList = "id, " + versionFacts

	carriedFacts = "current_enabled, current_not_before, current_expires, current_created, current_updated, current_content_type, " +
		"current_tags, current_state, current_previous, current_key, current_wrapped_key, current_ciphertext, current_doc"
	versionFacts = "enabled, not_before, expires, created, updated, content_type, tags, state, previous, key, wrapped_key, ciphertext, doc"

	// small says of a version that an object's row has room for it, smallCarried of the columns that were carried before that was asked.
	small = "octet_length(content_type) + coalesce(octet_length(tags), 0) + coalesce(octet_length(wrapped_key), 0) + coalesce(octet_length(ciphertext), 0) + " +
		"coalesce(octet_length(doc), 0) <= 512"
	smallCarried = "coalesce(octet_length(current_content_type), 0) + coalesce(octet_length(current_tags), 0) + coalesce(octet_length(current_wrapped_key), 0) + " +
		"coalesce(octet_length(current_ciphertext), 0) + coalesce(octet_length(current_doc), 0) <= 512"
	maxCarried = 512

	// bare says of an object that nobody saw to it that it carries its current version.
	bare = "current <> '' AND current_id IS NOT current"

	// withCarried finds what withVersions finds, of objects that are not bare.
	withCarried = "SELECT " + objectColumns + ", o.id, " + carriedList + " FROM objects o "
	carry       = "UPDATE objects SET current_id = current, (" + carriedFacts + ") = (SELECT " + versionFacts +
		" FROM versions v WHERE v.object = objects.id AND v.id = objects.current AND " + small + ") WHERE id = ?"
)

// IsCarried reports whether a column repeats one of versions. No dump has it: who loads it may not go on with it.
func IsCarried(table, column string) bool {
	return table == "objects" && slices.Contains(strings.Split(carriedList, ", "), column)
}

// Carrying returns the transaction for an engine whose objects carry their versions.
func (t Tx) Carrying() Tx {
	t.carried.on = true
	return t
}

// carried is what a transaction has to know to see to it.
type carried struct {
	on bool
	// added are the versions that it inserted last.
	added []addedVersion
	// due are the objects that may not carry their current version as it is.
	due []vault.ObjectID
}

type addedVersion struct {
	object vault.ObjectID
	id     vault.VersionID
	// columns are those of versionList.
	columns []any
}

// add notes a version that was inserted.
func (c *carried) add(v *vault.Version, columns []any) {
	if !c.on {
		return
	}
	if len(c.added) == nearby {
		c.added = append(c.added[:0], c.added[1:]...)
	}
	if len(v.ContentType)+width(columns[tagsAt])+len(v.Value.WrappedKey)+len(v.Value.Ciphertext)+len(v.Doc) > maxCarried {
		columns = append([]any{columns[0]}, make([]any, len(columns)-1)...)
	}
	c.added = append(c.added, addedVersion{v.Object, v.ID, columns})
}

// tagsAt is where the tags are among the values of versionList, enabledAt where a row of withCarried has what only a version that it carries has.
const (
	tagsAt    = 7
	enabledAt = objectWidth + 2
)

func width(column any) int { text, _ := column.(string); return len(text) }

// current returns the columns of an object's current version when the transaction has just inserted it, or nil.
func (c *carried) current(o *vault.Object) []any {
	for i := len(c.added) - 1; i >= 0; i-- {
		if a := &c.added[i]; a.object == o.ID && a.id == o.Current {
			return a.columns
		}
	}
	return nil
}

// changed notes that an object or one of its versions was written.
func (c *carried) changed(o vault.ObjectID) {
	if c.on && !slices.Contains(c.due[max(0, len(c.due)-nearby):], o) {
		c.due = append(c.due, o)
	}
}

// carryDue sees to the objects that are due.
func (t *Tx) carryDue(ctx context.Context) error {
	for _, o := range t.carried.due {
		if err := t.arrange(ctx, carry, string(o)); err != nil {
			return err
		}
	}
	t.carried.due = nil
	return nil
}

// Bare lists at most n objects of which nobody saw to what they carry, in the order of their ids after the one that is given.
func (t *Tx) Bare(ctx context.Context, after vault.ObjectID, n int) (list []vault.ObjectID, err error) {
	err = t.query(ctx, "SELECT id FROM objects WHERE "+bare+" AND id > ? ORDER BY id LIMIT ?", []any{string(after), n}, func(r Row) error {
		list = append(list, vault.ObjectID(r.Text(0)))
		return nil
	})
	return list, err
}

// Carry sees to it that objects carry their versions as they are, if these are small.
func (t *Tx) Carry(ctx context.Context, list []vault.ObjectID) error {
	t.carried.due = append(t.carried.due, list...)
	return t.carryDue(ctx)
}

// objectsCarrying lists objects with the versions that they carry, and looks those up that they do not.
func (t *Tx) objectsCarrying(ctx context.Context, where string, args []any) ([]store.ObjectVersion, error) {
	var list []store.ObjectVersion
	var elsewhere []int
	err := t.query(ctx, withCarried+where, args, func(r Row) (err error) {
		var found store.ObjectVersion
		if found.Object, err = r.object(); err != nil {
			return err
		}
		switch current := found.Object.Current; {
		case current == "":
		case r.Text(objectWidth+1) != string(current) || r.IsNull(enabledAt):
			elsewhere = append(elsewhere, len(list))
		default:
			found.Version, err = r[objectWidth:].version()
		}
		list = append(list, found)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, i := range elsewhere {
		o := list[i].Object
		found, err := t.versions(ctx, selectVersion+"WHERE v.object = ? AND v.id = ?", string(o.ID), string(o.Current))
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			list[i].Version = found[0]
		}
	}
	return list, nil
}
