package cert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Contact is somebody who is told when a certificate of the vault is to be seen to.
type Contact struct {
	Email string `json:"email"`
	Name  string `json:"name,omitempty"`
	Phone string `json:"phone,omitempty"`
}

// contactsName is the name of the one object that has a vault's contacts.
const contactsName = "contacts"

func noContacts(v *vault.Vault) error {
	return fault.New(fault.NotFound, "the vault %q has no contacts: set them first", v.Name).Because(NoContacts)
}

// again reports whether a change was planned on a state which is no more.
func again(err error) bool { return errors.Is(err, object.ErrMoved) }

// Contacts returns the contacts of the vault.
func (s *Service) Contacts(ctx context.Context, call *guard.Call) (list []Contact, err error) {
	need := guard.Need{Action: authz.ContactsManage, Detail: "contacts"}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			_, _, list, err = contactsOf(ctx, tx, call.Vault.Vault)
			return err
		})
	})
	return list, err
}

func contactsOf(ctx context.Context, tx store.Tx, v *vault.Vault) (o *vault.Object, ver *vault.Version, list []Contact, err error) {
	o, err = tx.Object(ctx, v.ID, vault.Contacts, contactsName)
	if fault.Is(err, fault.NotFound) {
		return nil, nil, nil, noContacts(v)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if ver, err = tx.Version(ctx, o.ID, o.Current); err != nil {
		return nil, nil, nil, err
	}
	if err := json.Unmarshal(ver.Doc, &list); err != nil {
		return nil, nil, nil, fmt.Errorf("decoding the contacts of the vault %q: %w", v.Name, err)
	}
	return o, ver, list, nil
}

// SetContacts puts contacts in the place of those of the vault.
func (s *Service) SetContacts(ctx context.Context, call *guard.Call, list []Contact) error {
	need := guard.Need{Action: authz.ContactsManage, Detail: "contacts"}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	if err := checkContacts(list); err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	for range maxTries {
		if err := s.setContactsOnce(ctx, call, need, list); !again(err) {
			return err
		}
	}
	return s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, "the contacts were changed by others meanwhile: try again"))
}

func checkContacts(list []Contact) error {
	if len(list) == 0 || len(list) > maxPeople {
		return fault.New(fault.Invalid, "a vault has 1 to %d contacts: delete the contacts to have none", maxPeople)
	}
	for _, c := range list {
		if !strings.Contains(c.Email, "@") {
			return fault.New(fault.Invalid, "a contact needs an e-mail address, and %q is none", fault.Clip(c.Email))
		}
		if len(c.Email) > maxText || len(c.Name) > maxText || len(c.Phone) > maxText {
			return fault.New(fault.Invalid, "a text of a contact is longer than %d bytes", maxText)
		}
	}
	return nil
}

func (s *Service) setContactsOnce(ctx context.Context, call *guard.Call, need guard.Need, list []Contact) error {
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	var o *vault.Object
	var before *vault.Version
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		o, before, _, err = contactsOf(ctx, tx, v)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		o, err = &vault.Object{ID: vault.NewObjectID(op.At), Vault: v.ID, Kind: vault.Contacts, Name: contactsName, Created: op.At}, nil
	}
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	doc, err := json.Marshal(list)
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	ver, err := s.sealHidden(ctx, v, o, before, doc, nil, op)
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error { return object.PutOver(ctx, tx, o, before, ver) })
}

// DeleteContacts removes the contacts of the vault and returns what they were.
func (s *Service) DeleteContacts(ctx context.Context, call *guard.Call) (list []Contact, err error) {
	need := guard.Need{Action: authz.ContactsManage, Detail: "contacts"}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	op := store.NewOp(s.Clock.Now())
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		o, _, found, err := contactsOf(ctx, tx, call.Vault.Vault)
		if err != nil {
			return err
		}
		list = found
		return tx.DeleteObject(ctx, o, op.At)
	})
	return list, err
}
