package object

import (
	"context"
	"encoding/json"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// maxBackupVersions is the most versions that a backup holds, as the Key Vault documentation says.
const maxBackupVersions = 500

// backup is what a backup blob holds, before it is sealed under the tenant's backup key. Values are in clear in it, so
// that a blob stays readable after every rotation of the keys above it but one: the backup key's, which are kept.
type backup struct {
	Format       int                             `json:"format"`
	Kind         vault.Kind                      `json:"kind"`
	Subscription vault.SubscriptionID            `json:"subscription"`
	Name         string                          `json:"name"`
	Created      time.Time                       `json:"created"`
	Current      vault.VersionID                 `json:"current"`
	Labels       map[vault.Label]vault.VersionID `json:"labels,omitempty"`
	Versions     []backupVersion                 `json:"versions"`
	// Packed is what belongs to the object beside its versions: see Config.Pack.
	Packed []byte `json:"packed,omitempty"`
}

type backupVersion struct {
	ID          vault.VersionID    `json:"id"`
	Previous    vault.VersionID    `json:"previous,omitempty"`
	Attributes  vault.Attributes   `json:"attributes"`
	ContentType string             `json:"contentType,omitempty"`
	Tags        map[string]string  `json:"tags,omitempty"`
	State       vault.VersionState `json:"state,omitempty"`
	Doc         []byte             `json:"doc,omitempty"`
	Value       []byte             `json:"value"`
}

const backupFormat = 1

// Backup returns a sealed blob with every version of a live object. Only a vault of the same tenant and subscription
// can restore it.
func (l Lifecycle) Backup(ctx context.Context, call *guard.Call, name string) ([]byte, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return nil, err
	}
	s, need := l.objects, l.need(l.objects.Kind.Backup, name)
	var blob []byte
	err := s.Guard.Read(ctx, call, &need, func() error {
		v := call.Vault.Vault
		id, err := s.liveID(ctx, v, name)
		if err != nil {
			return err
		}
		plain, err := s.copy(ctx, v, name)
		if err != nil {
			return err
		}
		defer clear(plain)
		blob, err = s.Keys.SealBackup(ctx, v.Tenant, v.ID, plain, id)
		return err
	})
	return blob, err
}

// liveID is the id of a live object.
func (s *Objects) liveID(ctx context.Context, v *vault.Vault, name string) (id vault.ObjectID, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		o, err := s.Live(ctx, tx, v.ID, name)
		if err == nil {
			id = o.ID
		}
		return err
	})
	return id, err
}

// copy is what a backup holds, before it is sealed. The caller zeroes it.
func (s *Objects) copy(ctx context.Context, v *vault.Vault, name string) ([]byte, error) {
	o, versions, packed, err := s.everything(ctx, v, name)
	if err != nil {
		return nil, err
	}
	b := backup{Format: backupFormat, Kind: o.Kind, Subscription: v.Subscription, Name: o.Name, Created: o.Created,
		Current: o.Current, Labels: o.Labels, Packed: packed}
	for _, ver := range versions {
		value, err := s.Keys.Open(ctx, Place(v, o.ID, ver.ID), ver.Value)
		if err != nil {
			return nil, err
		}
		defer clear(value)
		b.Versions = append(b.Versions, backupVersion{ID: ver.ID, Previous: ver.Previous, Attributes: ver.Attributes,
			ContentType: ver.ContentType, Tags: ver.Tags, State: ver.State, Doc: ver.Doc, Value: value})
	}
	return json.Marshal(&b)
}

// everything reads what a backup holds in one view.
func (s *Objects) everything(ctx context.Context, v *vault.Vault, name string) (o *vault.Object, versions []*vault.Version, packed []byte, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		if o, err = s.Live(ctx, tx, v.ID, name); err != nil {
			return err
		}
		if s.Pack != nil {
			if packed, err = s.Pack(ctx, tx, o); err != nil {
				return err
			}
		}
		versions, err = tx.Versions(ctx, o.ID, "", maxBackupVersions+1)
		if err == nil && len(versions) > maxBackupVersions {
			return fault.New(fault.Invalid, "the %s %q has more than %d versions, which is the most that a backup holds", o.Kind, o.Name, maxBackupVersions)
		}
		return err
	})
	return o, versions, packed, err
}

// AdmitRestore reports whether the caller may restore objects of the kind at all: it is asked before a backup, which is large, is read.
func (l Lifecycle) AdmitRestore(ctx context.Context, call *guard.Call) error {
	need := l.need(l.objects.Kind.Restore, "")
	return l.objects.Guard.Authorize(ctx, call, &need)
}

