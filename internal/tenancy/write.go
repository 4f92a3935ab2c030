package tenancy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// PolicyChanged is the event of a vault whose access policies changed, in the words of Key Vault's Event Grid schema.
const PolicyChanged = "Microsoft.KeyVault.VaultAccessPolicyChanged"

// maxTries bounds how often a change is planned anew because others changed the vault meanwhile.
const maxTries = 5

// PutVault makes a vault or changes one that exists. A name that any vault of the installation has, deleted ones included, is a
// fault.Conflict with reason VaultAlreadyExists.
func (s *Service) PutVault(ctx context.Context, call *guard.Call, ref VaultRef, spec VaultSpec) (v *vault.Vault, created bool, err error) {
	v, err = s.write(ctx, call, ref, authz.VaultWrite, func(old *vault.Vault) (*vault.Vault, error) {
		if created = old == nil; created {
			return nil, nil
		}
		return old, spec.apply(old, false)
	}, &spec)
	return v, created, err
}

// MakeVault makes a vault and changes none: one that exists is a fault.Conflict with reason VaultAlreadyExists too.
func (s *Service) MakeVault(ctx context.Context, call *guard.Call, ref VaultRef, spec VaultSpec) (*vault.Vault, error) {
	return s.write(ctx, call, ref, authz.VaultWrite, func(old *vault.Vault) (*vault.Vault, error) {
		if old != nil {
			return nil, fault.New(fault.Conflict, "the vault %q exists already: change it instead, or choose another name", old.Name).Because(VaultAlreadyExists)
		}
		return nil, nil
	}, &spec)
}

// PatchVault changes a vault that exists. Who may only change network rules may change these alone.
func (s *Service) PatchVault(ctx context.Context, call *guard.Call, ref VaultRef, spec VaultSpec) (*vault.Vault, error) {
	action := authz.VaultWrite
	if spec.onlyNetwork() {
		action = authz.NetworkRulesWrite
	}
	return s.write(ctx, call, ref, action, func(old *vault.Vault) (*vault.Vault, error) {
		if old == nil {
			return nil, vaultNotFound(ref)
		}
		return old, spec.apply(old, false)
	}, nil)
}

// ChangeNetwork changes the network rules of a vault that exists, starting from those that it has, so that two changes at the
// same time both count. change may be called again; what it says of the rules is for who may read the vault.
func (s *Service) ChangeNetwork(ctx context.Context, call *guard.Call, ref VaultRef, change func(*vault.NetworkRules) error) (*vault.Vault, error) {
	if _, err := s.Vault(ctx, call, ref); err != nil {
		return nil, err
	}
	return s.write(ctx, call, ref, authz.NetworkRulesWrite, func(old *vault.Vault) (*vault.Vault, error) {
		if old == nil {
			return nil, vaultNotFound(ref)
		}
		if err := change(&old.Network); err != nil {
			return nil, err
		}
		return old, checkVault(old)
	}, nil)
}

// blank returns a new vault with the defaults that nobody has to state.
func blank(call *guard.Call, ref VaultRef, spec *VaultSpec) *vault.Vault {
	model := vault.AccessByRole
	if spec.NewAccess != "" {
		model = spec.NewAccess
	}
	return &vault.Vault{Tenant: call.Caller.Tenant, Subscription: ref.Subscription, ResourceGroup: ref.Group, Name: ref.Name,
		Location: Location(spec.Location), Access: model, Network: vault.OpenNetwork(), RetentionDays: vault.DefaultRetentionDays}
}

// write plans a change of one vault, authorises what it needs and stores it. When others changed the vault in between, it
// starts over with what they left. forNew is the spec of a vault that may be made, or nil; plan gives no vault for one.
func (s *Service) write(ctx context.Context, call *guard.Call, ref VaultRef, action authz.Action,
	plan func(old *vault.Vault) (*vault.Vault, error), forNew *VaultSpec) (*vault.Vault, error) {
	at, err := ref.Scope()
	if err != nil {
		return nil, err
	}
	need := guard.Need{Action: action, Scope: at.String()}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		v, err := s.writeOnce(ctx, call, ref, need, plan, forNew)
		if moved := errors.Is(err, guard.ErrAgain); moved && try < maxTries {
			continue
		} else if moved {
			return nil, s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, "others change who has access in this tenant all the time: try again").Because(store.StaleRevision))
		}
		if e := fault.As(err); e == nil || e.Reason != store.StaleRevision || try == maxTries {
			return v, err
		}
	}
}

