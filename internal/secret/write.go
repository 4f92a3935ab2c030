package secret

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Input is a new version.
type Input struct {
	Value              []byte
	ContentType        string
	Tags               map[string]string
	Enabled            bool
	NotBefore, Expires time.Time
	// Beside, when not nil, writes what belongs to the version in the transaction that stores it, and Detail is what the audit record then tells beyond the names. It may
	// run more than once.
	Beside func(tx store.Tx, stored Item) error
	Detail string
}

// Change is what to change of a version: a nil member stays as it is.
type Change struct {
	ContentType *string
	// Tags replaces the whole map.
	Tags               map[string]string
	Enabled            *bool
	NotBefore, Expires *time.Time
}

// Set stores a value as the secret's newest version and makes it current. A new version inherits nothing from the one
// before. A deleted secret of that name is a fault.Conflict with reason ObjectIsDeletedButRecoverable.
func (s *Service) Set(ctx context.Context, call *guard.Call, name string, in Input) (Item, error) {
	return s.set(ctx, call, guard.Need{Action: authz.SecretSet, Kind: vault.Secret, Name: name}, name, &in)
}

// set authorises the need and stores a value under it.
func (s *Service) set(ctx context.Context, call *guard.Call, need guard.Need, name string, in *Input) (Item, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Item{}, err
	}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	if err := s.checkInput(in); err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	need.Detail = in.Detail
	return s.objects.Add(ctx, call, need, name, in.draft())
}

func (in *Input) draft() *object.Draft {
	return &object.Draft{Value: in.Value, ContentType: in.ContentType, Tags: in.Tags, Enabled: in.Enabled, NotBefore: in.NotBefore, Expires: in.Expires, Beside: in.Beside}
}

func (s *Service) checkInput(in *Input) error {
	if len(in.Value) > s.MaxValueBytes {
		return fault.New(fault.Invalid, "the value has %d bytes: a secret has at most %d", len(in.Value), s.MaxValueBytes).
			Because("ValueTooLarge")
	}
	if err := vault.CheckContentType(in.ContentType); err != nil {
		return err
	}
	if err := vault.CheckTags(in.Tags); err != nil {
		return err
	}
	return vault.Attributes{NotBefore: in.NotBefore, Expires: in.Expires}.Check()
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
	return s.objects.Change(ctx, call, need, sel, ch.apply)
}

func checkChange(ch *Change) error {
	if ch.ContentType != nil {
		if err := vault.CheckContentType(*ch.ContentType); err != nil {
			return err
		}
	}
	return vault.CheckTags(ch.Tags)
}

func (ch *Change) apply(v *vault.Version) error {
	if ch.ContentType != nil {
		v.ContentType = *ch.ContentType
	}
	if ch.Tags != nil {
		v.Tags = ch.Tags
	}
	v.Attributes = v.Attributes.With(ch.Enabled, ch.NotBefore, ch.Expires)
	return nil
}