// Restore brings an object back from its backup: same name, same versions, same instants. An object of that name, live or
// deleted, is a fault.Conflict.
func (l Lifecycle) Restore(ctx context.Context, call *guard.Call, blob []byte) (Item, error) {
	s, need := l.objects, l.need(l.objects.Kind.Restore, "")
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	b, err := s.openBackup(ctx, v, blob)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	if b.Packed != nil && s.Admit != nil {
		if err := s.Admit(ctx, call, b.Packed); err != nil {
			return Item{}, err
		}
	}
	o := b.object(v, op)
	need.Name, need.Version = b.Name, b.Current
	versions, err := s.reseal(ctx, v, o, b)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	var item Item
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		item, err = s.restore(ctx, tx, v, o, versions, b.Packed)
		return err
	})
	return item, err
}

// restore stores what was in a backup, where there is nothing under its name.
func (s *Objects) restore(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, versions []*vault.Version, packed []byte) (Item, error) {
	switch there, err := tx.Object(ctx, v.ID, s.Kind.Kind, o.Name); {
	case err == nil && there.Deleted != nil:
		return Item{}, there.CheckLive()
	case err == nil:
		return Item{}, fault.New(fault.Conflict, "the %s %q exists: delete and purge it before you restore it", o.Kind, o.Name).Because("ObjectAlreadyExists")
	case !fault.Is(err, fault.NotFound):
		return Item{}, err
	}
	if err := liveVault(ctx, tx, v); err != nil {
		return Item{}, err
	}
	for _, ver := range versions {
		if err := tx.AddVersion(ctx, ver); err != nil {
			return Item{}, err
		}
	}
	if err := tx.PutObject(ctx, o); err != nil {
		return Item{}, err
	}
	if packed != nil && s.Unpack != nil {
		if err := s.Unpack(ctx, tx, v, o, packed); err != nil {
			return Item{}, err
		}
	}
	item, err := withCurrent(ctx, tx, o)
	if err != nil {
		return Item{}, err
	}
	return item, s.settled(ctx, tx, v, item)
}

// object is the object that a backup brings back.
func (b *backup) object(v *vault.Vault, op store.Op) *vault.Object {
	o := &vault.Object{ID: vault.NewObjectID(op.At), Vault: v.ID, Kind: b.Kind, Name: b.Name, Created: b.Created, Current: b.Current, Labels: b.Labels}
	b.dropPending(o)
	return o
}

// dropPending gives up the version that was being prepared when the backup was made: its rotation did not come along.
func (b *backup) dropPending(o *vault.Object) {
	for i := range b.Versions {
		if ver := &b.Versions[i]; ver.ID == o.Labels[vault.Pending] {
			ver.State, ver.Attributes.Enabled = vault.Abandoned, false
		}
	}
	*o = *o.With(vault.Pending, "")
}

func (s *Objects) openBackup(ctx context.Context, v *vault.Vault, blob []byte) (*backup, error) {
	plain, err := s.Keys.OpenBackup(ctx, v.Tenant, blob)
	if err != nil {
		if fault.Is(err, fault.Invalid) {
			return nil, s.badBackup()
		}
		return nil, err
	}
	defer clear(plain)
	return s.readBackup(v, plain)
}

func (s *Objects) badBackup() error {
	return fault.New(fault.Invalid, "the backup cannot be restored here: it is damaged, or it was not made by this server for a %s of this tenant", s.Kind.Kind)
}

// readBackup reads what a backup holds.
func (s *Objects) readBackup(v *vault.Vault, plain []byte) (*backup, error) {
	var b backup
	if err := json.Unmarshal(plain, &b); err != nil {
		return nil, s.badBackup()
	}
	if b.Format != backupFormat || b.Kind != s.Kind.Kind || len(b.Versions) == 0 || b.Current == "" {
		return nil, s.badBackup()
	}
	if b.Subscription != v.Subscription {
		return nil, fault.New(fault.Invalid, "the backup was made in another subscription: restore it into a vault of subscription %s", b.Subscription)
	}
	return &b, nil
}

func (s *Objects) reseal(ctx context.Context, v *vault.Vault, o *vault.Object, b *backup) ([]*vault.Version, error) {
	versions := make([]*vault.Version, 0, len(b.Versions))
	for i := range b.Versions {
		bv := &b.Versions[i]
		sealed, err := s.Keys.Seal(ctx, Place(v, o.ID, bv.ID), bv.Value)
		clear(bv.Value)
		if err != nil {
			return nil, err
		}
		versions = append(versions, &vault.Version{ID: bv.ID, Object: o.ID, Previous: bv.Previous, Attributes: bv.Attributes,
			ContentType: bv.ContentType, Tags: bv.Tags, State: bv.State, Doc: bv.Doc, Value: sealed})
	}
	return versions, nil
}
