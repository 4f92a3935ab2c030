package tenancy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// EncryptionSpec says which customer's key is to protect a vault.
type EncryptionSpec struct {
	// Vault and Key are the names of the key's vault and of the key.
	Vault, Key string
	// Version is the only one that is to be used; empty follows the key through its rotations.
	Version vault.VersionID
	// BackupDays is as in vault.Encryption; 0 means the default, or what it was.
	BackupDays int
}

// Encryption is how a vault is protected.
type Encryption struct {
	Vault *vault.Vault
	// Wrapped are the versions of the customer's key that wrap the vault's keys now, each once.
	Wrapped []vault.VersionID
	// Problem is why the customer's key cannot be used; empty while it can.
	Problem string
}

// maxProtectors bounds the vaults of which each protects the next: every read of the last may have to ask all of them.
const maxProtectors = 4

// Encrypt lets a customer's key protect the vault's own, from the next use on. Whoever does that writes the vault, and may wrap and unwrap with the key.
// Vaults that would protect each other in a circle are a fault.Conflict.
func (s *Service) Encrypt(ctx context.Context, call *guard.Call, ref VaultRef, spec EncryptionSpec) (*vault.Vault, error) {
	need, err := s.mayWrite(ctx, call, ref)
	if err != nil {
		return nil, err
	}
	v, err := s.live(ctx, call, ref)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	e, err := s.customerKey(ctx, call, v, &spec)
	if err != nil {
		if fault.Is(err, fault.Forbidden) || fault.Is(err, fault.Throttled) {
			return nil, err // it is recorded where it was decided
		}
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	if err := e.Check(); err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	need.Detail = "customer's key " + e.Name + " of vault " + e.VaultName
	return s.protect(ctx, call, need, v, e)
}

// writable returns a vault that has a customer's key, for a caller who may change that.
func (s *Service) writable(ctx context.Context, call *guard.Call, ref VaultRef) (need guard.Need, v *vault.Vault, err error) {
	if need, err = s.mayWrite(ctx, call, ref); err != nil {
		return need, nil, err
	}
	if v, err = s.encrypted(ctx, call, ref); err != nil {
		return need, nil, s.Guard.Refuse(ctx, call, need, err)
	}
	return need, v, nil
}

// RemoveEncryption gives the vault's key back to the tenant's alone. Backups that the customer's key protects stay as they are, and need it on.
func (s *Service) RemoveEncryption(ctx context.Context, call *guard.Call, ref VaultRef) (*vault.Vault, error) {
	need, v, err := s.writable(ctx, call, ref)
	if err != nil {
		return nil, err
	}
	need.Detail = "no customer's key"
	return s.protect(ctx, call, need, v, nil)
}

// Rewrap wraps the vault's keys with the customer's key as it is now, where another version of it wraps them. It happens by itself too, within an hour of
// a rotation.
func (s *Service) Rewrap(ctx context.Context, call *guard.Call, ref VaultRef) (*vault.Vault, error) {
	need, v, err := s.writable(ctx, call, ref)
	if err != nil {
		return nil, err
	}
	need.Detail = "rewrapped with the customer's key " + v.Encryption.Name
	prepare := func() (*keyring.Protection, error) { return s.Keys.Rewrap(ctx, v.Tenant, v) }
	return v, s.wrap(ctx, call.About(v), need, prepare, func(tx store.Tx, op store.Op, p *keyring.Protection) error {
		if p == nil {
			return nil
		}
		return p.Put(ctx, tx, op)
	})
}

// wrap commits a prepared change of what wraps a vault's keys. Keys that others change meanwhile, as the background does behind a rotation of the
// customer's key, are prepared anew.
func (s *Service) wrap(ctx context.Context, call *guard.Call, need guard.Need, prepare func() (*keyring.Protection, error),
	change func(store.Tx, store.Op, *keyring.Protection) error) error {
	for try := 1; ; try++ {
		p, err := prepare()
		if err != nil {
			return s.Guard.Refuse(ctx, call, need, err)
		}
		op := store.NewOp(s.Clock.Now())
		last := try == maxTries
		err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
			err := change(tx, op, p)
			if errors.Is(err, keyring.ErrMoved) && !last {
				return fmt.Errorf("%w: %w", guard.ErrAgain, err)
			}
			return err
		})
		if !errors.Is(err, guard.ErrAgain) {
			return err
		}
	}
}

