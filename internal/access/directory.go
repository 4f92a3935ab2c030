package access

import (
	"context"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Lookup says whom to find in the directory. Members that are set must all hold; Kinds must not be empty.
type Lookup struct {
	Kinds []principal.Kind
	ID    principal.ID
	// AppID, UPN, Name and NamePrefix are compared without regard to case.
	AppID, UPN, Name, NamePrefix string
}

// matches reports whether a principal is one that is looked for.
func (l *Lookup) matches(p *principal.Principal) bool {
	return slices.Contains(l.Kinds, p.Kind) && (l.ID == "" || p.ID == l.ID) && (l.AppID == "" || strings.EqualFold(p.AppID, l.AppID)) &&
		(l.UPN == "" || strings.EqualFold(p.UPN, l.UPN)) && (l.Name == "" || strings.EqualFold(p.Name, l.Name)) &&
		strings.HasPrefix(strings.ToLower(p.Name), strings.ToLower(l.NamePrefix))
}

// Look finds principals, by any one of the look-ups. Everybody may look at itself. Others are seen by who may read principals,
// and by who may assign roles anywhere: a role is given to somebody by name. Whom the caller may not see is left out.
func (s *Service) Look(ctx context.Context, call *guard.Call, lookups ...Lookup) (list []*principal.Principal, err error) {
	need := guard.Need{Action: authz.PrincipalRead, Scope: "/"}
	err = s.Guard.List(ctx, call, &need, func(sight *guard.Sight) error {
		// Every role that lets its holder assign some roles includes this one, the least of them.
		others := sight.May(authz.PrincipalRead, authz.TenantScope()) || sight.MayAssignSomewhere(authz.SecretsUser)
		return s.Store.View(ctx, func(tx store.Tx) error {
			list = nil
			seen := map[principal.ID]bool{}
			for i := range lookups {
				found, err := candidates(ctx, tx, call.Caller.Tenant, &lookups[i])
				if err != nil {
					return err
				}
				for _, p := range found {
					if lookups[i].matches(p) && !seen[p.ID] && (others || p.ID == call.Caller.Principal) {
						seen[p.ID] = true
						list = append(list, p)
					}
				}
			}
			return nil
		})
	})
	return list, err
}

// candidates reads what an index gives for a look-up: at least all that match.
func candidates(ctx context.Context, tx store.Tx, t vault.TenantID, l *Lookup) ([]*principal.Principal, error) {
	switch {
	case l.ID != "":
		return one(tx.Principal(ctx, t, l.ID))
	case l.AppID != "":
		return one(tx.PrincipalByAppID(ctx, t, strings.ToLower(l.AppID)))
	case l.UPN != "":
		return one(tx.PrincipalByUPN(ctx, t, l.UPN))
	}
	var list []*principal.Principal
	for _, k := range l.Kinds {
		found, err := tx.Principals(ctx, store.PrincipalQuery{Tenant: t, Kind: k, Name: l.Name, NamePrefix: l.NamePrefix})
		if err != nil {
			return nil, err
		}
		list = append(list, found...)
	}
	return list, nil
}

func one(p *principal.Principal, err error) ([]*principal.Principal, error) {
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []*principal.Principal{p}, nil
}
