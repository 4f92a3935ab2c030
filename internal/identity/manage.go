package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Change makes one prepared change within a transaction. It draws nothing and waits for nothing, so it may run again.
type Change func(ctx context.Context, tx store.Tx) error

// Limits of what one principal holds, so that proving it stays quick.
const (
	maxCredentials = 50
	maxNameBytes   = 256
)

// Spec describes a new principal.
type Spec struct {
	Tenant vault.TenantID
	Kind   principal.Kind
	// ID and AppID are drawn when empty. Users and groups have no AppID.
	ID    principal.ID
	AppID string
	Name  string
	// UPN is a user's sign-in name, such as ada@example.org.
	UPN string
	// Resource is the resource id that a managed identity belongs to.
	Resource string
}

// PreparePrincipal prepares to create a principal. The Change answers a fault.Conflict for a taken client id, sign-in name or
// resource.
func (s *Service) PreparePrincipal(spec Spec) (*principal.Principal, Change, error) {
	now := clock.Micro(s.Clock.Now())
	p := &principal.Principal{ID: spec.ID, Tenant: spec.Tenant, Kind: spec.Kind, AppID: strings.ToLower(spec.AppID), Name: spec.Name,
		UPN: spec.UPN, Resource: spec.Resource, Created: now, Updated: now}
	if err := complete(p); err != nil {
		return nil, nil, err
	}
	return p, func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.Tenant(ctx, p.Tenant); err != nil {
			return err
		}
		fresh := *p
		return tx.PutPrincipal(ctx, &fresh)
	}, nil
}

// complete draws the ids that p lacks and checks the rest.
func complete(p *principal.Principal) error {
	if p.ID == "" {
		p.ID = principal.ID(vault.NewGUID())
	}
	app := p.Kind == principal.Service || p.Kind == principal.ManagedIdentity
	if app && p.AppID == "" {
		p.AppID = vault.NewGUID()
	}
	if id, err := vault.ParseGUID(string(p.ID)); err != nil || id != string(p.ID) {
		return invalid(WrongRequest, "The object id %q is not a GUID in lower case.", fault.Clip(string(p.ID)))
	}
	if app {
		if _, err := vault.ParseGUID(p.AppID); err != nil {
			return invalid(WrongRequest, "The client id %q is not a GUID.", fault.Clip(p.AppID))
		}
	}
	if err := checkName("display name", p.Name); err != nil {
		return err
	}
	switch p.Kind {
	case principal.User:
		if user, domain, ok := strings.Cut(p.UPN, "@"); !ok || user == "" || domain == "" || len(p.UPN) > maxNameBytes || strings.ContainsAny(p.UPN, " \t\r\n") {
			return invalid(WrongRequest, "The sign-in name %q is not one: expected NAME@DOMAIN.", fault.Clip(p.UPN))
		}
	case principal.ManagedIdentity:
		if !strings.HasPrefix(p.Resource, "/") {
			return invalid(WrongRequest, "A managed identity belongs to a resource; %q is not a resource id.", fault.Clip(p.Resource))
		}
	case principal.Service, principal.GroupKind:
	default:
		return invalid(WrongRequest, "%q is not a kind of principal.", fault.Clip(string(p.Kind)))
	}
	return nil
}

func checkName(what, name string) error {
	bad := strings.IndexFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\ufffd' }) >= 0
	if strings.TrimSpace(name) == "" || len(name) > maxNameBytes || bad {
		return invalid(WrongRequest, "The %s %q is not valid: use 1 to %d bytes without control characters.", what, fault.Clip(name), maxNameBytes)
	}
	return nil
}

// alter returns a Change of one principal. f gets a copy that it may change, and the instant at which this was prepared.
func (s *Service) alter(t vault.TenantID, id principal.ID, f func(*principal.Principal) error) Change {
	now := clock.Micro(s.Clock.Now())
	return func(ctx context.Context, tx store.Tx) error {
		old, err := tx.Principal(ctx, t, id)
		if err != nil {
			return err
		}
		p := clone(old)
		if err := f(p); err != nil {
			return err
		}
		p.Updated = now
		return tx.PutPrincipal(ctx, p)
	}
}

