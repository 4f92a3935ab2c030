package enrolment

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// NoRule is the reason of the fault when an issuer has no such access rule.
const NoRule fault.Reason = "AccessRuleNotFound"

// macBytes is the length of the MAC keys that are made: that of the output of HMAC-SHA256, below which RFC 7518, section 3.2, forbids to go.
const macBytes = 32

// maxTries bounds how often a change is planned anew because somebody else changed the rule meanwhile.
const maxTries = 5

// Config makes a Service. All members are required.
type Config struct {
	Guard        *guard.Guard
	Store        store.Store
	Sealing      *keyring.Keyring
	Clock        clock.Clock
	Certificates *cert.Service
}

// Service keeps the access rules of issuers, and opens registers.
type Service struct{ Config }

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Sealing == nil || c.Clock == nil || c.Certificates == nil {
		return nil, errors.New("enrolment needs a guard, a store, a keyring, a clock and the service of certificates")
	}
	return &Service{c}, nil
}

// nameOf is the name of a rule's object.
func nameOf(issuer, rule string) string { return issuer + "/" + rule }

func noRule(issuer, rule string) error {
	return fault.New(fault.NotFound, "the issuer %q has no access rule %q: list its rules, or make one", issuer, rule).Because(NoRule)
}

func checkNames(issuer, rule string) error {
	if err := vault.CheckObjectName(issuer); err != nil {
		return err
	}
	if err := vault.CheckObjectName(rule); err != nil {
		return fault.New(fault.Invalid, "the name %q of an access rule is not valid: use 1 to 127 letters, digits and hyphens", fault.Clip(rule))
	}
	return nil
}

func ruleNeed(a authz.Action, issuer, rule string) guard.Need {
	return guard.Need{Action: a, Detail: "issuer " + issuer + ", access rule " + rule}
}

// Made is an access rule with its MAC key, in base64url, which is shown this once; empty when it stayed, and for Anyone, which has none.
type Made struct {
	Rule *Rule
	MAC  redact.String
}

// Set makes an access rule, or says anew what one permits: its accounts stay, and so does its MAC key unless another is asked for. Who sets it must be permitted to set the
// issuer up, and to sign with the key that the issuer signs with.
func (s *Service) Set(ctx context.Context, call *guard.Call, issuer, name string, t Terms, newKey bool) (Made, error) {
	if err := checkNames(issuer, name); err != nil {
		return Made{}, err
	}
	need := ruleNeed(authz.IssuerWrite, issuer, name)
	if _, err := s.Certificates.MayServe(ctx, call, need, issuer); err != nil {
		return Made{}, err
	}
	t.complete()
	if err := t.check(vault.NameKey(name), s.Clock.Now()); err != nil {
		return Made{}, s.Guard.Refuse(ctx, call, need, err)
	}
	for range maxTries {
		made, err := s.setOnce(ctx, call, need, issuer, name, t, newKey)
		if !errors.Is(err, object.ErrMoved) {
			return made, err
		}
	}
	return Made{}, s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, "the access rule %q was changed by others meanwhile: try again", name))
}

func (s *Service) setOnce(ctx context.Context, call *guard.Call, need guard.Need, issuer, name string, t Terms, newKey bool) (Made, error) {
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	refuse := func(err error) (Made, error) { return Made{}, s.Guard.Refuse(ctx, call, need, err) }
	o, before, err := s.find(ctx, v, issuer, name)
	if err != nil && !fault.Is(err, fault.NotFound) {
		return refuse(err)
	}
	made := Made{Rule: &Rule{Name: name, Terms: t, Created: op.At, Updated: op.At}}
	ver := &vault.Version{ID: vault.NewVersionID(op.At), Attributes: vault.Attributes{Enabled: true, Created: op.At, Updated: op.At}}
	if o == nil {
		o = &vault.Object{ID: vault.NewObjectID(op.At), Vault: v.ID, Kind: vault.AccessRule, Name: nameOf(issuer, name), Created: op.At}
	} else {
		old, err := ruleOf(o, before)
		if err != nil {
			return refuse(err)
		}
		made.Rule.Name, made.Rule.Created = old.Name, old.Created
		ver = object.Shallow(before)
		ver.Attributes.Updated = op.At
	}
	made.Rule.ID, ver.Object = o.ID, o.ID
	if ver.Doc, err = json.Marshal(made.Rule); err != nil {
		return refuse(err)
	}
	if before == nil || newKey {
		if made.MAC, err = s.newMAC(ctx, v, made.Rule, ver); err != nil {
			return refuse(err)
		}
	}
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		// The issuer may have gone meanwhile, and its rules with it.
		if _, _, err := s.Certificates.Served(ctx, tx, v, issuer); err != nil {
			return err
		}
		return object.PutOver(ctx, tx, o, before, ver)
	})
	if err != nil {
		return Made{}, err
	}
	return made, nil
}

