package client

import (
	"context"
	"iter"
	"net/url"

	"github.com/keywright/keywright/client/api"
)

const (
	vaultsPath  = "/api/v1/vaults/"
	deletedPath = "/api/v1/deleted-vaults/"
)

// do sends a request whose answer is one T.
func do[T any](ctx context.Context, c *Client, method, path string, query url.Values, in any) (*T, error) {
	out := new(T)
	if err := c.call(ctx, method, path, query, in, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Vaults lists the vaults that the caller may see.
func (c *Client) Vaults(ctx context.Context) iter.Seq2[*api.Vault, error] {
	return pages(ctx, c, "/api/v1/vaults", nil, vaultPage)
}

// DeletedVaults lists the deleted vaults that can be recovered.
func (c *Client) DeletedVaults(ctx context.Context) iter.Seq2[*api.Vault, error] {
	return pages(ctx, c, "/api/v1/deleted-vaults", nil, vaultPage)
}

func vaultPage(l *api.VaultList) ([]api.Vault, string) { return l.Items, l.Next }

// CreateVault makes a vault.
func (c *Client) CreateVault(ctx context.Context, name string, in api.CreateVault) (*api.Vault, error) {
	return do[api.Vault](ctx, c, "PUT", vaultsPath+url.PathEscape(name), nil, in)
}

// ShowVault shows a vault.
func (c *Client) ShowVault(ctx context.Context, name string) (*api.Vault, error) {
	return do[api.Vault](ctx, c, "GET", vaultsPath+url.PathEscape(name), nil, nil)
}

// UpdateVault changes a vault.
func (c *Client) UpdateVault(ctx context.Context, name string, in api.UpdateVault) (*api.Vault, error) {
	return do[api.Vault](ctx, c, "PATCH", vaultsPath+url.PathEscape(name), nil, in)
}

// UpdateNetwork changes from where a vault can be reached.
func (c *Client) UpdateNetwork(ctx context.Context, name string, in api.UpdateNetwork) (*api.Vault, error) {
	return do[api.Vault](ctx, c, "PATCH", vaultsPath+url.PathEscape(name)+"/network", nil, in)
}

// AccessPolicies lists the access policies of a vault.
func (c *Client) AccessPolicies(ctx context.Context, vault string) iter.Seq2[*api.AccessPolicy, error] {
	return pages(ctx, c, policiesPath(vault), nil, func(l *api.AccessPolicyList) ([]api.AccessPolicy, string) { return l.Items, l.Next })
}

func policiesPath(vault string) string { return vaultsPath + url.PathEscape(vault) + "/policies" }

// SetAccessPolicy sets the whole access policy of a principal in a vault.
func (c *Client) SetAccessPolicy(ctx context.Context, vault, who string, in api.SetAccessPolicy) (*api.AccessPolicy, error) {
	return do[api.AccessPolicy](ctx, c, "PUT", policiesPath(vault)+"/"+url.PathEscape(who), nil, in)
}

// RemoveAccessPolicy removes the access policy of a principal in a vault. application is the client id that the policy names, or empty.
func (c *Client) RemoveAccessPolicy(ctx context.Context, vault, who, application string) error {
	q := url.Values{}
	if application != "" {
		q.Set("application", application)
	}
	return c.call(ctx, "DELETE", policiesPath(vault)+"/"+url.PathEscape(who), q, nil, nil)
}

// DeleteVault soft-deletes a vault with all that it keeps.
func (c *Client) DeleteVault(ctx context.Context, name string) error {
	return c.call(ctx, "DELETE", vaultsPath+url.PathEscape(name), nil, nil, nil)
}

// RecoverVault brings a deleted vault back, without the grants that it had.
func (c *Client) RecoverVault(ctx context.Context, name string) (*api.Vault, error) {
	return do[api.Vault](ctx, c, "POST", deletedPath+url.PathEscape(name)+"/recover", nil, nil)
}

// PurgeVault destroys a deleted vault for good.
func (c *Client) PurgeVault(ctx context.Context, name string) error {
	return c.call(ctx, "DELETE", deletedPath+url.PathEscape(name), nil, nil, nil)
}
