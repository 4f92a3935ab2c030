package secret

import (
	"context"
	"encoding/json"
	"time"

	"github.com/keywright/keywright/internal/authz"
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
}

type backupVersion struct {
	ID          vault.VersionID    `json:"id"`
	Previous    vault.VersionID    `json:"previous,omitempty"`
	Attributes  vault.Attributes   `json:"attributes"`
	ContentType string             `json:"contentType,omitempty"`
	Tags        map[string]string  `json:"tags,omitempty"`
	State       vault.VersionState `json:"state,omitempty"`
	Value       []byte             `json:"value"`
}

const backupFormat = 1

// Backup returns a sealed blob with every version of a live secret. Only a vault of the same tenant and subscription
// can restore it.
func (s *Service) Backup(ctx context.Context, call *guard.Call, name string) ([]byte, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.SecretBackup, Kind: vault.Secret, Name: name}
	var blob []byte
	err := s.Guard.Read(ctx, call, &need, func() error {
		v := call.Vault.Vault
		o, versions, err := s.everyVersion(ctx, v, name)
		if err != nil {
			return err
		}
		b := backup{Format: backupFormat, Kind: vault.Secret, Subscription: v.Subscription, Name: o.Name, Created: o.Created,
			Current: o.Current, Labels: o.Labels}
		for _, ver := range versions {
			value, err := s.Keys.Open(ctx, place(v, o, ver.ID), ver.Value)
			if err != nil {
				return err
			}
			defer clear(value)
			b.Versions = append(b.Versions, backupVersion{ID: ver.ID, Previous: ver.Previous, Attributes: ver.Attributes,
				ContentType: ver.ContentType, Tags: ver.Tags, State: ver.State, Value: value})
		}
		plain, err := json.Marshal(&b)
		if err != nil {
			return err
		}
		defer clear(plain)
		blob, err = s.Keys.SealBackup(ctx, v.Tenant, plain)
		return err
	})
	return blob, err
}

func (s *Service) everyVersion(ctx context.Context, v *vault.Vault, name string) (o *vault.Object, versions []*vault.Version, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		if o, err = live(ctx, tx, v.ID, name); err != nil {
			return err
		}
		versions, err = tx.Versions(ctx, o.ID, "", maxBackupVersions+1)
		if err == nil && len(versions) > maxBackupVersions {
			return fault.New(fault.Invalid, "the secret %q has more than %d versions, which is the most that a backup holds", o.Name, maxBackupVersions)
		}
		return err
	})
	return o, versions, err
}

// AdmitRestore reports whether the caller may restore secrets at all: it is asked before a backup, which is large, is read.
func (s *Service) AdmitRestore(ctx context.Context, call *guard.Call) error {
	need := restoreNeed()
	return s.Guard.Authorize(ctx, call, &need)
}

func restoreNeed() guard.Need { return guard.Need{Action: authz.SecretRestore, Kind: vault.Secret} }

// Restore brings a secret back from its backup: same name, same versions, same instants. A secret of that name, live or
// deleted, is a fault.Conflict.
func (s *Service) Restore(ctx context.Context, call *guard.Call, blob []byte) (Item, error) {
	need := restoreNeed()
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	b, err := s.openBackup(ctx, v, blob)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	o := &vault.Object{ID: vault.NewObjectID(op.At), Vault: v.ID, Kind: vault.Secret, Name: b.Name, Created: b.Created,
		Current: b.Current, Labels: b.Labels}
	b.dropPending(o)
	need.Name, need.Version = b.Name, b.Current
	versions, err := s.reseal(ctx, v, o, b)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	var item Item
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		switch there, err := tx.Object(ctx, v.ID, vault.Secret, b.Name); {
		case err == nil && there.Deleted != nil:
			return there.CheckLive()
		case err == nil:
			return fault.New(fault.Conflict, "the secret %q exists: delete and purge it before you restore it", b.Name).Because("ObjectAlreadyExists")
		case !fault.Is(err, fault.NotFound):
			return err
		}
		if err := liveVault(ctx, tx, v); err != nil {
			return err
		}
		for _, ver := range versions {
			if err := tx.AddVersion(ctx, ver); err != nil {
				return err
			}
		}
		if err := tx.PutObject(ctx, o); err != nil {
			return err
		}
		var err error
		item, err = withCurrent(ctx, tx, o)
		return err
	})
	return item, err
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

func (s *Service) openBackup(ctx context.Context, v *vault.Vault, blob []byte) (*backup, error) {
	bad := fault.New(fault.Invalid, "the backup cannot be restored here: it is damaged, or it was not made by this server for a secret of this tenant")
	plain, err := s.Keys.OpenBackup(ctx, v.Tenant, blob)
	if err != nil {
		if fault.Is(err, fault.Invalid) {
			return nil, bad
		}
		return nil, err
	}
	defer clear(plain)
	var b backup
	if err := json.Unmarshal(plain, &b); err != nil {
		return nil, bad
	}
	if b.Format != backupFormat || b.Kind != vault.Secret || len(b.Versions) == 0 || b.Current == "" {
		return nil, bad
	}
	if b.Subscription != v.Subscription {
		return nil, fault.New(fault.Invalid, "the backup was made in another subscription: restore it into a vault of subscription %s", b.Subscription)
	}
	return &b, nil
}

func (s *Service) reseal(ctx context.Context, v *vault.Vault, o *vault.Object, b *backup) ([]*vault.Version, error) {
	versions := make([]*vault.Version, 0, len(b.Versions))
	for i := range b.Versions {
		bv := &b.Versions[i]
		sealed, err := s.Keys.Seal(ctx, place(v, o, bv.ID), bv.Value)
		clear(bv.Value)
		if err != nil {
			return nil, err
		}
		versions = append(versions, &vault.Version{ID: bv.ID, Object: o.ID, Previous: bv.Previous, Attributes: bv.Attributes,
			ContentType: bv.ContentType, Tags: bv.Tags, State: bv.State, Value: sealed})
	}
	return versions, nil
}
