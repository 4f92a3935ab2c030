package cert

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// NoIssuer is the reason of the fault when a vault has no such issuer, NoContacts when it has no contacts.
const (
	NoIssuer   fault.Reason = "CertificateIssuerNotFound"
	NoContacts fault.Reason = "ContactsNotFound"
)

// Settings are an issuer that was set up in a vault: an object whose document may be shown, and whose value is the password, sealed like any other.
type Settings struct {
	// Name is the issuer's name in the vault.
	Name string `json:"-"`
	// Provider is the kind of authority.
	Provider string `json:"provider"`
	// Account is the name of the account at the authority, and Password what proves it; it is never shown.
	Account  string        `json:"account,omitempty"`
	Password redact.String `json:"-"`
	// Organization is the organisation's id at the authority, and Admins are its administrators.
	Organization string  `json:"organization,omitempty"`
	Admins       []Admin `json:"admins,omitempty"`
	// Options are what the provider wants to know beyond that, such as the address of its directory. Those for which IsSecret stand in Secrets, and are never shown.
	Options map[string]string        `json:"options,omitempty"`
	Secrets map[string]redact.String `json:"-"`
	// AuthorityVault is the vault of the certificate with which it signs, if that is another one: by its id, because a name can become another vault's.
	AuthorityVault vault.ID `json:"authorityVault,omitempty"`
	// AccountKey is the private key of the account, which is made here (PKCS#8); it is never shown.
	AccountKey redact.String `json:"-"`
	Enabled    bool          `json:"enabled"`
	Created    time.Time     `json:"created"`
	Updated    time.Time     `json:"updated"`
}

// Admin is an administrator of the organisation at the authority.
type Admin struct {
	FirstName string `json:"firstName,omitempty"`
	LastName  string `json:"lastName,omitempty"`
	Email     string `json:"email,omitempty"`
	Phone     string `json:"phone,omitempty"`
}

// SettingsChange is what to change of an issuer: a nil member stays as it is.
type SettingsChange struct {
	Provider     *string
	Account      *string
	Password     *redact.String
	Organization *string
	// Admins and Options replace what was there.
	Admins  []Admin
	Options map[string]string
	Enabled *bool
}

func (ch *SettingsChange) apply(s *Settings) {
	set(&s.Provider, ch.Provider)
	set(&s.Account, ch.Account)
	set(&s.Password, ch.Password)
	set(&s.Organization, ch.Organization)
	set(&s.Enabled, ch.Enabled)
	if ch.Admins != nil {
		s.Admins = ch.Admins
	}
	if ch.Options != nil {
		s.setOptions(ch.Options)
	}
}

func set[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

// maxText bounds each text of an issuer or a contact, in bytes, and maxPeople how many people either has.
const (
	maxText   = 1024
	maxPeople = 100
)

func (s *Settings) check() error {
	if s.Provider == "" {
		return fault.New(fault.Invalid, "an issuer needs a provider")
	}
	if len(s.Admins) > maxPeople {
		return fault.New(fault.Invalid, "an issuer has at most %d administrators", maxPeople)
	}
	texts := []string{s.Provider, s.Account, s.Password.Reveal(), s.Organization}
	for _, a := range s.Admins {
		texts = append(texts, a.FirstName, a.LastName, a.Email, a.Phone)
	}
	for _, t := range texts {
		if len(t) > maxText {
			return fault.New(fault.Invalid, "a text of the issuer has %d bytes: %d are the most", len(t), maxText)
		}
	}
	return s.checkOptions()
}

// SetIssuer sets up an issuer, in the place of one of that name.
func (s *Service) SetIssuer(ctx context.Context, call *guard.Call, name string, ch SettingsChange) (*Settings, error) {
	return s.changeIssuer(ctx, call, name, &ch, func(before *Settings) (*Settings, error) {
		next := &Settings{Name: name, Enabled: true}
		if before != nil {
			next.Name, next.Created = before.Name, before.Created
			// The account goes on: an issuer that is to have another one is deleted first.
			next.AccountKey = before.AccountKey
		}
		ch.apply(next)
		return next, nil
	})
}

// UpdateIssuer changes an issuer.
func (s *Service) UpdateIssuer(ctx context.Context, call *guard.Call, name string, ch SettingsChange) (*Settings, error) {
	return s.changeIssuer(ctx, call, name, &ch, func(before *Settings) (*Settings, error) {
		if before == nil {
			return nil, noIssuer(name)
		}
		next := *before
		ch.apply(&next)
		return &next, nil
	})
}

func noIssuer(name string) error {
	return fault.New(fault.NotFound, "the vault has no issuer %q: list its issuers, or set one up", name).Because(NoIssuer)
}

func (s *Service) changeIssuer(ctx context.Context, call *guard.Call, name string, ch *SettingsChange, change func(before *Settings) (*Settings, error)) (*Settings, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.IssuerWrite, Detail: "issuer " + name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	for range maxTries {
		next, err := s.changeIssuerOnce(ctx, call, need, name, ch, change)
		if !again(err) {
			return next, err
		}
	}
	return nil, s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, "the issuer %q was changed by others meanwhile: try again", name))
}

