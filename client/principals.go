package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

const principalsPath = "/api/v1/principals"

func principalPath(who string) string { return principalsPath + "/" + url.PathEscape(who) }

// Principals lists principals of a kind whose display names begin with prefix: all but groups when kind is empty.
func (c *Client) Principals(ctx context.Context, kind, prefix string) iter.Seq2[*api.Principal, error] {
	q := url.Values{}
	if kind != "" {
		q.Set("kind", kind)
	}
	if prefix != "" {
		q.Set("prefix", prefix)
	}
	return pages(ctx, c, principalsPath, q, func(l *api.PrincipalList) ([]api.Principal, string) { return l.Items, l.Next })
}

// CreatePrincipal makes a principal.
func (c *Client) CreatePrincipal(ctx context.Context, in api.CreatePrincipal) (*api.Principal, error) {
	return do[api.Principal](ctx, c, "POST", principalsPath, nil, in)
}

// Principal shows a principal. who is an object id, a client id, a sign-in name or a whole display name, here and below.
func (c *Client) Principal(ctx context.Context, who string) (*api.Principal, error) {
	return do[api.Principal](ctx, c, "GET", principalPath(who), nil, nil)
}

// UpdatePrincipal renames, disables or enables a principal.
func (c *Client) UpdatePrincipal(ctx context.Context, who string, in api.UpdatePrincipal) (*api.Principal, error) {
	return do[api.Principal](ctx, c, "PATCH", principalPath(who), nil, in)
}

// DeletePrincipal removes a principal with its credentials, memberships and grants.
func (c *Client) DeletePrincipal(ctx context.Context, who string) error {
	return c.call(ctx, "DELETE", principalPath(who), nil, nil, nil)
}

// RevokeTokens refuses every token that the principal was issued before now.
func (c *Client) RevokeTokens(ctx context.Context, who string) error {
	return c.call(ctx, "POST", principalPath(who)+"/revoke-tokens", nil, nil, nil)
}

// AddCredential adds a credential. A generated secret is in the answer and can never be had again.
func (c *Client) AddCredential(ctx context.Context, who string, in api.AddCredential) (*api.Credential, error) {
	return do[api.Credential](ctx, c, "POST", principalPath(who)+"/credentials", nil, in)
}

// RemoveCredential removes the credential of the id, which is KIND/GUID.
func (c *Client) RemoveCredential(ctx context.Context, who, id string) error {
	return c.call(ctx, "DELETE", principalPath(who)+"/credentials/"+id, nil, nil, nil)
}

// SetPassword sets a user's password, which signs in only together with a code. An empty one removes it.
func (c *Client) SetPassword(ctx context.Context, who string, password []byte) error {
	return c.call(ctx, "PUT", principalPath(who)+"/password", nil, api.SetPassword{Password: api.Text(password)}, nil)
}

// AddMember adds a principal to a group.
func (c *Client) AddMember(ctx context.Context, group, who string) error {
	return c.call(ctx, "POST", "/api/v1/groups/"+url.PathEscape(group)+"/members", nil, api.Member{Principal: who}, nil)
}

// RemoveMember takes a principal out of a group.
func (c *Client) RemoveMember(ctx context.Context, group, who string) error {
	return c.call(ctx, "DELETE", "/api/v1/groups/"+url.PathEscape(group)+"/members/"+url.PathEscape(who), nil, nil, nil)
}

const issuersPath = "/api/v1/trusted-issuers"

// TrustedIssuers lists the outside issuers that the tenant believes.
func (c *Client) TrustedIssuers(ctx context.Context) iter.Seq2[*api.TrustedIssuer, error] {
	return pages(ctx, c, issuersPath, nil, func(l *api.TrustedIssuerList) ([]api.TrustedIssuer, string) { return l.Items, l.Next })
}

// TrustIssuer believes an outside issuer.
func (c *Client) TrustIssuer(ctx context.Context, in api.TrustedIssuer) error {
	return c.call(ctx, "POST", issuersPath, nil, in, nil)
}

// DistrustIssuer stops believing an outside issuer.
func (c *Client) DistrustIssuer(ctx context.Context, issuer string) error {
	return c.call(ctx, "DELETE", issuersPath, url.Values{"issuer": {issuer}}, nil, nil)
}
