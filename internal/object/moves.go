package object

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Moves change objects in a transaction of the caller's. A certificate is three objects, itself, its key and its secret, with one name and the same ids of
// versions, which change together or not at all. The moves authorise nothing and record nothing: the service of certificates does, and no door has
// Moves.
type Moves struct {
	objects *Objects
	// managed objects belong to a certificate: nobody else may change them, and Moves of managed objects touch no other ones.
	managed bool
}

// Moves returns the moves of the objects of this kind: of those that belong to certificates, or of the others.
func (s *Objects) Moves(managed bool) Moves { return Moves{s, managed} }

// Plan returns the id of the object of that name, or the id that a new one is to have. A name that belongs to an object of the other sort is a
// fault.Conflict.
func (m Moves) Plan(ctx context.Context, tx store.Tx, v *vault.Vault, name string, at time.Time) (vault.ObjectID, error) {
	o, err := tx.Object(ctx, v.ID, m.objects.Kind.Kind, name)
	if fault.Is(err, fault.NotFound) {
		return vault.NewObjectID(at), nil
	}
	if err != nil {
		return "", err
	}
	return o.ID, m.check(o)
}

// check reports whether the object may get a version with its certificate.
func (m Moves) check(o *vault.Object) error {
	if err := o.CheckLive(); err != nil {
		return err
	}
	if o.Managed != m.managed {
		return fault.New(fault.Conflict, "a %s with the name %q exists and belongs to no certificate: give the certificate another name, or delete and purge the %s",
			o.Kind, o.Name, o.Kind).Because("ObjectAlreadyExists")
	}
	return nil
}

// Seal makes a version with the id of the certificate's without storing it: encryption has no place in a transaction.
func (m Moves) Seal(ctx context.Context, v *vault.Vault, o vault.ObjectID, id vault.VersionID, at time.Time, d *Draft) (*vault.Version, error) {
	ver := d.Version(o, at)
	ver.ID = id
	var err error
	ver.Value, err = m.objects.Keys.Seal(ctx, Place(v, o, id), d.Value)
	return ver, err
}

// Open returns the value of a version, whatever its label. The caller zeroes it.
func (m Moves) Open(ctx context.Context, v *vault.Vault, ver *vault.Version) ([]byte, error) {
	return m.objects.Keys.Open(ctx, Place(v, ver.Object, ver.ID), ver.Value)
}

// Find returns the object of that name, live or deleted.
func (m Moves) Find(ctx context.Context, tx store.Tx, v vault.ID, name string) (*vault.Object, error) {
	o, err := tx.Object(ctx, v, m.objects.Kind.Kind, name)
	if err == nil && o.Managed != m.managed {
		err = fault.New(fault.NotFound, "no certificate has the %s %q", o.Kind, o.Name)
	}
	return o, err
}

// Add stores a sealed version: as the current one, or under the label pending, which hides it. An object that is not the planned one any more is
// ErrMoved.
func (m Moves) Add(ctx context.Context, tx store.Tx, v *vault.Vault, name string, ver *vault.Version, pending bool) error {
	o, err := tx.Object(ctx, v.ID, m.objects.Kind.Kind, name)
	switch {
	case fault.Is(err, fault.NotFound):
		o = &vault.Object{ID: ver.Object, Vault: v.ID, Kind: m.objects.Kind.Kind, Name: name, Created: ver.Attributes.Created, Managed: m.managed}
	case err != nil:
		return err
	case o.ID != ver.Object:
		return ErrMoved
	}
	if err := m.check(o); err != nil {
		return err
	}
	if err := m.objects.CheckRoom(ctx, tx, o); err != nil {
		return err
	}
	ver = Shallow(ver)
	ver.Previous = o.Current
	if err := tx.AddVersion(ctx, ver); err != nil {
		return err
	}
	if pending {
		return tx.PutObject(ctx, o.With(vault.Pending, ver.ID))
	}
	return m.promote(ctx, tx, v, o, ver)
}

