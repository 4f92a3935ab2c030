package cert

import (
	"context"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Serving is an issuer that serves others than the certificates of its vault.
type Serving struct {
	// ID is that of the issuer's object: an issuer that is deleted and set up again is another one.
	ID vault.ObjectID
	// Name is the issuer's name as it is spelled.
	Name   string
	Issuer issuer.Issuer
}

// Serve opens an issuer for others. It authorises nobody: MayServe was asked when they were let in. An issuer that is not there is a fault.NotFound, one that is
// disabled or cannot issue a fault.Invalid.
func (s *Service) Serve(ctx context.Context, v *vault.Vault, name string) (Serving, error) {
	st, o, _, err := s.readSettings(ctx, v, name)
	if err != nil {
		return Serving{}, err
	}
	if !st.Enabled {
		return Serving{}, fault.New(fault.Invalid, "the issuer %q is disabled: enable it", st.Name)
	}
	i, err := s.Issuers.Issuer(ctx, Order{Vault: v, Ref: IssuerRef{Name: st.Name}, Settings: st, Authority: s.opener(v, st)})
	return Serving{ID: o.ID, Name: st.Name, Issuer: i}, err
}

// Served finds an issuer without opening it.
func (s *Service) Served(ctx context.Context, tx store.Tx, v *vault.Vault, name string) (id vault.ObjectID, spelled string, err error) {
	o, err := tx.Object(ctx, v.ID, vault.Issuer, name)
	if fault.Is(err, fault.NotFound) {
		return "", "", noIssuer(name)
	}
	if err != nil {
		return "", "", err
	}
	return o.ID, o.Name, nil
}

// MayServe decides whether the caller may let others have certificates of an issuer: who may set it up may, if the issuer signs with a key of the vault and the caller
// may sign with that, too. Other issuers are a fault.Invalid: their authorities have rules of their own.
func (s *Service) MayServe(ctx context.Context, call *guard.Call, need guard.Need, name string) (vault.ObjectID, error) {
	need.Action = authz.IssuerWrite
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return "", err
	}
	st, o, _, err := s.readSettings(ctx, call.Vault.Vault, name)
	if err == nil && st.Options[AuthorityOption] == "" {
		err = fault.New(fault.Invalid, "the issuer %q signs with no key of this vault: others enrol with the authority itself", st.Name)
	}
	if err != nil {
		return "", s.Guard.Refuse(ctx, call, need, err)
	}
	return o.ID, s.maySign(ctx, call, st)
}

// dropRules removes the access rules of an issuer that goes: their objects are named after it, with a slash behind. One that is set up again has none.
func dropRules(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, at time.Time) error {
	prefix := vault.NameKey(o.Name) + "/"
	q := store.ObjectQuery{Vault: v.ID, Kind: vault.AccessRule, After: prefix, Limit: 100}
	for {
		found, err := tx.Objects(ctx, q)
		if err != nil {
			return err
		}
		for _, rule := range found {
			if q.After = vault.NameKey(rule.Name); !strings.HasPrefix(q.After, prefix) {
				return nil
			}
			if err := tx.DeleteObject(ctx, rule, at); err != nil {
				return err
			}
		}
		if len(found) < q.Limit {
			return nil
		}
	}
}
