package secret

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// errMoved says that a change was planned for another object or version than the one that is under the name now: somebody
// created, purged or set it meanwhile. The caller plans again.
var errMoved = fmt.Errorf("the name belongs to something else now: %w", guard.ErrAgain)

// maxMoves bounds how often a change follows a name that moves under it.
const maxMoves = 5

// Set stores a value as the secret's newest version and makes it current. A new version inherits nothing from the one
// before. A deleted secret of that name is a fault.Conflict with reason ObjectIsDeletedButRecoverable.
func (s *Service) Set(ctx context.Context, call *guard.Call, name string, in Input) (Item, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Item{}, err
	}
	need := guard.Need{Action: authz.SecretSet, Kind: vault.Secret, Name: name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	if err := s.checkInput(&in); err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	return s.set(ctx, call, need, name, &in)
}

// set seals and stores a value for which the need is authorised, and follows the name when it moves to another object.
func (s *Service) set(ctx context.Context, call *guard.Call, need guard.Need, name string, in *Input) (Item, error) {
	for range maxMoves {
		item, err := s.setOnce(ctx, call, need, name, in)
		if !errors.Is(err, errMoved) {
			return item, err
		}
	}
	return Item{}, s.Guard.Refuse(ctx, call, need,
		fault.New(fault.Conflict, "the secret %q was created and purged by others while it was set: try again", name))
}

func (s *Service) setOnce(ctx context.Context, call *guard.Call, need guard.Need, name string, in *Input) (Item, error) {
	v := call.Vault.Vault
	now := s.Clock.Now()
	key := cacheKey{v.ID, vault.NameKey(name)}
	o, stored, err := s.target(ctx, v, key, name, now)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	op := store.NewOp(now)
	ver := &vault.Version{ID: vault.NewVersionID(now), Object: o.ID, ContentType: in.ContentType, Tags: in.Tags,
		Attributes: vault.Attributes{Enabled: in.Enabled, NotBefore: in.NotBefore, Expires: in.Expires, Created: op.At, Updated: op.At}}
	if ver.Value, err = s.Keys.Seal(ctx, place(v, o, ver.ID), in.Value); err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	need.Version, need.Detail = ver.ID, in.Detail
	var item Item
	defer s.cache.withdraw(op.ID)
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		found, err := tx.Object(ctx, v.ID, vault.Secret, name)
		switch {
		case fault.Is(err, fault.NotFound) && !stored:
			if err := liveVault(ctx, tx, v); err != nil {
				return err
			}
			found = o
		case fault.Is(err, fault.NotFound):
			return errMoved
		case err != nil:
			return err
		case found.ID != o.ID:
			return errMoved
		}
		if item, err = s.add(ctx, tx, call, found, ver); err == nil && item.Object.Current == ver.ID {
			var rec *record
			if rec, err = newRecord(v, item.Object, item.Version); err == nil {
				s.cache.announce(op.ID, key, rec)
			}
		}
		if err == nil && in.Beside != nil {
			err = in.Beside(tx, item)
		}
		return err
	})
	switch {
	case err == nil:
		s.cache.setHint(key, o.ID)
	case errors.Is(err, errMoved):
		s.cache.setHint(key, "")
	}
	return item, err
}

// target returns the object to which a value is about to be sealed, of which only the id counts, and whether it is stored
// already. It may be wrong by the time of the transaction, which compares.
func (s *Service) target(ctx context.Context, v *vault.Vault, key cacheKey, name string, now time.Time) (o *vault.Object, stored bool, err error) {
	if id := s.cache.hint(key); id != "" {
		return &vault.Object{ID: id}, true, nil
	}
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		o, err = tx.Object(ctx, v.ID, vault.Secret, name)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return &vault.Object{ID: vault.NewObjectID(now), Vault: v.ID, Kind: vault.Secret, Name: strings.Clone(name),
			Created: now.UTC().Truncate(time.Microsecond)}, false, nil
	}
	return o, true, err
}

