package secret

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/vault"
)

// The management plane writes secrets without being able to read them: deployments put values into vaults whose data they
// have no access to. Its actions are roles' control-plane actions, whatever access model the vault uses.

// ManageSet stores a value like Set, for a caller of the management plane.
func (s *Service) ManageSet(ctx context.Context, call *guard.Call, name string, in Input) (Item, error) {
	return s.set(ctx, call, s.manageNeed(call, authz.SecretManageWrite, name), name, &in)
}

// ManageUpdate changes a live secret like Update, for a caller of the management plane, with a new value when one is given, which makes it a new version. What
// the change leaves out stays as it is in the version before.
func (s *Service) ManageUpdate(ctx context.Context, call *guard.Call, name string, ch Change, value []byte) (Item, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Item{}, err
	}
	need := s.manageNeed(call, authz.SecretManageWrite, name)
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	if err := checkChange(&ch); err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	if value == nil {
		return s.objects.Change(ctx, call, need, Selector{Name: name, Label: vault.Current}, ch.apply)
	}
	rec, err := s.objects.Record(ctx, call, &Selector{Name: name, Label: vault.Current})
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	next := object.Shallow(rec.Version)
	if err := ch.apply(next); err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	a := next.Attributes
	in := Input{Value: value, ContentType: next.ContentType, Tags: next.Tags, Enabled: a.Enabled, NotBefore: a.NotBefore, Expires: a.Expires}
	if err := s.checkInput(&in); err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	return s.objects.Add(ctx, call, need, name, in.draft())
}

// ManageGet finds a live secret's current version without its value.
func (s *Service) ManageGet(ctx context.Context, call *guard.Call, name string) (item Item, err error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Item{}, err
	}
	need := s.manageNeed(call, authz.SecretManageRead, name)
	err = s.Guard.Read(ctx, call, &need, func() error {
		rec, err := s.objects.Record(ctx, call, &Selector{Name: name, Label: vault.Current})
		if err == nil {
			item = rec.Item
		}
		return err
	})
	return item, err
}

// ManageList returns a page of live secrets with their current versions, without values.
func (s *Service) ManageList(ctx context.Context, call *guard.Call, p Page) (Listing, error) {
	return s.objects.List(ctx, call, s.manageNeed(call, authz.SecretManageRead, ""), p, false)
}

func (s *Service) manageNeed(call *guard.Call, a authz.Action, name string) guard.Need {
	return guard.Need{Action: a, Kind: vault.Secret, Name: name, Scope: call.Vault.Vault.Scope()}
}
