package enrolment

import (
	"context"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Register is what one issuer's clients have, for one call of one of them. The call's caller may change while it goes on: first it is an address, then an account.
type Register struct {
	service *Service
	call    *guard.Call
	// issuer is the issuer's object, name how it is spelled.
	issuer vault.ObjectID
	name   string
	// open says that there is a rule for accounts without a binding.
	open bool
}

// Open returns the register of an issuer of the call's vault. An issuer for which there are no access rules is a fault.NotFound.
func (s *Service) Open(ctx context.Context, call *guard.Call, issuer string) (*Register, error) {
	r := &Register{service: s, call: call}
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		v := call.Vault.Vault
		if r.issuer, r.name, err = s.Certificates.Served(ctx, tx, v, issuer); err != nil {
			return err
		}
		l, err := rules(ctx, tx, v, issuer, object.Page{Limit: 1})
		if err != nil {
			return err
		}
		if len(l.Rules) == 0 {
			return fault.New(fault.NotFound, "the issuer %q has no access rules", issuer)
		}
		_, err = tx.Object(ctx, v.ID, vault.AccessRule, nameOf(issuer, Anyone))
		r.open = err == nil
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// RequiresBinding reports whether accounts without a binding get nothing here.
func (r *Register) RequiresBinding() bool { return !r.open }

// need is how the audit records of the register name what is done.
func (r *Register) need(a authz.Action, detail string) guard.Need {
	return guard.Need{Action: a, Reason: "AccessRule", Detail: "issuer " + r.name + ", " + detail}
}

// Bind proves a binding and returns what accounts remember of it. verify is given the MAC key for as long as it runs, and says whether the MAC is that key's. A binding that is not
// accepted is a fault.Unauthenticated, and counted.
func (r *Register) Bind(ctx context.Context, keyID string, verify func(mac []byte) bool) (binding string, err error) {
	refuse := func() (string, error) {
		err := fault.New(fault.Unauthenticated, "The binding is not accepted: the key id is unknown, or the MAC is not that of its key.").Because(WrongBinding)
		return "", r.service.Guard.Unauthenticated(r.call, r.call.Vault.Vault.Name, err)
	}
	if err := vault.CheckObjectName(keyID); err != nil || vault.NameKey(keyID) == Anyone {
		return refuse()
	}
	v := r.call.Vault.Vault
	o, ver, err := r.service.find(ctx, v, r.name, keyID)
	if fault.Is(err, fault.NotFound) {
		return refuse()
	}
	if err != nil {
		return "", err
	}
	mac, err := r.service.Sealing.Open(ctx, object.Place(v, o.ID, ver.ID), ver.Value)
	defer clear(mac)
	if err != nil {
		return "", err
	}
	if len(mac) < macBytes || !verify(mac) {
		return refuse()
	}
	rule, err := ruleOf(o, ver)
	if err != nil {
		return "", err
	}
	if _, err := rule.permit(nil, "", r.call.Started); err != nil {
		return "", r.service.Guard.Deny(ctx, r.call, r.need(authz.CertificateCreate, "access rule "+rule.Name), err)
	}
	return rule.Name + "/" + string(o.ID), nil
}

// Allow decides about an order: for these names, under this profile or the rule's own if it is empty. A refusal is a fault.Forbidden, and recorded.
func (r *Register) Allow(ctx context.Context, a Account, identifiers []Identifier, profile string) (Permission, error) {
	rule, err := r.rule(ctx, a)
	var p Permission
	if err == nil {
		p, err = rule.permit(identifiers, profile, r.call.Started)
	}
	if fault.Is(err, fault.Forbidden) {
		return p, r.service.Guard.Deny(ctx, r.call, r.need(authz.CertificateCreate, "ACME account "+a.ID+", an order for "+names(identifiers)), err)
	}
	return p, err
}

// rule finds the rule of an account.
func (r *Register) rule(ctx context.Context, a Account) (*Rule, error) {
	name, id, bound := strings.Cut(a.Binding, "/")
	if !bound {
		name = Anyone
	}
	o, ver, err := r.service.find(ctx, r.call.Vault.Vault, r.name, name)
	if fault.Is(err, fault.NotFound) || err == nil && bound && string(o.ID) != id {
		return nil, fault.New(fault.Forbidden, "The access rule %s of this account was withdrawn: ask whoever runs the issuer for another one.", name).Because(RuleEnded)
	}
	if err != nil {
		return nil, err
	}
	return ruleOf(o, ver)
}

// names lists identifiers for a record, as far as there is room.
func names(identifiers []Identifier) string {
	const most = 10
	var list []string
	for _, i := range identifiers[:min(len(identifiers), most)] {
		list = append(list, i.Value)
	}
	if len(identifiers) > most {
		list = append(list, "...")
	}
	return strings.Join(list, " ")
}
