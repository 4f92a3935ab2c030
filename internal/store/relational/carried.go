package relational

import (
	"context"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// An object's row may carry its current version: whoever reads that finds all in two trees instead of four. The table of versions stays the truth. The
// transaction that changes either sees to what is carried, and it counts as long as it is the version that is current.
//
// An engine may do so when no release writes beside it that does not.

// CarrySchema is the step of the schema of an engine whose objects carry their versions. The index has the objects that carry none that counts: all of them
// after an upgrade or a load, and none once each was carried.
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

const (
	carriedList = "current_id, current_enabled, current_not_before, current_expires, current_created, current_updated, current_content_type, " +
		"current_tags, current_state, current_previous, current_key, current_wrapped_key, current_ciphertext, current_doc"
	// versionList are the columns of a version that these repeat.
	versionList = "id, enabled, not_before, expires, created, updated, content_type, tags, state, previous, key, wrapped_key, ciphertext, doc"

	// bare says of an object that it does not carry its current version.
	bare = "current <> '' AND current_id IS NOT current"

	// withCarried finds what withVersions finds, of objects that are not bare.
	withCarried = "SELECT " + objectColumns + ", o.id, " + carriedList + " FROM objects o "
	carry       = "UPDATE objects SET (" + carriedList + ") = (SELECT " + versionList + " FROM versions v WHERE v.object = objects.id AND v.id = objects.current) WHERE id = ?"
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
	c.added = append(c.added, addedVersion{v.Object, v.ID, columns})
}

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

// carryDue lets the objects that are due carry their current versions as they are.
func (t *Tx) carryDue(ctx context.Context) error {
	for _, o := range t.carried.due {
		if err := t.arrange(ctx, carry, string(o)); err != nil {
			return err
		}
	}
	t.carried.due = nil
	return nil
}

// Bare lists at most n objects that do not carry their versions, in the order of their ids after the one that is given.
func (t *Tx) Bare(ctx context.Context, after vault.ObjectID, n int) (list []vault.ObjectID, err error) {
	err = t.query(ctx, "SELECT id FROM objects WHERE "+bare+" AND id > ? ORDER BY id LIMIT ?", []any{string(after), n}, func(r Row) error {
		list = append(list, vault.ObjectID(r.Text(0)))
		return nil
	})
	return list, err
}

// Carry lets objects carry their versions as they are.
func (t *Tx) Carry(ctx context.Context, list []vault.ObjectID) error {
	t.carried.due = append(t.carried.due, list...)
	return t.carryDue(ctx)
}

// objectsCarrying lists objects with the versions that they carry, and looks those up that the bare ones do not.
func (t *Tx) objectsCarrying(ctx context.Context, where string, args []any) ([]store.ObjectVersion, error) {
	list, err := t.objectVersions(ctx, withCarried+where, args)
	if err != nil {
		return nil, err
	}
	for i := range list {
		o, v := list[i].Object, list[i].Version
		if o.Current != "" && v.ID == o.Current {
			continue
		}
		list[i].Version = nil
		if o.Current == "" {
			continue
		}
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
