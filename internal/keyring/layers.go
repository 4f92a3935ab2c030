package keyring

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Layer is a kind of key that is rotated by itself.
type Layer string

// The layers, from the top.
const (
	RootLayer   Layer = "root"
	TenantLayer Layer = "tenant"
	VaultLayer  Layer = "vault"
	// DataLayer are the data keys of versions: each gets a fresh one, so that its value is encrypted anew. The vault's key is rotated with them.
	DataLayer    Layer = "data"
	AuditLayer   Layer = "audit"
	BackupLayer  Layer = "backup"
	DigestLayer  Layer = "digest"
	ServiceLayer Layer = "service"
)

// Layers lists all of them.
func Layers() []Layer {
	return []Layer{RootLayer, TenantLayer, VaultLayer, DataLayer, AuditLayer, BackupLayer, DigestLayer, ServiceLayer}
}

// ParseLayer reads the name of a layer.
func ParseLayer(s string) (Layer, error) {
	for _, l := range Layers() {
		if s == string(l) {
			return l, nil
		}
	}
	return "", fault.New(fault.Invalid, "there is no layer of keys %q: use root, tenant, vault, data, audit, backup, digest or service", fault.Clip(s))
}

// Rotation says which keys get a successor.
type Rotation struct {
	Layer Layer
	// Tenant is empty for the root layer, and for the key of the installation's own audit records.
	Tenant vault.TenantID
	// Vault is that of the vault and data layers.
	Vault vault.ID
}

// Rotate commits a new key and returns its id. What the old one protects still opens, and is moved behind the requests: see Maintain and States.
func (k *Keyring) Rotate(ctx context.Context, r Rotation, with With) (id string, err error) {
	switch r.Layer {
	case RootLayer:
		return k.rotateRoot(ctx, with)
	case VaultLayer:
		return k.RotateVaultKey(ctx, r.Tenant, r.Vault, with)
	case DataLayer:
		return k.rotateVault(ctx, r.Tenant, r.Vault, true, with)
	}
	fresh, err := k.successor(ctx, r)
	if err != nil {
		return "", err
	}
	return fresh.ID, k.succeed(ctx, []*store.WrappedKey{fresh}, with)
}

func (k *Keyring) successor(ctx context.Context, r Rotation) (*store.WrappedKey, error) {
	now := k.clock.Now()
	purposes := map[Layer]store.KeyPurpose{AuditLayer: store.AuditKey, BackupLayer: store.BackupKey, DigestLayer: store.DigestKey, ServiceLayer: store.ServiceKey}
	switch {
	case r.Layer == AuditLayer && r.Tenant == "":
		root, err := k.newest(ctx, store.RootKey, installation)
		if err != nil {
			return nil, err
		}
		return newUnder(root, store.AuditKey, installation, now), nil
	case r.Layer == TenantLayer:
		root, err := k.newest(ctx, store.RootKey, installation)
		if err != nil {
			return nil, err
		}
		return newUnder(root, store.TenantKey, string(r.Tenant), now), nil
	case purposes[r.Layer] == "":
		return nil, fault.New(fault.Invalid, "there is no layer of keys %q", r.Layer)
	}
	top, err := k.newest(ctx, store.TenantKey, string(r.Tenant))
	if err != nil {
		return nil, err
	}
	return newUnder(top, purposes[r.Layer], string(r.Tenant), now), nil
}

// State is how the keys of a layer are.
type State struct {
	Layer Layer
	// Keys counts all, Old those among them that only open what they sealed before.
	Keys, Old int
	// Newest is when the newest was made.
	Newest time.Time
	// Moving counts what is still to be moved from old keys: keys of the layer below, or vaults for the layers of vaults and data. Seen and Moved count the
	// versions that a walk under way has looked at, and moved.
	Moving      int
	Seen, Moved int64
}

// States tells how the layers of a tenant are, or those of the installation itself when none is named. It is as of one state of the store.
func (k *Keyring) States(ctx context.Context, tenant vault.TenantID) (states []State, err error) {
	err = k.store.View(ctx, func(tx store.Tx) error {
		if tenant == "" {
			states, err = installationStates(ctx, tx)
		} else {
			states, err = tenantStates(ctx, tx, tenant)
		}
		return err
	})
	return states, err
}

func installationStates(ctx context.Context, tx store.Tx) ([]State, error) {
	root, err := stateOf(ctx, tx, RootLayer, store.RootKey, installation, keysOfRoot)
	if err != nil {
		return nil, err
	}
	audit, err := stateOf(ctx, tx, AuditLayer, store.AuditKey, installation, nil)
	return []State{root, audit}, err
}

func tenantStates(ctx context.Context, tx store.Tx, tenant vault.TenantID) ([]State, error) {
	top, err := stateOf(ctx, tx, TenantLayer, store.TenantKey, string(tenant), keysOfTenant(tenant))
	if err != nil {
		return nil, err
	}
	vaults, data := State{Layer: VaultLayer}, State{Layer: DataLayer}
	ids, err := vaultsOf(ctx, tx, tenant)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if err := addVault(ctx, tx, id, &vaults, &data); err != nil {
			return nil, err
		}
	}
	states := []State{top, vaults, data}
	for _, l := range []struct {
		layer   Layer
		purpose store.KeyPurpose
	}{{AuditLayer, store.AuditKey}, {BackupLayer, store.BackupKey}, {DigestLayer, store.DigestKey}, {ServiceLayer, store.ServiceKey}} {
		s, err := stateOf(ctx, tx, l.layer, l.purpose, string(tenant), nil)
		if err != nil {
			return nil, err
		}
		states = append(states, s)
	}
	return states, nil
}

func stateOf(ctx context.Context, tx store.Tx, layer Layer, purpose store.KeyPurpose, owner string, below lister) (State, error) {
	s := State{Layer: layer}
	rows, err := tx.WrappedKeys(ctx, purpose, owner)
	if err != nil {
		return s, err
	}
	newest := s.count(rows)
	if below == nil {
		return s, nil
	}
	children, err := below(ctx, tx)
	for _, c := range children {
		if c.Parent != newest {
			s.Moving++
		}
	}
	return s, err
}

// count adds the keys of an owner and returns the id of the newest.
func (s *State) count(rows []*store.WrappedKey) (newest string) {
	for _, row := range rows {
		s.Keys++
		if row.State == store.KeyDecryptOnly {
			s.Old++
			continue
		}
		newest = row.ID
		if row.Created.After(s.Newest) {
			s.Newest = row.Created
		}
	}
	return newest
}

func addVault(ctx context.Context, tx store.Tx, id vault.ID, vaults, data *State) error {
	rows, err := tx.WrappedKeys(ctx, store.VaultKey, string(id))
	if err != nil {
		return err
	}
	vaults.count(rows)
	moving, renewing := false, false
	for _, row := range rows {
		if toEmpty(row) {
			moving, renewing = true, renewing || row.Renew
		}
	}
	if !moving {
		return nil
	}
	w, err := loadWalk(ctx, tx, id)
	if err != nil {
		return err
	}
	for s, is := range map[*State]bool{vaults: true, data: renewing} {
		if is {
			s.Moving++
			s.Seen += w.Seen
			s.Moved += w.Moved
		}
	}
	return nil
}

// toEmpty reports whether something may still be under a key that only opens.
func toEmpty(row *store.WrappedKey) bool {
	return row.State == store.KeyDecryptOnly && row.Emptied.IsZero()
}