// add puts the version behind the object's others and promotes it, unless it has to wait.
func (s *Service) add(ctx context.Context, tx store.Tx, call *guard.Call, o *vault.Object, ver *vault.Version) (Item, error) {
	if err := o.CheckLive(); err != nil {
		return Item{}, err
	}
	if o.Managed {
		return Item{}, fault.New(fault.Forbidden, "the secret %q belongs to a certificate: change the certificate instead", o.Name)
	}
	if err := s.checkRoom(ctx, tx, o); err != nil {
		return Item{}, err
	}
	ver = shallow(ver)
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
	known := o.Revision > 0
	o = o.Promote(ver.ID)
	if err := tx.PutObject(ctx, o); err != nil {
		return Item{}, err
	}
	if known && s.Dated != nil && !ver.Attributes.Expires.IsZero() {
		if err := s.Dated(ctx, tx, o, ver); err != nil {
			return Item{}, err
		}
	}
	o.Revision++ // as it is stored
	return Item{Object: o, Version: ver}, emit(tx, NewVersion, call.Vault.Vault, o, ver)
}

// checkRoom reports whether the object may have one more version.
func (s *Service) checkRoom(ctx context.Context, tx store.Tx, o *vault.Object) error {
	if s.MaxVersions <= 0 || o.Revision == 0 {
		return nil
	}
	n, err := tx.CountVersions(ctx, o.ID, s.MaxVersions)
	if err == nil && n >= s.MaxVersions {
		err = fault.New(fault.Forbidden, "the secret %q has %d versions, as many as this server allows: delete and purge it, "+
			"or ask the operator for a higher limit", o.Name, n).Because("TooManyVersions")
	}
	return err
}

func shallow(v *vault.Version) *vault.Version {
	c := *v
	return &c
}

// Update changes a version's attributes, content type or tags. Without a version in the selector it changes the current one.
func (s *Service) Update(ctx context.Context, call *guard.Call, sel Selector, ch Change) (Item, error) {
	if err := vault.CheckObjectName(sel.Name); err != nil {
		return Item{}, err
	}
	need := guard.Need{Action: authz.SecretUpdate, Kind: vault.Secret, Name: sel.Name, Version: sel.Version}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	if err := checkChange(&ch); err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	for range maxMoves {
		item, err := s.updateOnce(ctx, call, need, sel, &ch)
		if !errors.Is(err, errMoved) {
			return item, err
		}
	}
	return Item{}, s.Guard.Refuse(ctx, call, need,
		fault.New(fault.Conflict, "the secret %q got new versions from others while it was updated: try again, or name the version", sel.Name))
}

// updateOnce changes the version that the selector names now. The record of a change is sealed before its transaction, so the
// version is looked up first, and is an errMoved when it is another one by then.
func (s *Service) updateOnce(ctx context.Context, call *guard.Call, need guard.Need, sel Selector, ch *Change) (item Item, err error) {
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	if need.Version == "" {
		rec, err := s.record(ctx, call, &sel)
		if err != nil {
			return Item{}, s.Guard.Refuse(ctx, call, need, err)
		}
		need.Version = rec.Version.ID
	}
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		o, err := live(ctx, tx, v.ID, sel.Name)
		if err != nil {
			return err
		}
		id, err := sel.resolve(o, call)
		if err != nil {
			return err
		}
		ver, err := version(ctx, tx, o, id)
		if err != nil {
			return err
		}
		if ver.ID != need.Version {
			return errMoved
		}
		ver = shallow(ver)
		ch.apply(ver, op.At)
		if err := ver.Attributes.Check(); err != nil {
			return err
		}
		if err := tx.PutVersion(ctx, ver); err != nil {
			return err
		}
		if s.Dated != nil && o.Current == ver.ID {
			if err := s.Dated(ctx, tx, o, ver); err != nil {
				return err
			}
		}
		item = Item{Object: o, Version: ver}
		return nil
	})
	return item, err
}

func checkChange(ch *Change) error {
	if ch.ContentType != nil {
		if err := vault.CheckContentType(*ch.ContentType); err != nil {
			return err
		}
	}
	return vault.CheckTags(ch.Tags)
}

func (ch *Change) apply(v *vault.Version, now time.Time) {
	if ch.ContentType != nil {
		v.ContentType = *ch.ContentType
	}
	if ch.Tags != nil {
		v.Tags = ch.Tags
	}
	if ch.Enabled != nil {
		v.Attributes.Enabled = *ch.Enabled
	}
	if ch.NotBefore != nil {
		v.Attributes.NotBefore = *ch.NotBefore
	}
	if ch.Expires != nil {
		v.Attributes.Expires = *ch.Expires
	}
	v.Attributes.Updated = now
}

