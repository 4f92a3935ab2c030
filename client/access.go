package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

const (
	rolesPath  = "/api/v1/roles"
	grantsPath = "/api/v1/grants"
)

// scoped is a query that names a scope; without one the server takes the tenant's.
func scoped(scope string) url.Values {
	q := url.Values{}
	if scope != "" {
		q.Set("scope", scope)
	}
	return q
}

// Roles lists the roles that can be granted at a scope.
func (c *Client) Roles(ctx context.Context, scope string) iter.Seq2[*api.Role, error] {
	return pages(ctx, c, rolesPath, scoped(scope), func(l *api.RoleList) ([]api.Role, string) { return l.Items, l.Next })
}

// Role shows a role, by its id or its name.
func (c *Client) Role(ctx context.Context, role, scope string) (*api.Role, error) {
	return do[api.Role](ctx, c, "GET", rolesPath+"/"+url.PathEscape(role), scoped(scope), nil)
}

// PutRole makes a custom role or, with the id of one, changes it.
func (c *Client) PutRole(ctx context.Context, role api.Role) (*api.Role, error) {
	return do[api.Role](ctx, c, "POST", rolesPath, nil, role)
}

// DeleteRole removes a custom role that nobody holds.
func (c *Client) DeleteRole(ctx context.Context, role, scope string) error {
	return c.call(ctx, "DELETE", rolesPath+"/"+url.PathEscape(role), scoped(scope), nil, nil)
}

// Grants lists the grants that count at a scope and those below it; those that reach one principal when who is not empty.
func (c *Client) Grants(ctx context.Context, scope, who string) iter.Seq2[*api.Grant, error] {
	q := scoped(scope)
	if who != "" {
		q.Set("principal", who)
	}
	return pages(ctx, c, grantsPath, q, func(l *api.GrantList) ([]api.Grant, string) { return l.Items, l.Next })
}

// CreateGrant grants a role to a principal at a scope.
func (c *Client) CreateGrant(ctx context.Context, in api.CreateGrant) (*api.Grant, error) {
	return do[api.Grant](ctx, c, "POST", grantsPath, nil, in)
}

// DeleteGrant withdraws a grant. scope is the grant's own.
func (c *Client) DeleteGrant(ctx context.Context, id, scope string) error {
	return c.call(ctx, "DELETE", grantsPath+"/"+url.PathEscape(id), scoped(scope), nil, nil)
}

// Explain says whether and why a principal may do something.
func (c *Client) Explain(ctx context.Context, who, action, scope string) (*api.Explanation, error) {
	q := scoped(scope)
	q.Set("principal", who)
	q.Set("action", action)
	return do[api.Explanation](ctx, c, "GET", "/api/v1/access/explain", q, nil)
}

// WhoCan lists everybody who may do something.
func (c *Client) WhoCan(ctx context.Context, action, scope string) iter.Seq2[*api.Holder, error] {
	q := scoped(scope)
	q.Set("action", action)
	return pages(ctx, c, "/api/v1/access/who-can", q, func(l *api.HolderList) ([]api.Holder, string) { return l.Items, l.Next })
}
