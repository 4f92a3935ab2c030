package tenancy

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// wholeTenant is the scope of what concerns a tenant as a whole.
const wholeTenant = "/"

// KeyStates tells how the layers of keys are that protect what the caller's tenant keeps.
func (s *Service) KeyStates(ctx context.Context, call *guard.Call) (states []keyring.State, err error) {
	need := guard.Need{Action: authz.KeyringRead, Scope: wholeTenant}
	err = s.Guard.Read(ctx, call, &need, func() error {
		states, err = s.Keys.States(ctx, call.Caller.Tenant)
		return err
	})
	return states, err
}

// RotateKeys makes new keys of a layer of the caller's tenant, and returns how many: one, or for the layers of vaults and data one for each vault unless one is
// named. What the old ones protect is moved behind the requests. The root key is not a tenant's: the operators of the machine rotate it.
func (s *Service) RotateKeys(ctx context.Context, call *guard.Call, layer keyring.Layer, in *VaultRef) (made int, err error) {
	need := guard.Need{Action: authz.KeyringRotate, Scope: wholeTenant, Detail: "layer " + string(layer)}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return 0, err
	}
	if layer == keyring.RootLayer {
		return 0, s.Guard.Refuse(ctx, call, need, fault.New(fault.Forbidden,
			"the root key belongs to the installation and to no tenant: rotate it on the machine of the server, with keywright keyring rotate --layer root --dir DIRECTORY"))
	}
	perVault := layer == keyring.VaultLayer || layer == keyring.DataLayer
	if in != nil && !perVault {
		return 0, s.Guard.Refuse(ctx, call, need, fault.New(fault.Invalid, "the layer %s is the tenant's and has no keys of a vault: leave the vault out", layer))
	}
	if !perVault {
		return s.rotate(ctx, call, need, keyring.Rotation{Layer: layer, Tenant: call.Caller.Tenant})
	}
	vaults, err := s.vaultsToRotate(ctx, call, in)
	if err != nil {
		return 0, s.Guard.Refuse(ctx, call, need, err)
	}
	for _, v := range vaults {
		n, err := s.rotate(ctx, call.About(v), need, keyring.Rotation{Layer: layer, Tenant: v.Tenant, Vault: v.ID})
		if made += n; err != nil {
			return made, err
		}
	}
	return made, nil
}

func (s *Service) vaultsToRotate(ctx context.Context, call *guard.Call, in *VaultRef) (vaults []*vault.Vault, err error) {
	if in != nil {
		v, err := s.live(ctx, call, *in)
		return []*vault.Vault{v}, err
	}
	err = s.Store.View(ctx, func(tx store.Tx) error {
		vaults, err = tx.Vaults(ctx, store.VaultQuery{Tenant: call.Caller.Tenant})
		return err
	})
	return vaults, err
}

func (s *Service) rotate(ctx context.Context, call *guard.Call, need guard.Need, r keyring.Rotation) (int, error) {
	committed := false
	_, err := s.Keys.Rotate(ctx, r, func(ctx context.Context, change func(store.Tx, store.Op) error) error {
		committed = true
		op := store.NewOp(s.Clock.Now())
		return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error { return change(tx, op) })
	})
	switch {
	case err == nil:
		return 1, nil
	case committed:
		return 0, err // its record is there
	}
	return 0, s.Guard.Refuse(ctx, call, need, err)
}
