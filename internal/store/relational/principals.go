package relational

import (
	"context"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Principal implements store.Principals.
func (t *Tx) Principal(ctx context.Context, tenant vault.TenantID, id principal.ID) (*principal.Principal, error) {
	return t.principal(ctx, id, "SELECT doc FROM principals WHERE tenant = ? AND id = ?", string(tenant), string(id))
}

// PrincipalByAppID implements store.Principals.
func (t *Tx) PrincipalByAppID(ctx context.Context, tenant vault.TenantID, appID string) (*principal.Principal, error) {
	return t.principal(ctx, appID, "SELECT doc FROM principals WHERE tenant = ? AND app_id = ?", string(tenant), appID)
}

// PrincipalByUPN implements store.Principals.
func (t *Tx) PrincipalByUPN(ctx context.Context, tenant vault.TenantID, upn string) (*principal.Principal, error) {
	return t.principal(ctx, upn, "SELECT doc FROM principals WHERE tenant = ? AND upn_key = ?", string(tenant), fold(upn))
}

// PrincipalByResource implements store.Principals.
func (t *Tx) PrincipalByResource(ctx context.Context, tenant vault.TenantID, resource string) (*principal.Principal, error) {
	return t.principal(ctx, resource, "SELECT doc FROM principals WHERE tenant = ? AND resource_key = ?", string(tenant), fold(resource))
}

func (t *Tx) principal(ctx context.Context, key any, query string, args ...any) (*principal.Principal, error) {
	return getDoc[principal.Principal](ctx, t, "principal", key, query, args...)
}

// fold is the form of a text that is compared without regard to case.
func fold(s string) string { return strings.ToLower(s) }

// Principals implements store.Principals.
func (t *Tx) Principals(ctx context.Context, q store.PrincipalQuery) ([]*principal.Principal, error) {
	where, args := "tenant = ? AND id > ?", []any{string(q.Tenant), string(q.After)}
	if q.Kind != "" {
		where, args = where+" AND kind = ?", append(args, string(q.Kind))
	}
	if q.Name != "" {
		where, args = where+" AND name_key = ?", append(args, fold(q.Name))
	}
	if q.NamePrefix != "" {
		p := fold(q.NamePrefix)
		where, args = where+" AND name_key >= ? AND name_key < ?", append(args, p, p+"\U0010FFFF")
	}
	return listDocs[principal.Principal](ctx, t, "SELECT doc FROM principals WHERE "+where+" ORDER BY id LIMIT ?",
		append(args, limit(q.Limit))...)
}

// PutPrincipal implements store.Principals.
func (t *Tx) PutPrincipal(ctx context.Context, p *principal.Principal) error {
	next := *p
	next.Revision++
	doc, err := encode(&next)
	if err != nil {
		return err
	}
	args := []any{string(p.Kind), fold(p.Name), nullable(p.AppID), nullable(fold(p.UPN)), nullable(fold(p.Resource)), next.Revision, doc,
		string(p.Tenant), string(p.ID)}
	ch := noting(store.Change{Kind: store.PrincipalChanged, Tenant: p.Tenant, Key: string(p.ID)})
	if p.Revision == 0 {
		err = t.swap(ctx, ch, "principal", p.ID, `INSERT INTO principals
			(kind, name_key, app_id, upn_key, resource_key, revision, doc, tenant, id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, id) DO NOTHING`, args...)
	} else {
		err = t.swap(ctx, ch, "principal", p.ID, `UPDATE principals SET kind = ?, name_key = ?, app_id = ?, upn_key = ?, resource_key = ?,
			revision = ?, doc = ? WHERE tenant = ? AND id = ? AND revision = ?`, append(args, p.Revision)...)
	}
	if taken(err) {
		return fault.Wrap(err, fault.Conflict,
			"another principal of the tenant has the client id, sign-in name or resource of %q: choose another", p.Name)
	}
	return err
}

// DeletePrincipal implements store.Principals.
func (t *Tx) DeletePrincipal(ctx context.Context, tenant vault.TenantID, id principal.ID) error {
	ch := noting(store.Change{Kind: store.PrincipalChanged, Tenant: tenant, Key: string(id)})
	err := t.mustChange(ctx, ch, "principal", id, "DELETE FROM principals WHERE tenant = ? AND id = ?", string(tenant), string(id))
	if err != nil {
		return err
	}
	members, err := t.Members(ctx, tenant, id)
	if err != nil {
		return err
	}
	for _, m := range members {
		if err := t.RemoveMember(ctx, tenant, id, m); err != nil {
			return err
		}
	}
	_, err = t.write(ctx, notingMember(tenant, id), "DELETE FROM members WHERE tenant = ? AND member = ?", string(tenant), string(id))
	return err
}

// AddMember implements store.Principals.
func (t *Tx) AddMember(ctx context.Context, tenant vault.TenantID, group, member principal.ID) error {
	_, err := t.put(ctx, notingMember(tenant, member),
		"INSERT INTO members (tenant, group_id, member) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", string(tenant), string(group), string(member))
	return err
}

// RemoveMember implements store.Principals.
func (t *Tx) RemoveMember(ctx context.Context, tenant vault.TenantID, group, member principal.ID) error {
	return t.mustChange(ctx, notingMember(tenant, member), "member", member,
		"DELETE FROM members WHERE tenant = ? AND group_id = ? AND member = ?", string(tenant), string(group), string(member))
}

func notingMember(tenant vault.TenantID, member principal.ID) change {
	return noting(store.Change{Kind: store.MemberChanged, Tenant: tenant, Key: string(member)})
}

// Members implements store.Principals.
func (t *Tx) Members(ctx context.Context, tenant vault.TenantID, group principal.ID) ([]principal.ID, error) {
	return t.ids(ctx, "SELECT member FROM members WHERE tenant = ? AND group_id = ? ORDER BY member", string(tenant), string(group))
}

// GroupsOf implements store.Principals.
func (t *Tx) GroupsOf(ctx context.Context, tenant vault.TenantID, member principal.ID) ([]principal.ID, error) {
	return t.ids(ctx, "SELECT group_id FROM members WHERE tenant = ? AND member = ? ORDER BY group_id", string(tenant), string(member))
}

func (t *Tx) ids(ctx context.Context, query string, args ...any) ([]principal.ID, error) {
	var list []principal.ID
	err := t.query(ctx, query, args, func(r Row) error {
		list = append(list, principal.ID(r.Text(0)))
		return nil
	})
	return list, err
}

// TrustedIssuer implements store.Principals.
func (t *Tx) TrustedIssuer(ctx context.Context, tenant vault.TenantID, issuer string) (*store.TrustedIssuer, error) {
	return getDoc[store.TrustedIssuer](ctx, t, "trusted issuer", issuer,
		"SELECT doc FROM issuers WHERE tenant = ? AND issuer = ?", string(tenant), issuer)
}

// TrustedIssuers implements store.Principals.
func (t *Tx) TrustedIssuers(ctx context.Context, tenant vault.TenantID) ([]*store.TrustedIssuer, error) {
	return listDocs[store.TrustedIssuer](ctx, t, "SELECT doc FROM issuers WHERE tenant = ? ORDER BY issuer", string(tenant))
}

// PutTrustedIssuer implements store.Principals.
func (t *Tx) PutTrustedIssuer(ctx context.Context, i *store.TrustedIssuer) error {
	doc, err := encode(i)
	if err != nil {
		return err
	}
	_, err = t.put(ctx, notingIssuer(i.Tenant, i.Issuer), `INSERT INTO issuers (tenant, issuer, doc) VALUES (?, ?, ?)
		ON CONFLICT (tenant, issuer) DO UPDATE SET doc = excluded.doc`, string(i.Tenant), i.Issuer, doc)
	return err
}

// DeleteTrustedIssuer implements store.Principals.
func (t *Tx) DeleteTrustedIssuer(ctx context.Context, tenant vault.TenantID, issuer string) error {
	return t.mustChange(ctx, notingIssuer(tenant, issuer), "trusted issuer", issuer,
		"DELETE FROM issuers WHERE tenant = ? AND issuer = ?", string(tenant), issuer)
}

func notingIssuer(tenant vault.TenantID, issuer string) change {
	return noting(store.Change{Kind: store.IssuerChanged, Tenant: tenant, Key: issuer})
}
