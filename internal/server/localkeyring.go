package server

import (
	"context"
	"fmt"
	"strings"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/door/native"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// keyStates tells how the keys of the installation are or, when one is named, those of a tenant.
func (s *sealing) keyStates(ctx context.Context, tenant string) (*api.KeyringStatus, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		return nil, errSealed
	}
	id, err := s.tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	states, err := s.keys.States(ctx, id)
	if err != nil {
		return nil, err
	}
	return native.KeyringStatus(states), nil
}

// tenant finds a tenant by its id or its name; none is the installation itself.
func (s *sealing) tenant(ctx context.Context, named string) (id vault.TenantID, err error) {
	if named == "" {
		return "", nil
	}
	var all []*vault.Tenant
	if err := s.guard.Store.View(ctx, func(tx store.Tx) error {
		all, err = tx.Tenants(ctx)
		return err
	}); err != nil {
		return "", err
	}
	var there []string
	for _, t := range all {
		if strings.EqualFold(string(t.ID), named) {
			return t.ID, nil
		}
		if strings.EqualFold(t.Name, named) {
			if id != "" {
				return "", fault.New(fault.Conflict, "several tenants are called %q: name one by its id, such as %s or %s", fault.Clip(named), id, t.ID)
			}
			id = t.ID
		}
		there = append(there, fmt.Sprintf("%s (%s)", t.ID, t.Name))
	}
	if id == "" {
		return "", fault.New(fault.NotFound, "there is no tenant %q: the installation has %s", fault.Clip(named), strings.Join(there[:min(len(there), 20)], ", "))
	}
	return id, nil
}

// rotate makes new keys of a layer of a tenant or, when none is named, a new root key or a new key for the installation's own audit records.
func (s *sealing) rotate(ctx context.Context, who, tenant string, in *api.RotateKeys) (*api.KeysRotated, error) {
	layer, err := keyring.ParseLayer(in.Layer)
	if err != nil {
		return nil, err
	}
	switch of := layer == keyring.RootLayer || layer == keyring.AuditLayer; {
	case in.Vault != "":
		return nil, fault.New(fault.Invalid, "the keys of one vault are rotated at the server's address: leave --dir out")
	case tenant == "" && !of:
		return nil, fault.New(fault.Invalid, "the layer %s is a tenant's: name it with --tenant, or leave --dir out and rotate it at the server's address; the installation has root and audit", layer)
	case tenant != "" && layer == keyring.RootLayer:
		return nil, fault.New(fault.Invalid, "the root key belongs to the installation and to no tenant: leave --tenant out")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		return nil, errSealed
	}
	id, err := s.tenant(ctx, tenant)
	if err != nil {
		return nil, err
	}
	vaults := []*vault.Vault{nil}
	if layer == keyring.VaultLayer || layer == keyring.DataLayer {
		if err := s.guard.Store.View(ctx, func(tx store.Tx) error {
			vaults, err = tx.Vaults(ctx, store.VaultQuery{Tenant: id})
			return err
		}); err != nil {
			return nil, err
		}
	}
	made := new(api.KeysRotated)
	for _, v := range vaults {
		if err := s.rotateOne(ctx, who, id, layer, v); err != nil {
			return nil, err
		}
		made.Made++
	}
	return made, nil
}

// rotateOne makes one new key: of a vault, or of a tenant when there is none. Its record is in the tenant's part of the audit log.
func (s *sealing) rotateOne(ctx context.Context, who string, tenant vault.TenantID, layer keyring.Layer, v *vault.Vault) error {
	call, need := localCall(tenant, "KeyringRotate", who, s.clock.Now()), guard.Need{Detail: "layer " + string(layer)}
	r := keyring.Rotation{Layer: layer, Tenant: tenant}
	if v != nil {
		r.Vault, call = v.ID, call.About(v)
	}
	committed := false
	_, err := s.keys.Rotate(ctx, r, func(ctx context.Context, change func(store.Tx, store.Op) error) error {
		committed = true
		op := store.NewOp(s.clock.Now())
		return s.guard.Commit(ctx, call, need, op, func(tx store.Tx) error { return change(tx, op) })
	})
	if err == nil || committed {
		return err
	}
	return s.guard.Refuse(ctx, call, need, err)
}
