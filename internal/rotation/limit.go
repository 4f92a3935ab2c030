package rotation

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// How old the value of a secret may become. The first of these that applies decides: the maximum of its rotation policy; its own expiry, of which the
// vault tells anyway; an exemption, which somebody answers for; the default of its vault; the default of the server. Nothing of it ever refuses a write or a
// read: what is too old is reported, and told of once.

// MaxAgeTag names the tag by which a vault sets its default maximum age in days; "0" is none. Every client of both protocols can set tags.
const MaxAgeTag = "max-age-days"

// LimitSource says where the limit of a secret's age comes from.
type LimitSource string

// The sources. The zero value is a secret whose age nothing limits.
const (
	LimitByPolicy    LimitSource = "policy"
	LimitByExpiry    LimitSource = "expiry"
	LimitByExemption LimitSource = "exemption"
	LimitByVault     LimitSource = "vault"
	LimitByServer    LimitSource = "server"
)

// Exemption records that a secret may become older than the default, who said so, why and until when.
type Exemption struct {
	By    string    `json:"by"`
	At    time.Time `json:"at"`
	Why   string    `json:"why"`
	Until time.Time `json:"until"`
}

func (x *Exemption) holds(now time.Time) bool { return x != nil && now.Before(x.Until) }

// limit is how old a version may become, 0 when nothing says, and what says so. d is nil for a secret of which the engine keeps nothing.
func (e *Engine) limit(v *vault.Vault, ver *vault.Version, d *policyDoc, now time.Time) (time.Duration, LimitSource) {
	switch {
	case d != nil && strategies[d.Policy.Strategy].leased:
		return 0, LimitByPolicy // the secret is the form of its leases, and holds no credential
	case d != nil && d.Policy.MaxAge > 0:
		return d.Policy.MaxAge.Std(), LimitByPolicy
	case !ver.Attributes.Expires.IsZero():
		return 0, LimitByExpiry
	case d != nil && d.State.Exempt.holds(now):
		return 0, LimitByExemption
	}
	return e.defaultAge(v)
}

// defaultAge is the limit for the secrets of a vault that have none of their own. A tag that cannot be read sets none: the server's goes on.
func (e *Engine) defaultAge(v *vault.Vault) (time.Duration, LimitSource) {
	if days, err := strconv.Atoi(v.Tags[MaxAgeTag]); err == nil && days >= 0 && days <= maxDays {
		return time.Duration(days) * day, LimitByVault
	}
	if e.MaxAge > 0 {
		return e.MaxAge, LimitByServer
	}
	return 0, ""
}

// Exempt records that a secret may become older than the default of its vault or server until a date, and why. It stands instead of an earlier exemption.
func (s *Service) Exempt(ctx context.Context, call *guard.Call, name, why string, until time.Time) error {
	now := s.e.now(call.Vault.Vault.Tenant)
	var wrong error
	switch {
	case why == "" || len(why) > maxTextBytes:
		wrong = fault.New(fault.Invalid, "say in at most %d bytes why the secret is exempted: it is recorded", maxTextBytes)
	case !until.After(now):
		wrong = fault.New(fault.Invalid, "say until when the secret is exempted: a date that is still to come")
	}
	x := &Exemption{By: string(call.Caller.Principal), At: clock.Micro(now), Why: why, Until: clock.Micro(until)}
	return s.exempt(ctx, call, guard.Need{Action: authz.RotationPolicyWrite, Kind: vault.Secret, Name: name,
		Detail: "exempted from the maximum age until " + until.UTC().Format(time.RFC3339) + ": " + why}, x, wrong)
}

// EndExemption takes the exemption of a secret back.
func (s *Service) EndExemption(ctx context.Context, call *guard.Call, name string) error {
	return s.exempt(ctx, call, guard.Need{Action: authz.RotationPolicyWrite, Kind: vault.Secret, Name: name, Detail: "the exemption from the maximum age ends"}, nil, nil)
}

func (s *Service) exempt(ctx context.Context, call *guard.Call, need guard.Need, x *Exemption, wrong error) error {
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	if wrong != nil {
		return s.e.Guard.Refuse(ctx, call, need, wrong)
	}
	return s.e.Guard.Commit(ctx, call, need, store.NewOp(s.e.now(call.Vault.Vault.Tenant)), func(tx store.Tx) error {
		o, err := live(ctx, tx, call.Vault.Vault.ID, need.Name)
		if err != nil {
			return err
		}
		p, doc, err := kept(ctx, tx, call.Vault.Vault, o)
		if err != nil {
			return err
		}
		doc.State.Exempt, doc.State.Told = x, ""
		return keep(ctx, tx, p, doc)
	})
}

// kept returns what the engine keeps of a secret, ready to be changed: an empty document for one of which it keeps nothing yet.
func kept(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object) (*store.Policy, *policyDoc, error) {
	p, doc, err := keptOf(ctx, tx, o.ID)
	if p == nil && err == nil {
		return &store.Policy{Object: o.ID, Tenant: v.Tenant, Vault: v.ID, Kind: o.Kind, NameKey: vault.NameKey(o.Name)}, &policyDoc{}, nil
	}
	return p, doc, err
}

// keptOf is kept for who has nothing to begin with: p is nil when the engine keeps nothing of the secret.
func keptOf(ctx context.Context, tx store.Tx, o vault.ObjectID) (p *store.Policy, doc *policyDoc, err error) {
	stored, err := tx.Policy(ctx, o)
	if isMissing(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	if doc, err = readPolicy(stored); err != nil {
		return nil, nil, err
	}
	n := *stored
	return &n, doc, nil
}

// keep stores what the engine keeps of a secret. A document that says nothing is removed.
func keep(ctx context.Context, tx store.Tx, p *store.Policy, doc *policyDoc) (err error) {
	if doc.none() {
		doc.Policy, p.DueAt = Policy{}, time.Time{}
		if !doc.remembers() {
			if p.Revision == 0 {
				return nil
			}
			return tx.DeletePolicy(ctx, p.Object)
		}
	}
	if p.Doc, err = json.Marshal(doc); err != nil {
		return err
	}
	return tx.PutPolicy(ctx, p)
}
