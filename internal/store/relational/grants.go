package relational

import (
	"context"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Grant implements store.Grants.
func (t *Tx) Grant(ctx context.Context, tenant vault.TenantID, id string) (*principal.Grant, error) {
	return getDoc[principal.Grant](ctx, t, "role assignment", id,
		"SELECT doc FROM grants WHERE tenant = ? AND id = ?", string(tenant), id)
}

// PutGrant implements store.Grants.
func (t *Tx) PutGrant(ctx context.Context, g *principal.Grant) error {
	doc, err := encode(g)
	if err != nil {
		return err
	}
	// A grant that moves changes who may do what at both scopes.
	scope, found, err := t.grantScope(ctx, g.Tenant, g.ID)
	if err != nil {
		return err
	}
	if found && scope != fold(g.Scope) {
		t.note(grantChange(g.Tenant, scope))
	}
	_, err = t.put(ctx, noting(grantChange(g.Tenant, fold(g.Scope))), `INSERT INTO grants (tenant, id, scope_key, principal, doc)
		VALUES (?, ?, ?, ?, ?) ON CONFLICT (tenant, id)
		DO UPDATE SET scope_key = excluded.scope_key, principal = excluded.principal, doc = excluded.doc`,
		string(g.Tenant), g.ID, fold(g.Scope), string(g.Principal), doc)
	return err
}

// DeleteGrant implements store.Grants.
func (t *Tx) DeleteGrant(ctx context.Context, tenant vault.TenantID, id string) error {
	scope, _, err := t.grantScope(ctx, tenant, id)
	if err != nil {
		return err
	}
	return t.mustChange(ctx, noting(grantChange(tenant, scope)), "role assignment", id,
		"DELETE FROM grants WHERE tenant = ? AND id = ?", string(tenant), id)
}

func (t *Tx) grantScope(ctx context.Context, tenant vault.TenantID, id string) (scope string, found bool, err error) {
	found, err = t.one(ctx, "SELECT scope_key FROM grants WHERE tenant = ? AND id = ?", []any{string(tenant), id},
		func(r Row) { scope = r.Text(0) })
	return scope, found, err
}

func grantChange(tenant vault.TenantID, scope string) store.Change {
	return store.Change{Kind: store.GrantChanged, Tenant: tenant, Key: scope}
}

// GrantsAt implements store.Grants.
func (t *Tx) GrantsAt(ctx context.Context, tenant vault.TenantID, scopes ...string) ([]*principal.Grant, error) {
	var list []*principal.Grant
	seen := make(map[string]bool, len(scopes))
	for _, scope := range scopes {
		if seen[fold(scope)] {
			continue
		}
		seen[fold(scope)] = true
		at, err := listDocs[principal.Grant](ctx, t,
			"SELECT doc FROM grants WHERE tenant = ? AND scope_key = ? ORDER BY id", string(tenant), fold(scope))
		if err != nil {
			return nil, err
		}
		list = append(list, at...)
	}
	return list, nil
}

// GrantsUnder implements store.Grants.
func (t *Tx) GrantsUnder(ctx context.Context, tenant vault.TenantID, scope string) ([]*principal.Grant, error) {
	key := fold(scope)
	below := key + "/"
	if key == "/" {
		below = key
	}
	// Everything that begins with below sorts before below with its last byte, a slash, raised to the next one.
	end := below[:len(below)-1] + "0"
	return listDocs[principal.Grant](ctx, t, `SELECT doc FROM grants WHERE tenant = ?
		AND (scope_key = ? OR scope_key >= ? AND scope_key < ?) ORDER BY id`, string(tenant), key, below, end)
}

// GrantsOf implements store.Grants.
func (t *Tx) GrantsOf(ctx context.Context, tenant vault.TenantID, p principal.ID) ([]*principal.Grant, error) {
	return listDocs[principal.Grant](ctx, t, "SELECT doc FROM grants WHERE tenant = ? AND principal = ? ORDER BY id",
		string(tenant), string(p))
}

// Role implements store.Grants.
func (t *Tx) Role(ctx context.Context, tenant vault.TenantID, id string) (*principal.Role, error) {
	return getDoc[principal.Role](ctx, t, "role", id, "SELECT doc FROM roles WHERE tenant = ? AND id = ?", string(tenant), id)
}

// Roles implements store.Grants.
func (t *Tx) Roles(ctx context.Context, tenant vault.TenantID) ([]*principal.Role, error) {
	return listDocs[principal.Role](ctx, t, "SELECT doc FROM roles WHERE tenant = ? ORDER BY id", string(tenant))
}

// PutRole implements store.Grants.
func (t *Tx) PutRole(ctx context.Context, r *principal.Role) error {
	doc, err := encode(r)
	if err != nil {
		return err
	}
	_, err = t.put(ctx, notingRole(r.Tenant, r.ID), `INSERT INTO roles (tenant, id, doc) VALUES (?, ?, ?)
		ON CONFLICT (tenant, id) DO UPDATE SET doc = excluded.doc`, string(r.Tenant), r.ID, doc)
	return err
}

// DeleteRole implements store.Grants.
func (t *Tx) DeleteRole(ctx context.Context, tenant vault.TenantID, id string) error {
	return t.mustChange(ctx, notingRole(tenant, id), "role", id, "DELETE FROM roles WHERE tenant = ? AND id = ?", string(tenant), id)
}

func notingRole(tenant vault.TenantID, id string) change {
	return noting(store.Change{Kind: store.RoleChanged, Tenant: tenant, Key: id})
}