// Encryption shows how a vault is protected.
func (s *Service) Encryption(ctx context.Context, call *guard.Call, ref VaultRef) (*Encryption, error) {
	v, err := s.Vault(ctx, call, ref)
	if err != nil {
		return nil, err
	}
	out := &Encryption{Vault: v}
	if v.Encryption == nil {
		return out, nil
	}
	if out.Wrapped, err = s.Keys.WrappedWith(ctx, v.ID); err != nil {
		return nil, err
	}
	if err := s.Keys.CheckCustomerKey(ctx, v); err != nil {
		if fault.As(err) == nil {
			return nil, err
		}
		out.Problem = fault.As(err).Message
	}
	return out, nil
}

func (s *Service) mayWrite(ctx context.Context, call *guard.Call, ref VaultRef) (need guard.Need, err error) {
	at, err := ref.Scope()
	if err != nil {
		return need, err
	}
	need = guard.Need{Action: authz.VaultWrite, Scope: at.String()}
	return need, s.Guard.Authorize(ctx, call, &need)
}

func (s *Service) live(ctx context.Context, call *guard.Call, ref VaultRef) (*vault.Vault, error) {
	v, err := s.existing(ctx, call, ref)
	if v == nil && (err == nil || fault.Is(err, fault.Conflict)) {
		err = vaultNotFound(ref)
	}
	return v, err
}

func (s *Service) encrypted(ctx context.Context, call *guard.Call, ref VaultRef) (*vault.Vault, error) {
	v, err := s.live(ctx, call, ref)
	if err == nil && v.Encryption == nil {
		err = fault.New(fault.Conflict, "the vault %q has no customer's key: choose one for it first", v.Name).Because("NoCustomerKey")
	}
	return v, err
}

// customerKey finds the key that is meant, within what the caller may do with it. A vault of another tenant is as unknown as one that does not exist.
func (s *Service) customerKey(ctx context.Context, call *guard.Call, v *vault.Vault, spec *EncryptionSpec) (*vault.Encryption, error) {
	if err := vault.CheckObjectName(spec.Key); err != nil {
		return nil, err
	}
	view, err := s.Guard.View(ctx, spec.Vault)
	if fault.Is(err, fault.NotFound) || err == nil && view.Vault.Tenant != call.Caller.Tenant {
		return nil, fault.New(fault.NotFound, "there is no vault %q for the customer's key: check its name", fault.Clip(spec.Vault)).Because("VaultNotFound")
	}
	if err != nil {
		return nil, err
	}
	there := *call
	there.Vault = view
	if err := s.Guard.Admit(ctx, &there); err != nil {
		return nil, err
	}
	for _, action := range []authz.Action{authz.KeyWrap, authz.KeyUnwrap} {
		if err := s.Guard.Authorize(ctx, &there, &guard.Need{Action: action, Kind: vault.Key, Name: spec.Key}); err != nil {
			return nil, err
		}
	}
	e := &vault.Encryption{VaultName: view.Vault.Name, BackupDays: spec.BackupDays, Since: s.Clock.Now().UTC().Truncate(time.Microsecond)}
	if e.BackupDays == 0 {
		if e.BackupDays = vault.DefaultBackupDays; v.Encryption != nil {
			e.BackupDays = v.Encryption.BackupDays
		}
	}
	err = s.Store.View(ctx, func(tx store.Tx) error {
		e.CustomerKey, err = customerKeyIn(ctx, tx, view.Vault, spec)
		return err
	})
	return e, err
}

