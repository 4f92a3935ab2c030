package object

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// ErrMoved says that a change was planned for another object or version than the one that is under the name now: somebody
// created, purged or changed it meanwhile. The caller plans again.
var ErrMoved = fmt.Errorf("the name belongs to something else now: %w", guard.ErrAgain)

// maxMoves bounds how often a change follows a name that moves under it.
const maxMoves = 5

// Draft is a version that is to be added.
type Draft struct {
	// Value is sealed before the transaction, and is the caller's to zero.
	Value []byte
	// Doc is what the service of the kind keeps beside the value, in clear.
	Doc                []byte
	ContentType        string
	Tags               map[string]string
	Enabled            bool
	NotBefore, Expires time.Time
	// Check is asked, in the transaction, whether the version may be added to the object as it is now; nil always lets it. ErrMoved makes Add
	// return that, for a draft that was made from another version.
	Check func(o *vault.Object) error
	// Beside, when not nil, writes what belongs to the version in the transaction that stores it.
	Beside func(tx store.Tx, stored Item) error
}

// Version makes the version of a draft, without its value.
func (d *Draft) Version(o vault.ObjectID, at time.Time) *vault.Version {
	return &vault.Version{ID: vault.NewVersionID(at), Object: o, ContentType: d.ContentType, Tags: d.Tags, Doc: d.Doc,
		Attributes: vault.Attributes{Enabled: d.Enabled, NotBefore: d.NotBefore, Expires: d.Expires, Created: at, Updated: at}}
}

// Add stores the draft as the object's newest version and makes it current, under a need that is authorised. It makes the object when there is none.
// A deleted object of that name is a fault.Conflict with reason ObjectIsDeletedButRecoverable. A name that moves under it is followed.
func (s *Objects) Add(ctx context.Context, call *guard.Call, need guard.Need, name string, d *Draft) (Item, error) {
	// What is in memory is nearly always what is stored, and is not read then. Whoever finds that it is not reads it.
	trust := d.Check == nil
	return s.following(ctx, call, need, d.Check == nil, "the %s %q was created and purged by others while it was set: try again", func() (Item, error) {
		t, err := s.target(ctx, call.Vault.Vault, name, trust)
		if err != nil {
			return Item{}, s.Guard.Refuse(ctx, call, need, err)
		}
		trust = false
		return s.addOnce(ctx, call, need, t, d)
	}, name)
}

// following makes a change again for as long as its name moves.
func (s *Objects) following(ctx context.Context, call *guard.Call, need guard.Need, follow bool, giveUp string, change func() (Item, error), name string) (Item, error) {
	for range maxMoves {
		item, err := change()
		if !follow || !errors.Is(err, ErrMoved) {
			return item, err
		}
	}
	return Item{}, s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, giveUp, s.Kind.Kind, name))
}

func (s *Objects) addOnce(ctx context.Context, call *guard.Call, need guard.Need, t *target, d *Draft) (Item, error) {
	v := call.Vault.Vault
	op := store.NewOp(s.Clock.Now())
	ver := d.Version(t.object.ID, op.At)
	var err error
	if ver.Value, err = s.Keys.Seal(ctx, Place(v, t.object.ID, ver.ID), d.Value); err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	need.Version = ver.ID
	var item Item
	defer s.cache.withdraw(op.ID)
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		found, err := s.found(ctx, tx, v, t)
		if err != nil {
			return err
		}
		if d.Check != nil {
			if err := d.Check(found); err != nil {
				return err
			}
		}
		if item, err = s.add(ctx, tx, call, found, ver); err == nil && item.Object.Current == ver.ID {
			var rec *Record
			if rec, err = newRecord(s.Kind.Kind, v, item.Object, item.Version); err == nil {
				s.cache.announce(op.ID, t.key, rec)
			}
		}
		if err == nil && d.Beside != nil {
			err = d.Beside(tx, item)
		}
		if err != nil && t.trusted {
			return ErrMoved // it may be refused for what is no more: the store says
		}
		return err
	})
	switch {
	case err == nil:
		s.cache.setHint(t.key, t.object.ID)
	case errors.Is(err, ErrMoved) && !t.trusted:
		s.cache.setHint(t.key, "")
	}
	return item, err
}

// target is the object to which a value is about to be sealed.
type target struct {
	key  cacheKey
	name string
	// object is whole when it is trusted or not stored; of any other only the id counts.
	object *vault.Object
	// stored says that there is one. trusted says that it is not read in the transaction: it is stored over the revision that is in memory, or not at all.
	stored, trusted bool
}

// target finds the object of a name. It may be wrong by the time of the transaction, which compares.
func (s *Objects) target(ctx context.Context, v *vault.Vault, name string, trust bool) (*target, error) {
	t := &target{key: cacheKey{v.ID, vault.NameKey(name)}, name: name, stored: true}
	id, o := s.cache.known(t.key)
	if trust && o != nil {
		t.object, t.trusted = o, true
		return t, nil
	}
	if id != "" {
		t.object = &vault.Object{ID: id}
		return t, nil
	}
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		t.object, err = tx.Object(ctx, v.ID, s.Kind.Kind, name)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		now := s.Clock.Now()
		t.object, t.stored = &vault.Object{ID: vault.NewObjectID(now), Vault: v.ID, Kind: s.Kind.Kind, Name: strings.Clone(name),
			Created: now.UTC().Truncate(time.Microsecond)}, false
		return t, nil
	}
	return t, err
}

