package rotation

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Age is how old a secret's current version is, against what is allowed.
type Age struct {
	Name    string
	Version vault.VersionID
	Created time.Time
	Age     time.Duration
	// Limit is how old it may become, 0 when nothing says, and LimitBy what says so; OverAt is when it is too old. Exempt is why the default does not
	// apply. Policy is false for a secret that nothing rotates.
	Limit   time.Duration
	LimitBy LimitSource
	OverAt  time.Time
	Exempt  *Exemption
	Policy  bool
	// Strategy is the policy's, Paused whether it starts nothing by itself.
	Strategy string
	Paused   bool
	// Expires is the version's own end, DueAt when the next run is due and Cause why; zero for never. Succeeded is when a run last succeeded.
	Expires, DueAt, Succeeded time.Time
	Cause                     Cause
}

// Over reports whether the version is older than allowed, or has expired.
func (a *Age) Over(now time.Time) bool {
	return a.Limit > 0 && a.Age > a.Limit || !a.Expires.IsZero() && !now.Before(a.Expires)
}

// Ages lists how old every secret of the call's vault is, in the order of names, those after the given name key first. It is evidence for auditors: a secret
// without a policy is in it too.
func (s *Service) Ages(ctx context.Context, call *guard.Call, after string, limit int) (list []*Age, next string, err error) {
	need := guard.Need{Action: authz.RotationPolicyRead, Kind: vault.Secret}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		return s.e.Store.View(ctx, func(tx store.Tx) error {
			list, next = nil, ""
			found, err := tx.Objects(ctx, store.ObjectQuery{Vault: call.Vault.Vault.ID, Kind: vault.Secret, After: after, Limit: limit})
			if err != nil {
				return err
			}
			for _, o := range found {
				if o.Current == "" {
					continue
				}
				a, err := s.age(ctx, tx, call.Vault.Vault, o)
				if err != nil {
					return err
				}
				list = append(list, a)
			}
			if limit > 0 && len(found) == limit {
				next = vault.NameKey(found[limit-1].Name)
			}
			return nil
		})
	})
	return list, next, err
}

func (s *Service) age(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object) (*Age, error) {
	now := s.e.now(v.Tenant)
	ver, err := tx.Version(ctx, o.ID, o.Current)
	if err != nil {
		return nil, err
	}
	a := &Age{Name: o.Name, Version: ver.ID, Created: ver.Attributes.Created, Age: now.Sub(ver.Attributes.Created), Expires: ver.Attributes.Expires}
	doc := &policyDoc{}
	stored, err := tx.Policy(ctx, o.ID)
	if err == nil {
		doc, err = readPolicy(stored)
	}
	if err != nil && !isMissing(err) {
		return nil, err
	}
	a.Limit, a.LimitBy = s.e.limit(v, ver, doc, now)
	if a.Limit > 0 {
		a.OverAt = a.Created.Add(a.Limit)
	}
	a.Exempt = doc.State.Exempt
	if !doc.none() {
		a.Policy, a.Strategy, a.Paused = true, string(doc.Policy.Strategy), doc.Policy.Paused
		a.DueAt, a.Cause, a.Succeeded = stored.DueAt, doc.State.Cause, doc.State.Succeeded
	}
	return a, nil
}