func customerKeyIn(ctx context.Context, tx store.Tx, v *vault.Vault, spec *EncryptionSpec) (vault.CustomerKey, error) {
	var none vault.CustomerKey
	unknown := fault.New(fault.NotFound, "the vault %q has no key %q, or it has no such version: check both", v.Name, spec.Key).Because("KeyNotFound")
	o, err := tx.Object(ctx, v.ID, vault.Key, spec.Key)
	if fault.Is(err, fault.NotFound) || err == nil && o.Deleted != nil {
		return none, unknown
	}
	if err != nil {
		return none, err
	}
	id := spec.Version
	if id == "" {
		id = o.Current
	}
	ver, err := tx.Version(ctx, o.ID, id)
	if fault.Is(err, fault.NotFound) || err == nil && o.Hides(ver) {
		return none, unknown
	}
	if err != nil {
		return none, err
	}
	return vault.CustomerKey{Vault: v.ID, Key: o.ID, Name: o.Name, Version: spec.Version}, key.CheckCustomerKey(key.Item{Object: o, Version: ver})
}

// protect wraps a vault's keys as e says, the tenant's alone when it is nil, and stores that, with the record that the vault needs the customer's key.
func (s *Service) protect(ctx context.Context, call *guard.Call, need guard.Need, old *vault.Vault, e *vault.Encryption) (*vault.Vault, error) {
	v := old.Clone()
	prepare := func() (*keyring.Protection, error) {
		if e == nil {
			return s.Keys.Protect(ctx, old.Tenant, old.ID, nil)
		}
		return s.Keys.Protect(ctx, old.Tenant, old.ID, &e.CustomerKey)
	}
	err := s.wrap(ctx, call.About(v), need, prepare, func(tx store.Tx, op store.Op, p *keyring.Protection) error {
		v.Encryption, v.Updated = e, op.At
		if err := tx.DropKeyNeeds(ctx, v.ID, store.NeededByVault); err != nil {
			return err
		}
		if e != nil {
			if err := checkCustomerKey(ctx, tx, v); err != nil {
				return err
			}
			if err := tx.PutKeyNeed(ctx, &store.KeyNeed{Key: e.Key, In: e.Vault, By: v.ID, ByName: v.Name, Use: store.NeededByVault}); err != nil {
				return err
			}
		}
		if err := p.Put(ctx, tx, op); err != nil {
			return err
		}
		return tx.PutVault(ctx, v)
	})
	return v, err
}

// checkCustomerKey refuses, in the transaction, a key that is gone meanwhile, and vaults that protect each other in a circle: none of them would open.
func checkCustomerKey(ctx context.Context, tx store.Tx, v *vault.Vault) error {
	e := v.Encryption
	o, err := tx.Object(ctx, e.Vault, vault.Key, e.Name)
	if fault.Is(err, fault.NotFound) || err == nil && (o.ID != e.Key || o.Deleted != nil) {
		return fault.New(fault.Conflict, "the key %q was deleted meanwhile: recover it, or choose another", e.Name)
	}
	if err != nil {
		return err
	}
	// The needs of the store are those before this change, without a circle.
	below, err := dependants(ctx, tx, v.ID, maxProtectors)
	if err != nil {
		return err
	}
	chain, at, above := v.Name, e, 0
	for ; at != nil && above <= maxProtectors; above++ {
		chain += " by " + at.VaultName
		if at.Vault == v.ID {
			return fault.New(fault.Conflict, "vaults cannot protect each other in a circle (%s): choose a key of a vault that does not depend on this one", chain).
				Because("CustomerKeyCycle")
		}
		next, err := tx.Vault(ctx, at.Vault)
		if err != nil {
			return err
		}
		at = next.Encryption
	}
	if above+below <= maxProtectors {
		return nil
	}
	return fault.New(fault.Conflict, "more than %d vaults would protect each other in a row (%s): choose a key of a vault that depends on fewer", maxProtectors, chain).
		Because("CustomerKeyChain")
}

// dependants counts how many vaults in a row hang on keys of a vault, at most so many.
func dependants(ctx context.Context, tx store.Tx, id vault.ID, most int) (longest int, err error) {
	if most == 0 {
		return 0, nil
	}
	needs, err := tx.KeyNeeds(ctx, id, "")
	if err != nil {
		return 0, err
	}
	for _, n := range needs {
		if n.Use != store.NeededByVault {
			continue
		}
		more, err := dependants(ctx, tx, n.By, most-1)
		if err != nil {
			return 0, err
		}
		longest = max(longest, 1+more)
	}
	return longest, nil
}
