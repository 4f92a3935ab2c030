package key

import (
	"context"
	"errors"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// The management plane makes keys and sees their public halves without being able to use them: deployments make keys in vaults whose data they have no
// access to. Its actions are roles' control-plane actions, whatever access model the vault uses. A vault may refuse them all.

// KeysNotManaged is the reason when a vault takes no key operations through the management plane.
const KeysNotManaged fault.Reason = "KeyManagementThroughARMDisabled"

// ManageCreate makes the first version of a key, with its rotation policy when one is given, for a caller of the management plane. A key that is there already is
// returned as it is, and nothing is changed.
func (s *Service) ManageCreate(ctx context.Context, call *guard.Call, name string, sp Spec, in Input, policy *Policy) (item Item, p Policy, created bool, err error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Item{}, Policy{}, false, err
	}
	need := manageNeed(call, authz.KeyManageWrite, name)
	if err := s.mayManage(ctx, call, &need); err != nil {
		return Item{}, Policy{}, false, err
	}
	if policy != nil {
		if err := policy.Check(); err != nil {
			return Item{}, Policy{}, false, s.Guard.Refuse(ctx, call, need, err)
		}
	}
	in.first, in.policy = true, policy
	for range maxRotateTries {
		item, p, err = s.managed(ctx, call, &Selector{Name: name, Label: vault.Current})
		if err == nil {
			return item, p, false, s.Guard.Record(ctx, call, &need)
		}
		if !fault.Is(err, fault.NotFound) {
			return Item{}, Policy{}, false, s.Guard.Refuse(ctx, call, need, err)
		}
		item, err = s.create(ctx, call, need, sp, &in)
		if errors.Is(err, object.ErrMoved) {
			continue // somebody else has made it meanwhile
		}
		if err == nil {
			p, err = s.policyOf(ctx, item.Object.ID)
		}
		return item, p, err == nil, err
	}
	return Item{}, Policy{}, false, s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, "the key %q was made and removed by others meanwhile: try again", name))
}

// ManageGet returns the selected version of a live key with the key's rotation policy.
func (s *Service) ManageGet(ctx context.Context, call *guard.Call, sel Selector) (item Item, p Policy, err error) {
	if err := vault.CheckObjectName(sel.Name); err != nil {
		return Item{}, Policy{}, err
	}
	if sel.Version == "" {
		sel.Label = vault.Current
	}
	need := manageNeed(call, authz.KeyManageRead, sel.Name)
	if err := s.mayManage(ctx, call, &need); err != nil {
		return Item{}, Policy{}, err
	}
	item, p, err = s.managed(ctx, call, &sel)
	if err != nil {
		return Item{}, Policy{}, s.Guard.Refuse(ctx, call, need, err)
	}
	need.Version = item.Version.ID
	return item, p, s.Guard.Record(ctx, call, &need)
}

// ManageList returns a page of live keys with their current versions.
func (s *Service) ManageList(ctx context.Context, call *guard.Call, p Page) (Listing, error) {
	need := manageNeed(call, authz.KeyManageRead, "")
	if err := s.mayManage(ctx, call, &need); err != nil {
		return Listing{}, err
	}
	return s.objects.List(ctx, call, need, p, false)
}

// ManageVersions returns a page of the versions of a live key; a key that is not there has none.
func (s *Service) ManageVersions(ctx context.Context, call *guard.Call, name string, p Page) (Listing, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Listing{}, err
	}
	need := manageNeed(call, authz.KeyManageRead, name)
	if err := s.mayManage(ctx, call, &need); err != nil {
		return Listing{}, err
	}
	return s.objects.Versions(ctx, call, need, name, p)
}

func manageNeed(call *guard.Call, a authz.Action, name string) guard.Need {
	return guard.Need{Action: a, Kind: vault.Key, Name: name, Scope: call.Vault.Vault.Scope()}
}

// mayManage authorises the need and asks whether the vault takes it. Who may not know of the vault does not learn what it takes.
func (s *Service) mayManage(ctx context.Context, call *guard.Call, need *guard.Need) error {
	if err := s.Guard.Authorize(ctx, call, need); err != nil {
		return err
	}
	if v := call.Vault.Vault; v.KeysNotManaged {
		return s.Guard.Refuse(ctx, call, *need, fault.New(fault.Forbidden, "the vault %q takes no key operations through Resource Manager: use the vault's own address, or set its "+
			"setting AllowKeyManagementOperationsThroughARM to true", v.Name).Because(KeysNotManaged))
	}
	return nil
}

// managed finds a version and the rotation policy of its key.
func (s *Service) managed(ctx context.Context, call *guard.Call, sel *Selector) (Item, Policy, error) {
	rec, err := s.objects.Record(ctx, call, sel)
	if err != nil {
		return Item{}, Policy{}, err
	}
	p, err := s.policyOf(ctx, rec.Object.ID)
	return rec.Item, p, err
}

func (s *Service) policyOf(ctx context.Context, o vault.ObjectID) (p Policy, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		p, _, err = policyOf(ctx, tx, o)
		return err
	})
	return p, err
}