// clone copies what a Change may alter: the principal and its lists. What a list's elements point to is never changed.
func clone(p *principal.Principal) *principal.Principal {
	c := *p
	c.Secrets = slices.Clone(p.Secrets)
	c.Certificates = slices.Clone(p.Certificates)
	c.Federations = slices.Clone(p.Federations)
	c.Passkeys = slices.Clone(p.Passkeys)
	c.TOTP = slices.Clone(p.TOTP)
	return &c
}

// PrepareRename prepares to change a principal's display name.
func (s *Service) PrepareRename(t vault.TenantID, id principal.ID, name string) (Change, error) {
	if err := checkName("display name", name); err != nil {
		return nil, err
	}
	return s.alter(t, id, func(p *principal.Principal) error { p.Name = name; return nil }), nil
}

// PrepareDisabled prepares to disable or enable a principal. Disabling refuses its tokens at once.
func (s *Service) PrepareDisabled(t vault.TenantID, id principal.ID, disabled bool) Change {
	return s.alter(t, id, func(p *principal.Principal) error { p.Disabled = disabled; return nil })
}

// PrepareRevokeTokens prepares to refuse every token and refresh token that the principal was issued before now.
func (s *Service) PrepareRevokeTokens(t vault.TenantID, id principal.ID) Change {
	now := clock.Micro(s.Clock.Now())
	return s.alter(t, id, func(p *principal.Principal) error {
		if now.After(p.TokensValidAfter) {
			p.TokensValidAfter = now
		}
		return nil
	})
}

// PrepareDelete prepares to delete a principal with its memberships, members and grants.
func (s *Service) PrepareDelete(t vault.TenantID, id principal.ID) Change {
	return func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.Principal(ctx, t, id); err != nil {
			return err
		}
		grants, err := tx.GrantsOf(ctx, t, id)
		if err != nil {
			return fmt.Errorf("listing the grants of %s: %w", id, err)
		}
		for _, g := range grants {
			if err := tx.DeleteGrant(ctx, t, g.ID); err != nil {
				return err
			}
		}
		return tx.DeletePrincipal(ctx, t, id)
	}
}

// PrepareMember prepares to add or remove a member of a group.
func (s *Service) PrepareMember(t vault.TenantID, group, member principal.ID, add bool) Change {
	return func(ctx context.Context, tx store.Tx) error {
		g, err := tx.Principal(ctx, t, group)
		if err != nil {
			return err
		}
		if g.Kind != principal.GroupKind {
			return invalid(WrongRequest, "The principal %s is not a group.", group)
		}
		if !add {
			return tx.RemoveMember(ctx, t, group, member)
		}
		if _, err := tx.Principal(ctx, t, member); err != nil {
			return err
		}
		if group == member {
			return invalid(WrongRequest, "The group %s cannot be a member of itself.", group)
		}
		return tx.AddMember(ctx, t, group, member)
	}
}

// PrepareTrustedIssuer prepares to believe an outside issuer. Without a key set it must serve a discovery document.
func (s *Service) PrepareTrustedIssuer(i store.TrustedIssuer) (Change, error) {
	if err := checkIssuer(i.Issuer); err != nil {
		return nil, err
	}
	if len(i.JWKS) > 0 {
		if _, err := parseKeySet(i.JWKS); err != nil {
			return nil, err
		}
	}
	if len(i.CA) > 0 {
		if err := checkAuthority(i.CA); err != nil {
			return nil, err
		}
	}
	i.Created = clock.Micro(s.Clock.Now())
	return func(ctx context.Context, tx store.Tx) error {
		fresh := i
		return tx.PutTrustedIssuer(ctx, &fresh)
	}, nil
}

// PrepareDistrust prepares to stop believing an outside issuer. Tokens that were had by its assertions end with it.
func (s *Service) PrepareDistrust(t vault.TenantID, issuer string) Change {
	return func(ctx context.Context, tx store.Tx) error { return tx.DeleteTrustedIssuer(ctx, t, issuer) }
}

// Apply makes changes in one transaction of their own. audit is run in it, to record who did it; it may be nil where nobody did,
// as when an installation is set up.
func (s *Service) Apply(ctx context.Context, audit Change, changes ...Change) error {
	return s.Store.Update(ctx, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		for _, c := range changes {
			if err := c(ctx, tx); err != nil {
				return err
			}
		}
		if audit == nil {
			return nil
		}
		return audit(ctx, tx)
	})
}