// Delete soft-deletes a secret with all of its versions; it can be recovered until the vault's retention is over.
func (s *Service) Delete(ctx context.Context, call *guard.Call, name string) (Item, error) {
	return s.move(ctx, call, name, authz.SecretDelete, live, func(o *vault.Object, op store.Op) (*vault.Object, error) {
		if o.Managed {
			return nil, fault.New(fault.Forbidden, "the secret %q belongs to a certificate: delete the certificate instead", o.Name)
		}
		return o.Delete(op.At, call.Vault.Vault.Retention())
	})
}

// Recover brings a deleted secret back with all of its versions, unchanged, until its retention is over.
func (s *Service) Recover(ctx context.Context, call *guard.Call, name string) (Item, error) {
	return s.move(ctx, call, name, authz.SecretRecover, deleted, func(o *vault.Object, op store.Op) (*vault.Object, error) {
		return o.Recover(op.At)
	})
}

type finder func(ctx context.Context, tx store.Tx, v vault.ID, name string) (*vault.Object, error)

// move changes the state of one object: find it, make the move, store it.
func (s *Service) move(ctx context.Context, call *guard.Call, name string, action authz.Action, find finder,
	change func(*vault.Object, store.Op) (*vault.Object, error)) (Item, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Item{}, err
	}
	need := guard.Need{Action: action, Kind: vault.Secret, Name: name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	var item Item
	err := s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		o, err := find(ctx, tx, v.ID, name)
		if err != nil {
			return err
		}
		if o, err = change(o, op); err != nil {
			return err
		}
		if err = tx.PutObject(ctx, o); err != nil {
			return err
		}
		item, err = withCurrent(ctx, tx, o)
		return err
	})
	return item, err
}

// Purge destroys a deleted secret for good. A vault with purge protection refuses it until the retention is over.
func (s *Service) Purge(ctx context.Context, call *guard.Call, name string) error {
	if err := vault.CheckObjectName(name); err != nil {
		return err
	}
	need := guard.Need{Action: authz.SecretPurge, Kind: vault.Secret, Name: name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		o, err := deleted(ctx, tx, v.ID, name)
		if err != nil {
			return err
		}
		// Not the request's view of the vault: what was protected since is not destroyed.
		stored, err := tx.Vault(ctx, v.ID)
		if err != nil {
			return err
		}
		if err := o.CheckPurge(op.At, stored.PurgeProtection); err != nil {
			return err
		}
		return tx.DeleteObject(ctx, o, op.At)
	})
}

// EventType names an event of a secret, in the words of Key Vault's Event Grid schema.
type EventType string

// The events of secrets.
const (
	NewVersion EventType = "Microsoft.KeyVault.SecretNewVersionCreated"
	NearExpiry EventType = "Microsoft.KeyVault.SecretNearExpiry"
	Expired    EventType = "Microsoft.KeyVault.SecretExpired"
)

// eventData is the data member of Key Vault events; its names are those of the wire.
type eventData struct {
	VaultName  string `json:"VaultName"`
	ObjectType string `json:"ObjectType"`
	ObjectName string `json:"ObjectName"`
	Version    string `json:"Version"`
	NBF        *int64 `json:"NBF"`
	EXP        *int64 `json:"EXP"`
}

func emit(tx store.Tx, t EventType, v *vault.Vault, o *vault.Object, ver *vault.Version) error {
	// The version's id names the event too: the same change never makes two.
	return emitAs(tx, string(ver.ID), ver.Attributes.Created, t, v, o, ver)
}

// emitReturned tells that an earlier version is current again: to those who cache, it is as good as new.
func emitReturned(tx store.Tx, v *vault.Vault, o *vault.Object, ver *vault.Version, op store.Op) error {
	return emitAs(tx, string(op.ID), op.At, NewVersion, v, o, ver)
}

func emitAs(tx store.Tx, id string, at time.Time, t EventType, v *vault.Vault, o *vault.Object, ver *vault.Version) error {
	data, err := json.Marshal(eventData{VaultName: v.Name, ObjectType: "Secret", ObjectName: o.Name, Version: string(ver.ID),
		NBF: seconds(ver.Attributes.NotBefore), EXP: seconds(ver.Attributes.Expires)})
	if err != nil {
		return err
	}
	tx.Emit(store.Event{ID: id, Type: string(t), Tenant: v.Tenant, Vault: v.ID, Subject: o.Name, At: at, Data: data})
	return nil
}

func seconds(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}