// Promote makes the pending version current. What else of it changes with that, edit does.
func (m Moves) Promote(ctx context.Context, tx store.Tx, v *vault.Vault, name string, id vault.VersionID, edit func(*vault.Version) error) error {
	o, err := m.Find(ctx, tx, v.ID, name)
	if err != nil {
		return err
	}
	if o.LabelOf(vault.Pending) != id {
		return ErrMoved
	}
	ver, err := tx.Version(ctx, o.ID, id)
	if err != nil {
		return err
	}
	ver = Shallow(ver)
	if err := edit(ver); err != nil {
		return err
	}
	if err := tx.PutVersion(ctx, ver); err != nil {
		return err
	}
	return m.promote(ctx, tx, v, o.With(vault.Pending, ""), ver)
}

// Recall makes a version current that was so before. It tells of no event: the version is not new.
func (m Moves) Recall(ctx context.Context, tx store.Tx, v *vault.Vault, name string, id vault.VersionID) error {
	o, err := m.Find(ctx, tx, v.ID, name)
	if err != nil || o.Current == id {
		return err
	}
	if _, err := tx.Version(ctx, o.ID, id); err != nil {
		return err
	}
	c := o.With(vault.Previous, "")
	c.Current = id
	return tx.PutObject(ctx, c)
}

func (m Moves) promote(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, ver *vault.Version) error {
	o = o.Promote(ver.ID)
	if err := tx.PutObject(ctx, o); err != nil {
		return err
	}
	return m.objects.EmitNew(tx, v, Item{Object: o, Version: ver})
}

// Abandon gives up the pending version, if there is one: it stays hidden, and disabled.
func (m Moves) Abandon(ctx context.Context, tx store.Tx, v *vault.Vault, name string, at time.Time) error {
	o, err := m.Find(ctx, tx, v.ID, name)
	if fault.Is(err, fault.NotFound) || err == nil && o.LabelOf(vault.Pending) == "" {
		return nil
	}
	if err != nil {
		return err
	}
	ver, err := tx.Version(ctx, o.ID, o.LabelOf(vault.Pending))
	if err != nil {
		return err
	}
	ver = Shallow(ver)
	ver.State, ver.Attributes.Enabled, ver.Attributes.Updated = vault.Abandoned, false, at
	if err := tx.PutVersion(ctx, ver); err != nil {
		return err
	}
	return tx.PutObject(ctx, o.With(vault.Pending, ""))
}

// Change edits a version. One that is not there is left alone: a version that failed before it had a secret has none.
func (m Moves) Change(ctx context.Context, tx store.Tx, v *vault.Vault, name string, id vault.VersionID, edit func(*vault.Version)) error {
	o, err := m.Find(ctx, tx, v.ID, name)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	ver, err := tx.Version(ctx, o.ID, id)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	ver = Shallow(ver)
	edit(ver)
	return tx.PutVersion(ctx, ver)
}

// Follow deletes or recovers the object as its certificate was.
func (m Moves) Follow(ctx context.Context, tx store.Tx, v *vault.Vault, certificate *vault.Object) error {
	o, err := m.Find(ctx, tx, v.ID, certificate.Name)
	if fault.Is(err, fault.NotFound) || err == nil && (o.Deleted == nil) == (certificate.Deleted == nil) {
		return nil
	}
	if err != nil {
		return err
	}
	c := *o
	c.Deleted = certificate.Deleted
	return tx.PutObject(ctx, &c)
}

// Purge destroys the object with its certificate.
func (m Moves) Purge(ctx context.Context, tx store.Tx, v *vault.Vault, name string, at time.Time) error {
	o, err := m.Find(ctx, tx, v.ID, name)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := CheckHeld(ctx, tx, v, o, at); err != nil {
		return err
	}
	return tx.DeleteObject(ctx, o, at)
}

// Copy is everything of an object as a backup holds it, with its values in clear: the caller seals it and zeroes it.
func (m Moves) Copy(ctx context.Context, v *vault.Vault, name string) ([]byte, error) {
	return m.objects.copy(ctx, v, name)
}

// Paste plans to store a copy again, with the same versions and instants, where nothing has its name. What it returns does so.
func (m Moves) Paste(ctx context.Context, v *vault.Vault, op store.Op, plain []byte) (name string, put func(tx store.Tx) (Item, error), err error) {
	b, err := m.objects.readBackup(v, plain)
	if err != nil {
		return "", nil, err
	}
	o := b.object(v, op)
	o.Managed = m.managed
	versions, err := m.objects.reseal(ctx, v, o, b)
	return b.Name, func(tx store.Tx) (Item, error) { return m.objects.restore(ctx, tx, v, o, versions, b.Packed) }, err
}