// found returns the object of a change as it is in the transaction, or the new one when there is none, as was planned.
func (s *Objects) found(ctx context.Context, tx store.Tx, v *vault.Vault, t *target) (*vault.Object, error) {
	if t.trusted {
		return t.object, nil
	}
	found, err := tx.Object(ctx, v.ID, s.Kind.Kind, t.name)
	switch {
	case fault.Is(err, fault.NotFound) && !t.stored:
		return t.object, liveVault(ctx, tx, v)
	case fault.Is(err, fault.NotFound):
		return nil, ErrMoved
	case err != nil:
		return nil, err
	case found.ID != t.object.ID:
		return nil, ErrMoved
	}
	return found, nil
}

// add puts the version behind the object's others and promotes it, unless it has to wait.
func (s *Objects) add(ctx context.Context, tx store.Tx, call *guard.Call, o *vault.Object, ver *vault.Version) (Item, error) {
	if err := o.CheckLive(); err != nil {
		return Item{}, err
	}
	if err := s.unmanaged(o); err != nil {
		return Item{}, err
	}
	if err := s.CheckRoom(ctx, tx, o); err != nil {
		return Item{}, err
	}
	ver = Shallow(ver)
	ver.Previous = o.Current
	if err := tx.AddVersion(ctx, ver); err != nil {
		return Item{}, err
	}
	if s.Pends != nil {
		labels, err := s.Pends(ctx, tx, call, o, ver)
		if err != nil {
			return Item{}, err
		}
		for _, l := range labels {
			o = o.With(l, ver.ID)
		}
		if len(labels) > 0 {
			return Item{Object: o, Version: ver}, tx.PutObject(ctx, o)
		}
	}
	o = o.Promote(ver.ID)
	if err := tx.PutObject(ctx, o); err != nil {
		return Item{}, err
	}
	o.Revision++ // as it is stored
	item := Item{Object: o, Version: ver}
	if err := s.settled(ctx, tx, call.Vault.Vault, item); err != nil {
		return Item{}, err
	}
	return item, s.EmitNew(tx, call.Vault.Vault, item)
}

// CheckRoom reports whether the object may have one more version.
func (s *Objects) CheckRoom(ctx context.Context, tx store.Tx, o *vault.Object) error {
	if s.MaxVersions <= 0 || o.Revision == 0 {
		return nil
	}
	n, err := tx.CountVersions(ctx, o.ID, s.MaxVersions)
	if err == nil && n >= s.MaxVersions {
		err = fault.New(fault.Forbidden, "the %s %q has %d versions, as many as this server allows: delete and purge it, "+
			"or ask the operator for a higher limit", s.Kind.Kind, o.Name, n).Because("TooManyVersions")
	}
	return err
}

// Shallow copies a version that others may hold, for who changes it.
func Shallow(v *vault.Version) *vault.Version {
	c := *v
	return &c
}

// PutOver stores a hidden object, of which there is one version at a time, over what was read of it: before is nil for a new one. When it was changed since,
// that is ErrMoved.
func PutOver(ctx context.Context, tx store.Tx, o *vault.Object, before, ver *vault.Version) error {
	c := *o
	c.Current = ver.ID
	put := tx.AddVersion
	if before != nil {
		put = tx.PutVersion
	}
	if err := put(ctx, ver); err != nil {
		return err
	}
	err := tx.PutObject(ctx, &c)
	if fault.Is(err, fault.Conflict) {
		return ErrMoved
	}
	return err
}

// Change edits the selected version, under a need that is authorised. Without a version in the selector it is the one that the caller would read.
// The edit gets a copy; its attributes are checked and dated after it.
func (s *Objects) Change(ctx context.Context, call *guard.Call, need guard.Need, sel Selector, edit func(*vault.Version) error) (Item, error) {
	return s.following(ctx, call, need, true, "the %s %q got new versions from others while it was updated: try again, or name the version",
		func() (Item, error) { return s.changeOnce(ctx, call, need, sel, edit) }, sel.Name)
}

// changeOnce changes the version that the selector names now. The record of a change is sealed before its transaction, so the
// version is looked up first, and is an ErrMoved when it is another one by then.
func (s *Objects) changeOnce(ctx context.Context, call *guard.Call, need guard.Need, sel Selector, edit func(*vault.Version) error) (item Item, err error) {
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	if need.Version == "" {
		// Not from memory: what others wrote on other nodes may not be there yet, and would be an ErrMoved.
		rec, err := s.stored(ctx, call, &sel)
		if err != nil {
			return Item{}, s.Guard.Refuse(ctx, call, need, err)
		}
		need.Version = rec.Version.ID
	}
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		o, err := s.Live(ctx, tx, v.ID, sel.Name)
		if err == nil {
			err = s.unmanaged(o)
		}
		if err != nil {
			return err
		}
		id, err := sel.resolve(o, call)
		if err != nil {
			return err
		}
		ver, err := s.version(ctx, tx, o, id)
		if err != nil {
			return err
		}
		if ver.ID != need.Version {
			return ErrMoved
		}
		ver = Shallow(ver)
		if err := edit(ver); err != nil {
			return err
		}
		ver.Attributes.Updated = op.At
		if err := ver.Attributes.Check(); err != nil {
			return err
		}
		if err := tx.PutVersion(ctx, ver); err != nil {
			return err
		}
		item = Item{Object: o, Version: ver}
		if ver.ID != o.Current {
			return nil
		}
		return s.settled(ctx, tx, v, item)
	})
	return item, err
}