// newMAC makes the key of a rule and seals it into its version.
func (s *Service) newMAC(ctx context.Context, v *vault.Vault, r *Rule, ver *vault.Version) (redact.String, error) {
	var mac []byte
	if vault.NameKey(r.Name) != Anyone {
		mac = make([]byte, macBytes)
		defer clear(mac)
		if _, err := rand.Read(mac); err != nil {
			return "", fmt.Errorf("making a MAC key: %w", err)
		}
	}
	var err error
	ver.Value, err = s.Sealing.Seal(ctx, object.Place(v, ver.Object, ver.ID), mac)
	// In base64url without padding, as every client takes it.
	return redact.String(base64.RawURLEncoding.EncodeToString(mac)), err
}

// find reads a rule as it is stored.
func (s *Service) find(ctx context.Context, v *vault.Vault, issuer, name string) (o *vault.Object, ver *vault.Version, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		if o, err = tx.Object(ctx, v.ID, vault.AccessRule, nameOf(issuer, name)); err == nil {
			ver, err = tx.Version(ctx, o.ID, o.Current)
		}
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil, nil, noRule(issuer, name)
	}
	return o, ver, err
}

func ruleOf(o *vault.Object, ver *vault.Version) (*Rule, error) {
	_, name, _ := strings.Cut(o.Name, "/")
	r := &Rule{ID: o.ID, Name: name}
	if err := json.Unmarshal(ver.Doc, r); err != nil {
		return nil, fmt.Errorf("decoding the access rule %q: %w", o.Name, err)
	}
	return r, nil
}

// Get returns an access rule.
func (s *Service) Get(ctx context.Context, call *guard.Call, issuer, name string) (r *Rule, err error) {
	if err := checkNames(issuer, name); err != nil {
		return nil, err
	}
	need := ruleNeed(authz.IssuerGet, issuer, name)
	err = s.Guard.Read(ctx, call, &need, func() error {
		o, ver, err := s.find(ctx, call.Vault.Vault, issuer, name)
		if err == nil {
			r, err = ruleOf(o, ver)
		}
		return err
	})
	return r, err
}

// RuleList is a page of access rules. Next is the name behind which the listing goes on; empty when it is at its end.
type RuleList struct {
	Rules []*Rule
	Next  string
}

// List returns a page of an issuer's access rules, in the order of their names.
func (s *Service) List(ctx context.Context, call *guard.Call, issuer string, p object.Page) (l RuleList, err error) {
	if err := vault.CheckObjectName(issuer); err != nil {
		return RuleList{}, err
	}
	need := guard.Need{Action: authz.IssuerGet, Detail: "issuer " + issuer + ", access rules"}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			if _, _, err := s.Certificates.Served(ctx, tx, call.Vault.Vault, issuer); err != nil {
				return err
			}
			l, err = rules(ctx, tx, call.Vault.Vault, issuer, p)
			return err
		})
	})
	return l, err
}

func rules(ctx context.Context, tx store.Tx, v *vault.Vault, issuer string, p object.Page) (l RuleList, err error) {
	prefix := vault.NameKey(nameOf(issuer, ""))
	found, err := tx.CurrentVersions(ctx, store.ObjectQuery{Vault: v.ID, Kind: vault.AccessRule, After: prefix + vault.NameKey(p.After), Limit: p.Limit})
	if err != nil {
		return l, err
	}
	for _, f := range found {
		if !strings.HasPrefix(vault.NameKey(f.Object.Name), prefix) {
			return l, nil
		}
		r, err := ruleOf(f.Object, f.Version)
		if err != nil {
			return l, err
		}
		l.Rules = append(l.Rules, r)
	}
	if len(found) > 0 && len(found) == p.Limit {
		l.Next = l.Rules[len(l.Rules)-1].Name
	}
	return l, nil
}

// Delete withdraws an access rule, for good. Its accounts get nothing more; their certificates go on, and can be revoked.
func (s *Service) Delete(ctx context.Context, call *guard.Call, issuer, name string) (r *Rule, err error) {
	if err := checkNames(issuer, name); err != nil {
		return nil, err
	}
	need := ruleNeed(authz.IssuerWrite, issuer, name)
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	op := store.NewOp(s.Clock.Now())
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		o, err := tx.Object(ctx, call.Vault.Vault.ID, vault.AccessRule, nameOf(issuer, name))
		if fault.Is(err, fault.NotFound) {
			return noRule(issuer, name)
		}
		if err != nil {
			return err
		}
		ver, err := tx.Version(ctx, o.ID, o.Current)
		if err != nil {
			return err
		}
		if r, err = ruleOf(o, ver); err != nil {
			return err
		}
		return tx.DeleteObject(ctx, o, op.At)
	})
	return r, err
}

// expireAtOnce bounds the records that one transaction removes, so that writers wait for milliseconds only.
const expireAtOnce = 500

// Expire removes orders and authorizations that nobody will ask for again.
func (s *Service) Expire(ctx context.Context) error {
	for {
		n, op := 0, store.NewOp(s.Clock.Now())
		err := s.Store.Update(ctx, op, func(tx store.Tx) (err error) {
			n, err = tx.ExpireEnrolments(ctx, op.At, expireAtOnce)
			return err
		})
		if err != nil || n < expireAtOnce {
			return err
		}
	}
}

// kept is how much longer an order or an authorization is kept than it counts, so that its client and its administrator can still look at it.
const kept = 7 * 24 * time.Hour