func (s *Service) writeOnce(ctx context.Context, call *guard.Call, ref VaultRef, need guard.Need,
	plan func(old *vault.Vault) (*vault.Vault, error), forNew *VaultSpec) (*vault.Vault, error) {
	old, err := s.existing(ctx, call, ref)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	var v *vault.Vault
	if old != nil {
		v = old.Clone()
	}
	if v, err = plan(v); err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	if old == nil {
		return s.create(ctx, call, ref, need, forNew)
	}
	if err := s.authorizeMore(ctx, call, need, old, v); err != nil {
		return nil, err
	}
	if old.StaleFor != v.StaleFor {
		need.Detail = fmt.Sprintf("staleFor %s, before %s", v.StaleFor, old.StaleFor)
	}
	stands, err := s.judge(ctx, old, v)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	op := store.NewOp(s.Clock.Now())
	v.Updated = op.At
	err = s.Guard.Commit(ctx, call.About(v), need, op, func(tx store.Tx) error { return s.put(ctx, tx, old, v, stands, op) })
	return v, err
}

// existing returns the live vault that the reference names, or nil when its name is free. Any other vault of that name is a
// conflict: one of somebody else, one in another place, one that is deleted.
func (s *Service) existing(ctx context.Context, call *guard.Call, ref VaultRef) (v *vault.Vault, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		v, err = named(ctx, tx, call.Caller.Tenant, ref)
		return err
	})
	return v, err
}