func (s *Service) changeIssuerOnce(ctx context.Context, call *guard.Call, need guard.Need, name string, ch *SettingsChange, change func(before *Settings) (*Settings, error)) (*Settings, error) {
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	before, o, ver, err := s.readSettings(ctx, v, name)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	next, err := change(before)
	if err == nil {
		err = next.check()
	}
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	// Before prepare, whose answers tell of the certificate that is to sign.
	if err := s.maySign(ctx, call, next); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, v, before, next, ch); err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	next.Updated = op.At
	if next.Created.IsZero() {
		next.Created = op.At
	}
	if o == nil {
		o = &vault.Object{ID: vault.NewObjectID(op.At), Vault: v.ID, Kind: vault.Issuer, Name: name, Created: op.At}
		ver = nil
	}
	doc, err := json.Marshal(next)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	value, err := next.hidden()
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	fresh, err := s.sealHidden(ctx, v, o, ver, doc, value, op)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	return next, s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		if err := link(ctx, tx, v, next); err != nil {
			return err
		}
		return object.PutOver(ctx, tx, o, ver, fresh)
	})
}

// sealHidden makes the one version of an issuer, or of the contacts, in the place of the one before.
func (s *Service) sealHidden(ctx context.Context, v *vault.Vault, o *vault.Object, before *vault.Version, doc, value []byte, op store.Op) (*vault.Version, error) {
	defer clear(value)
	ver := &vault.Version{ID: vault.NewVersionID(op.At), Object: o.ID, Attributes: vault.Attributes{Enabled: true, Created: op.At}}
	if before != nil {
		ver = object.Shallow(before)
	}
	ver.Doc, ver.Attributes.Updated = doc, op.At
	var err error
	ver.Value, err = s.Sealing.Seal(ctx, object.Place(v, o.ID, ver.ID), value)
	return ver, err
}

// readSettings reads an issuer with its credentials.
func (s *Service) readSettings(ctx context.Context, v *vault.Vault, name string) (st *Settings, o *vault.Object, ver *vault.Version, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		if o, err = tx.Object(ctx, v.ID, vault.Issuer, name); err == nil {
			ver, err = tx.Version(ctx, o.ID, o.Current)
		}
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil, nil, nil, noIssuer(name)
	}
	if err != nil {
		return nil, nil, nil, err
	}
	if st, err = settingsOf(o, ver); err != nil {
		return nil, nil, nil, err
	}
	value, err := s.Sealing.Open(ctx, object.Place(v, o.ID, ver.ID), ver.Value)
	defer clear(value)
	if err == nil {
		err = st.reveal(value)
	}
	return st, o, ver, err
}

// openSettings reads an issuer for its use.
func (s *Service) openSettings(ctx context.Context, v *vault.Vault, name string) (*Settings, error) {
	st, _, _, err := s.readSettings(ctx, v, name)
	if fault.Is(err, fault.NotFound) {
		return nil, fault.New(fault.Invalid, "the policy names the issuer %q, which the vault does not have: set it up first, or name %s or %s", name, SelfIssuer, UnknownIssuer)
	}
	if err == nil && !st.Enabled {
		return nil, fault.New(fault.Invalid, "the issuer %q is disabled: enable it, or name another one in the policy", st.Name)
	}
	return st, err
}

func settingsOf(o *vault.Object, ver *vault.Version) (*Settings, error) {
	st := &Settings{Name: o.Name}
	if err := json.Unmarshal(ver.Doc, st); err != nil {
		return nil, fmt.Errorf("decoding the issuer %q: %w", o.Name, err)
	}
	return st, nil
}

// Issuer returns an issuer without its password.
func (s *Service) Issuer(ctx context.Context, call *guard.Call, name string) (st *Settings, err error) {
	if err := vault.CheckObjectName(name); err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.IssuerGet, Detail: "issuer " + name}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			o, err := tx.Object(ctx, call.Vault.Vault.ID, vault.Issuer, name)
			if fault.Is(err, fault.NotFound) {
				return noIssuer(name)
			}
			if err != nil {
				return err
			}
			ver, err := tx.Version(ctx, o.ID, o.Current)
			if err == nil {
				st, err = settingsOf(o, ver)
			}
			return err
		})
	})
	return st, err
}

// IssuerList is a page of issuers. Next is the key behind which the listing goes on; empty when it is at its end.
type IssuerList struct {
	Issuers []*Settings
	Next    string
}

// ListIssuers returns a page of a vault's issuers, in the order of their names.
func (s *Service) ListIssuers(ctx context.Context, call *guard.Call, p Page) (l IssuerList, err error) {
	need := guard.Need{Action: authz.IssuerList}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			l = IssuerList{}
			found, err := tx.CurrentVersions(ctx, store.ObjectQuery{Vault: call.Vault.Vault.ID, Kind: vault.Issuer, After: p.After, Limit: p.Limit})
			for _, f := range found {
				st, err := settingsOf(f.Object, f.Version)
				if err != nil {
					return err
				}
				l.Issuers = append(l.Issuers, st)
			}
			if len(found) > 0 && len(found) == p.Limit {
				l.Next = vault.NameKey(found[len(found)-1].Object.Name)
			}
			return err
		})
	})
	return l, err
}

// DeleteIssuer removes an issuer, with its credentials, for good, and returns what it was. Certificates that name it stay, and cannot be renewed until it is set up again.
func (s *Service) DeleteIssuer(ctx context.Context, call *guard.Call, name string) (st *Settings, err error) {
	if err := vault.CheckObjectName(name); err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.IssuerDelete, Detail: "issuer " + name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	op := store.NewOp(s.Clock.Now())
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		o, err := tx.Object(ctx, call.Vault.Vault.ID, vault.Issuer, name)
		if fault.Is(err, fault.NotFound) {
			return noIssuer(name)
		}
		if err != nil {
			return err
		}
		ver, err := tx.Version(ctx, o.ID, o.Current)
		if err != nil {
			return err
		}
		if st, err = settingsOf(o, ver); err != nil {
			return err
		}
		if err := dropRules(ctx, tx, call.Vault.Vault, o, op.At); err != nil {
			return err
		}
		return tx.DeleteObject(ctx, o, op.At)
	})
	return st, err
}