func named(ctx context.Context, tx store.Tx, t vault.TenantID, ref VaultRef) (*vault.Vault, error) {
	v, err := tx.VaultByName(ctx, ref.Name)
	switch {
	case fault.Is(err, fault.NotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case v.Tenant == t && v.Deleted != nil:
		return nil, fault.New(fault.Conflict, "a vault with the name %q exists already, in deleted state: recover or purge it, or choose another name", v.Name).
			Because(VaultAlreadyExists)
	case v.Tenant != t || !ref.is(v):
		return nil, taken(ref.Name)
	}
	return v, nil
}

func taken(name string) error {
	return fault.New(fault.Conflict, "the vault name %q is already in use: names are unique in the whole installation, so choose another", name).
		Because(VaultAlreadyExists)
}

// authorizeMore asks for what a change needs beyond writing the vault: changing who has access to what it keeps. Choosing the
// access model decides about all access at once, so it takes the right to assign roles, as in Azure; so does letting withdrawn access go on for
// longer on nodes that are cut off.
func (s *Service) authorizeMore(ctx context.Context, call *guard.Call, need guard.Need, old, v *vault.Vault) error {
	if !reflect.DeepEqual(old.Policies, v.Policies) {
		more := guard.Need{Action: authz.VaultAccessPoliciesWrite, Scope: need.Scope}
		if err := s.Guard.Authorize(ctx, call, &more); err != nil {
			return err
		}
	}
	if old.Access != v.Access || v.StaleFor > old.StaleFor {
		more := guard.Need{Action: authz.RoleAssignmentWrite, Scope: need.Scope}
		return s.Guard.Authorize(ctx, call, &more)
	}
	return nil
}

func (s *Service) create(ctx context.Context, call *guard.Call, ref VaultRef, need guard.Need, spec *VaultSpec) (*vault.Vault, error) {
	now := s.Clock.Now()
	v := blank(call, ref, spec)
	if err := spec.apply(v, true); err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	if len(v.Policies) > 0 {
		more := guard.Need{Action: authz.VaultAccessPoliciesWrite, Scope: need.Scope}
		if err := s.Guard.Authorize(ctx, call, &more); err != nil {
			return nil, err
		}
	}
	op := store.NewOp(now)
	v.ID, v.Created, v.Updated = vault.NewID(now), op.At, op.At
	key, err := s.Keys.NewVaultKey(ctx, v.Tenant, v.ID, now)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	stands, err := s.judge(ctx, &vault.Vault{}, v)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	err = s.Guard.Commit(ctx, call.About(v), need, op, func(tx store.Tx) error {
		g, err := group(ctx, tx, ref.GroupRef)
		if err != nil {
			return err
		}
		if v.ResourceGroup = g.Name; v.Location == "" {
			v.Location = g.Location
		}
		if other, err := named(ctx, tx, v.Tenant, ref); err != nil || other != nil {
			return orStale(err, v)
		}
		if err := tx.PutWrappedKey(ctx, key); err != nil {
			return err
		}
		return s.put(ctx, tx, &vault.Vault{}, v, stands, op)
	})
	return v, err
}

// orStale returns err or, without one, the conflict of a vault that somebody else made first.
func orStale(err error, v *vault.Vault) error {
	if err != nil {
		return err
	}
	return fault.New(fault.Conflict, "the vault %q was made by somebody else meanwhile: look at it, and try again", v.Name).Because(store.StaleRevision)
}

// judge has changed access policies judged, before the transaction that stores them.
func (s *Service) judge(ctx context.Context, old, v *vault.Vault) (func(context.Context, store.Tx) error, error) {
	if s.Duties == nil || !accessChanged(old, v) {
		return func(context.Context, store.Tx) error { return nil }, nil
	}
	return s.Duties.JudgePolicies(ctx, v.Clone())
}

func accessChanged(old, v *vault.Vault) bool {
	return !reflect.DeepEqual(old.Policies, v.Policies) || old.Access != v.Access
}

// put stores a vault and tells of changed access policies.
func (s *Service) put(ctx context.Context, tx store.Tx, old, v *vault.Vault, stands func(context.Context, store.Tx) error, op store.Op) error {
	changed := accessChanged(old, v)
	if err := stands(ctx, tx); err != nil {
		return err
	}
	if err := tx.PutVault(ctx, v); err != nil {
		return err
	}
	if !changed || old.Revision == 0 {
		return nil
	}
	data, err := json.Marshal(map[string]any{"VaultName": v.Name, "ObjectType": "Vault", "ObjectName": v.Name, "Version": "", "NBF": nil, "EXP": nil})
	if err != nil {
		return err
	}
	tx.Emit(store.Event{ID: string(op.ID), Type: PolicyChanged, Tenant: v.Tenant, Vault: v.ID, Subject: v.Name, At: op.At, Data: data})
	return nil
}

// PolicyChange says what to do with access policies.
type PolicyChange string

// The changes of access policies.
const (
	// AddPolicies joins permissions with those that the same holder has.
	AddPolicies PolicyChange = "add"
	// ReplacePolicies puts permissions in place of those that the same holder has.
	ReplacePolicies PolicyChange = "replace"
	// SetPolicies puts policies, their times included, in place of those that the same holder has; one without permissions removes it.
	SetPolicies PolicyChange = "set"
	// RemovePolicies takes permissions away; who is left with none has no policy any more.
	RemovePolicies PolicyChange = "remove"
)

// ChangePolicies changes the access policies of some holders and leaves those of others.
func (s *Service) ChangePolicies(ctx context.Context, call *guard.Call, ref VaultRef, how PolicyChange, policies []vault.AccessPolicy) (*vault.Vault, error) {
	if how != AddPolicies && how != ReplacePolicies && how != SetPolicies && how != RemovePolicies {
		return nil, badRequest("access policies can be changed by add, replace and remove, not by %q", fault.Clip(string(how)))
	}
	return s.write(ctx, call, ref, authz.VaultAccessPoliciesWrite, func(old *vault.Vault) (*vault.Vault, error) {
		if old == nil {
			return nil, vaultNotFound(ref)
		}
		for i := range policies {
			p := policies[i]
			if err := checkPolicy(&p, old.Tenant); err != nil {
				return nil, err
			}
			old.Policies = mergePolicy(old.Policies, how, &p)
		}
		return old, checkVault(old)
	}, nil)
}

func vaultNotFound(ref VaultRef) error {
	return fault.New(fault.NotFound, "the resource 'Microsoft.KeyVault/vaults/%s' under resource group '%s' was not found: check both names, and that the "+
		"vault was not deleted", ref.Name, fault.Clip(ref.Group)).Because(ResourceNotFound)
}
